"""Scores are those of the benchmark: scikit-learn's, SciPy's and seqeval's, with the labels in the published order."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.scheme import IOB2

from toolkit.data import TaskData
from toolkit.evaluation.judging import judge
from toolkit.evaluation.predictions import Predictions, score
from toolkit.models.heads import output_layer
from toolkit.models.loading import load_network
from toolkit.tasks import TASKS, Task

# As in the release of GLUE on the hub (ClassLabel.names of nyu-mll/glue).
PUBLISHED = {
    "cola": ("unacceptable", "acceptable"),
    "sst2": ("negative", "positive"),
    "mrpc": ("not_equivalent", "equivalent"),
    "qqp": ("not_duplicate", "duplicate"),
    "mnli": ("entailment", "neutral", "contradiction"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
    "wnli": ("not_entailment", "entailment"),
}
# The metrics that the benchmark reports (Wang et al. 2019, table 1).
REPORTED = {
    "cola": {"matthews_correlation"},
    "sst2": {"accuracy"},
    "mrpc": {"accuracy", "f1"},
    "stsb": {"pearson", "spearman"},
    "qqp": {"accuracy", "f1"},
    "mnli": {"accuracy"},
    "qnli": {"accuracy"},
    "rte": {"accuracy"},
    "wnli": {"accuracy"},
}

# How the predictions are made: at random, or as a network predicts that has lost everything or nothing.
MANNERS = ("random", "close", "constant", "perfect", "reversed", "constant targets")
sets = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from(MANNERS))
thousand = settings(max_examples=1000, database=None)
Case = tuple[int, int, str]


def labels_of(case: Case, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    seed, size, manner = case
    random = np.random.default_rng(seed)
    true, predicted = random.integers(0, num_labels, (2, size))
    if manner == "close":
        predicted = np.where(random.random(size) < 0.8, true, predicted)
    elif manner == "constant":
        predicted[:] = predicted[0]
    elif manner == "perfect":
        predicted = true.copy()
    elif manner == "reversed":
        predicted = num_labels - 1 - true
    elif manner == "constant targets":
        true[:] = true[0]
    return predicted, true


def values_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    seed, size, manner = case
    random = np.random.default_rng(seed)
    true = random.integers(0, 26, size) / 5
    predicted = np.round(random.normal(size=size), random.integers(0, 4))  # with equal values
    if manner == "close":
        predicted = true + predicted / 2
    elif manner == "constant":
        predicted[:] = predicted[0]
    elif manner == "perfect":
        predicted = true.copy()
    elif manner == "reversed":
        predicted = -true
    elif manner == "constant targets":
        true[:] = true[0]
    return predicted.astype(np.float32), true.astype(np.float32)


def logits_of(labels: np.ndarray, num_labels: int, seed: int) -> torch.Tensor:
    noise = torch.rand(len(labels), num_labels, generator=torch.Generator().manual_seed(seed))
    return noise + torch.nn.functional.one_hot(torch.tensor(labels), num_labels)


def score_of(task: Task, outputs: torch.Tensor, targets: np.ndarray, metric: str) -> float:
    rows = Predictions(outputs=outputs, targets=torch.tensor(targets), index=torch.arange(len(targets)))
    return score(task, rows)[metric]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "metric"), [("mnli", "accuracy"), ("mrpc", "f1"), ("cola", "matthews_correlation")])
def test_a_thousand_sets_of_labels(task: str, metric: str) -> None:
    known = TASKS[task]

    @thousand
    @given(sets)
    def check(case: Case) -> None:
        predicted, true = labels_of(case, known.num_labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a single label
            expected = {
                "accuracy": sklearn.metrics.accuracy_score,
                "f1": lambda true, predicted: sklearn.metrics.f1_score(true, predicted, zero_division=0),
                "matthews_correlation": sklearn.metrics.matthews_corrcoef,
            }[metric](true, predicted)
        found = score_of(known, logits_of(predicted, known.num_labels, case[0]), true, metric)
        assert found == pytest.approx(expected, abs=1e-6)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_a_thousand_sets_of_values(metric: str) -> None:
    correlate = scipy.stats.pearsonr if metric == "pearson" else scipy.stats.spearmanr

    @thousand
    @given(sets)
    def check(case: Case) -> None:
        predicted, true = values_of(case)
        varied = bool(np.ptp(predicted) > 0 and np.ptp(true) > 0)  # SciPy gives NaN for a constant, the toolkit 0
        expected = correlate(predicted.astype(float), true.astype(float)).statistic if varied else 0.0
        assert score_of(TASKS["stsb"], torch.tensor(predicted), true, metric) == pytest.approx(expected, abs=1e-5)

    check()


@pytest.mark.slow
@pytest.mark.parametrize(("task", "metric"), [("upos", "accuracy"), ("ner", "span_f1"), ("chunking", "span_f1")])
def test_a_thousand_sets_of_sentences(task: str, metric: str) -> None:
    known = TASKS[task]

    @thousand
    @given(sets, st.integers(0, 4))
    def check(case: Case, cut: int) -> None:
        # Few of the labels, so that spans are found at all; the last words of the last sentence may be cut off.
        predicted, true = labels_of(case, 5)
        predicted[len(predicted) - min(cut, len(predicted)) :] = -1
        breaks = np.random.default_rng(case[0]).random(len(true)) < 0.2
        index = np.cumsum(breaks) - int(breaks[0])
        rows = Predictions(outputs=torch.tensor(predicted), targets=torch.tensor(true), index=torch.tensor(index))
        names = [
            [
                [known.labels[label] if label >= 0 else "O" for label in side[index == row]]
                for row in range(index[-1] + 1)
            ]
            for side in (true, predicted)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of 0/0 and of types that do not occur
            if metric == "accuracy":
                expected = sklearn.metrics.accuracy_score(true, predicted)
            else:
                expected = seqeval_f1(*names, mode="strict", scheme=IOB2, average="micro", zero_division=0)
        assert score(known, rows)[metric] == pytest.approx(float(expected), abs=1e-6)

    check()


@pytest.mark.parametrize("task", PUBLISHED)
def test_labels_stand_in_the_published_order(task: str) -> None:
    assert TASKS[task].labels == PUBLISHED[task]


@pytest.mark.parametrize("task", REPORTED)
def test_metrics_are_those_of_the_benchmark(task: str) -> None:
    assert REPORTED[task] <= set(TASKS[task].metrics)
    assert set(TASKS[task].metrics) <= REPORTED[task] | {"accuracy"}


@pytest.mark.parametrize("task", ["mnli", "rte"])
def test_a_head_with_permuted_labels_scores_the_same(
    task: str, tiny_data: Path, tiny_network: Path, tmp_path: Path
) -> None:
    data = TaskData(task, network=str(tiny_network), root=tiny_data)
    labels = data.task.labels
    torch.manual_seed(0)
    network = load_network(str(tiny_network), data.task)
    _, layer = output_layer(network)
    for parameter in network.parameters():  # wide enough that predictions differ
        parameter.data *= 3
    layer.bias.data -= judge(network, data).sets["test"].outputs.mean(0)
    weight, bias = layer.weight.data.clone(), layer.bias.data.clone()
    official = judge(network, data)
    assert len(set(official.sets["test"].outputs.argmax(-1).tolist())) > 1, "else the test says nothing"
    moved = []
    for rows in itertools.permutations(range(len(labels))):
        layer.weight.data, layer.bias.data = weight[list(rows)], bias[list(rows)]
        network.config.id2label = {place: labels[row] for place, row in enumerate(rows)}
        network.config.label2id = {labels[row]: place for place, row in enumerate(rows)}
        moved.append(judge(network, data).scores())
        network.save_pretrained(tmp_path / str(rows))
        loaded = judge(load_network(str(tmp_path / str(rows)), data.task, trained=True), data)
        assert loaded.scores() == official.scores()
        torch.testing.assert_close(loaded.sets["test"].outputs, official.sets["test"].outputs)
    assert any(scores != official.scores() for scores in moved), "rows in another order, without their names, do matter"
