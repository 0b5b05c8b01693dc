"""Rankings and clusters that NeuroX 1.0.9 defines as we do, against what it computes."""

import json

import torch

from tests.probing.neurox_outputs import CLASSES, FILE, NEURONS, THRESHOLD, example
from toolkit.probing.clustering import cluster_neurons
from toolkit.probing.rankings import rank_by_correlation_analysis, rank_probeless

THEIRS = json.loads(FILE.read_text(encoding="utf-8"))


def test_correlation_analysis_is_equal_between_the_steps_of_the_sweep() -> None:
    """Within a step NeuroX's order is arbitrary."""
    mine = rank_by_correlation_analysis(torch.from_numpy(example()[2])).tolist()
    assert len(THEIRS["cutoffs"]) > NEURONS / 2
    for cutoff in THEIRS["cutoffs"]:
        assert {*mine[:cutoff]} == {*THEIRS["ordering"][:cutoff]}


def test_probeless_is_equal() -> None:
    features, labels, _ = example()
    mine = rank_probeless(torch.from_numpy(features), torch.from_numpy(labels), CLASSES)
    assert mine.tolist() == THEIRS["probeless"]


def test_clusters_are_equal() -> None:
    found = cluster_neurons(torch.from_numpy(example()[0]), THRESHOLD)
    pairs = set(zip(THEIRS["clusters"], found.assignment.tolist(), strict=True))
    assert len(pairs) == len(set(THEIRS["clusters"])) == len(found.representatives) < NEURONS  # One to one.
