"""Stratified samples and splits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolkit.data.splitting import hold_out, strata, stratified_sample
from toolkit.tasks import TASKS

groups = st.lists(st.sampled_from("aaabbc"), min_size=1, max_size=60)


@given(groups, st.integers(0, 70), st.integers(0, 5))
def test_sample_has_the_size_and_the_proportions(groups: list[str], size: int, seed: int) -> None:
    sample = stratified_sample(groups, size, seed)
    assert len(sample) == min(size, len(groups))
    assert sample == sorted(set(sample))
    counts, drawn = Counter(groups), Counter(groups[row] for row in sample)
    for group, count in counts.items():
        assert abs(drawn[group] - count * len(sample) / len(groups)) < 1


@given(groups.filter(lambda groups: len(groups) > 1), st.floats(0.01, 0.99), st.integers(0, 5))
def test_hold_out_is_a_partition(groups: list[str], fraction: float, seed: int) -> None:
    train, dev = hold_out(groups, fraction, seed)
    assert sorted(train + dev) == list(range(len(groups)))
    assert train
    assert dev
    assert abs(len(dev) - fraction * len(groups)) <= 1


def test_seed_alone_decides() -> None:
    groups = ["a", "b"] * 50
    torch.manual_seed(1)
    np.random.seed(1)
    first, state = stratified_sample(groups, 20, seed=3), torch.get_rng_state()
    torch.manual_seed(2)
    assert stratified_sample(groups, 20, seed=3) == first
    assert stratified_sample(groups, 20, seed=4) != first
    assert not torch.equal(torch.get_rng_state(), state)


def test_rows_are_drawn_from_everywhere() -> None:
    drawn = Counter(row for seed in range(200) for row in stratified_sample(["a"] * 20, 5, seed))
    assert set(drawn) == set(range(20))
    assert max(drawn.values()) < 90  # 50 expected, standard deviation 6


def test_one_row_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="1 training rows cannot be split"):
        hold_out(["a"], 0.1, 0)


def test_strata_of_each_kind() -> None:
    assert strata([{"label": "x"}, {"label": "y"}], TASKS["rte"]) == ["x", "y"]
    scores = [{"label": score} for score in (5.0, 1.0, 0.0, 3.0, 2.0)] * 4
    deciles = strata(scores, TASKS["stsb"])
    assert Counter(deciles) == dict.fromkeys(range(10), 2)
    assert [deciles[row] for row in np.argsort([row["label"] for row in scores], kind="stable")] == sorted(
        [*range(10)] * 2
    )
    sentences = [{"tags": ["O", "O"]}, {"tags": ["O", "B-x"]}, {"tags": ["B-y", "B-x", "O"]}, {"tags": ["B-x"]}]
    assert strata(sentences, TASKS["ner"]) == ["O", "B-x", "B-y", "B-x"]
