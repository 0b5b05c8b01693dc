"""Intervals and tests against SciPy, statsmodels, plain loops over real sets, and simulation under the null."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from toolkit.evaluation.predictions import Judgement, Predictions
from toolkit.evaluation.resampling import matched_counts, weighted_scores
from toolkit.evaluation.significance import Spread, holm, interval, paired_test, spread
from toolkit.tasks import TASKS

CASES = [
    ("mnli", "accuracy"),
    ("mrpc", "f1"),
    ("cola", "matthews_correlation"),
    ("stsb", "pearson"),
    ("stsb", "spearman"),
    ("upos", "accuracy"),
    ("ner", "span_f1"),
]
MAX_WORDS = 6


def targets_of(task: str, size: int, seed: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    """Random targets and the sentence of each."""
    random = np.random.default_rng(seed)
    kind = TASKS[task].kind
    index = np.repeat(np.arange(size), random.integers(1, MAX_WORDS, size)) if kind == "tagging" else np.arange(size)
    if kind == "regression":
        return torch.tensor(random.integers(0, 26, size) / 5, dtype=torch.float32), torch.tensor(index)
    return torch.tensor(random.integers(0, len(TASKS[task].labels), len(index))), torch.tensor(index)


def judged(task: str, size: int, seed: int, skill: float = 0.7) -> Judgement:
    """What a method of this skill says: right labels with that probability, else any; or values with noise."""
    random = np.random.default_rng(seed)
    targets, index = targets_of(task, size)
    known, labels = TASKS[task], len(TASKS[task].labels)
    if known.kind == "regression":
        # Whole numbers: equal values share their rank.
        outputs = torch.round(targets + torch.tensor(random.normal(size=size) * 3 * (1 - skill), dtype=torch.float32))
    else:
        guesses = torch.tensor(random.integers(0, labels, len(targets)))
        chosen = torch.where(torch.tensor(random.random(len(targets)) < skill), targets, guesses)
        outputs = chosen if known.kind == "tagging" else torch.nn.functional.one_hot(chosen, labels).float()
    return judgement(task, Predictions(outputs=outputs, targets=targets, index=index))


def judgement(task: str, predictions: Predictions) -> Judgement:
    known = TASKS[task]
    return Judgement(name=task, kind=known.kind, metrics=known.metrics, labels=known.labels, sets={"test": predictions})


def drawn(full: Judgement, sentences: Sequence[int]) -> Judgement:
    """The set that holds these sentences, in this order."""
    rows = full.sets["test"]
    places = [(rows.index == sentence).nonzero()[:, 0] for sentence in sentences]
    new = torch.cat([torch.full((len(place),), number) for number, place in enumerate(places)])
    taken = torch.cat(places)
    return judgement(full.name, Predictions(outputs=rows.outputs[taken], targets=rows.targets[taken], index=new))


def mixed(a: Judgement, b: Judgement, swaps: Sequence[bool]) -> Judgement:
    """The first method with the sentences of the second where they are swapped."""
    one, other = a.sets["test"], b.sets["test"]
    mask = torch.tensor(swaps)[one.index]
    outputs = torch.where(mask[:, None] if one.outputs.ndim == 2 else mask, other.outputs, one.outputs)
    return judgement(a.name, replace(one, outputs=outputs))


def correlation(x: Any, y: Any) -> float:
    """NumPy's; of two labels it is Matthews'."""
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) and np.ptp(y) else 0.0


def mean(judgements: Sequence[Judgement], metric: str) -> float:
    return statistics.fmean(own.scores()[metric] for own in judgements)


@pytest.mark.parametrize(("task", "metric"), CASES)
def test_weighted_scores_are_those_of_the_sets_written_out(task: str, metric: str) -> None:
    size, random = 30, np.random.default_rng(1)
    judgements = [judged(task, size, seed) for seed in (1, 2)]
    weights = np.concatenate([np.ones((1, size)), random.multinomial(size, np.full(size, 1 / size), size=10)])
    one = np.zeros((1, size))
    one[0, 3] = 5  # one sentence alone: correlations are 0
    weights = np.concatenate([weights, one])
    name, counts = matched_counts(judgements, metric)
    scores = weighted_scores(name, counts, weights)
    expected = [
        [drawn(own, np.repeat(np.arange(size), row.astype(int)).tolist()).scores()[metric] for row in weights]
        for own in judgements
    ]
    np.testing.assert_allclose(scores, expected, atol=2e-7)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("outlier", [1.0, 1e4])
@pytest.mark.parametrize("width", [0.0, 1e-5, 1.0])
def test_correlations_of_a_network_that_lost_nearly_everything(metric: str, outlier: float, width: float) -> None:
    # Nearly equal values far from the mean of all, as when one method has collapsed and the other has not.
    targets, index = targets_of("stsb", 40)
    x = (2.7 + width * torch.linspace(-1, 1, 40) ** 3).float()
    x[0] += outlier
    rows = Predictions(outputs=x, targets=targets, index=index)
    weights = np.ones((2, 40))
    weights[0, 0] = 0
    name, counts = matched_counts([judgement("stsb", rows)], metric)
    found = weighted_scores(name, counts, weights)[0]
    correlate = scipy.stats.pearsonr if metric == "pearson" else scipy.stats.spearmanr
    without = correlate(x[1:].double(), targets[1:].double()).statistic if width else 0.0
    expected = [without, correlate(x.double(), targets.double()).statistic]
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize(("right", "wrong"), [(0, 0), (1, 0), (3, 12), (30, 31), (200, 150)])
def test_mcnemar_is_that_of_statsmodels(right: int, wrong: int) -> None:
    both = 20
    first = torch.tensor([1] * right + [0] * wrong + [1] * both + [0] * both)
    second = torch.tensor([0] * right + [1] * wrong + [1] * both + [0] * both)
    targets = torch.ones(len(first), dtype=torch.long)
    a, b = (
        judgement(
            "sst2",
            Predictions(
                outputs=torch.nn.functional.one_hot(side).float(), targets=targets, index=torch.arange(len(first))
            ),
        )
        for side in (first, second)
    )
    test = paired_test([a], [b], "accuracy", resamples=50)
    assert test.method == "exact McNemar"
    expected = mcnemar([[both, right], [wrong, both]], exact=True).pvalue if right + wrong else 1.0
    assert test.p_value == pytest.approx(expected)
    assert test.difference == pytest.approx((wrong - right) / len(first))
    assert (test.examples, test.seeds) == (len(first), 1)


@pytest.mark.parametrize(
    ("task", "metric", "measure"),
    [
        ("mrpc", "f1", lambda y, x: 2 * (x * y).sum() / max(1, (x + y).sum())),
        ("cola", "matthews_correlation", correlation),
        ("stsb", "pearson", correlation),
        ("stsb", "spearman", lambda y, x: correlation(scipy.stats.rankdata(y), scipy.stats.rankdata(x))),
    ],
)
def test_permutation_is_that_of_scipy(task: str, metric: str, measure: Callable[..., float]) -> None:
    for seed in range(2):
        a, b = judged(task, 9, 2 * seed, 0.8), judged(task, 9, 2 * seed + 1, 0.4)
        sides = [own.sets["test"].outputs for own in (a, b)]
        sides = [side.argmax(-1) if side.ndim == 2 else side for side in sides]
        targets = a.sets["test"].targets.numpy()

        def distance(x: Any, y: Any, targets: Any = targets) -> float:
            return abs(measure(targets, y) - measure(targets, x))

        reference = scipy.stats.permutation_test(
            [side.numpy() for side in sides],
            distance,
            permutation_type="samples",
            alternative="greater",
            n_resamples=2**9,  # all of them
        )
        test = paired_test([a], [b], metric, resamples=20_000)
        assert test.method == "paired permutation"
        assert test.p_value == pytest.approx(reference.pvalue, abs=4 * 0.5 / math.sqrt(20_000))


@pytest.mark.parametrize(("task", "metric"), [("upos", "accuracy"), ("ner", "span_f1"), ("mnli", "accuracy")])
def test_permutation_swaps_whole_sentences_in_all_seeds(task: str, metric: str) -> None:
    size = 6
    a, b = ([judged(task, size, seed, skill) for seed in seeds] for seeds, skill in (((1, 2), 0.9), ((3, 4), 0.5)))
    observed = mean(b, metric) - mean(a, metric)
    reached = 0
    for swaps in itertools.product([False, True], repeat=size):
        first = [mixed(own, other, swaps) for own, other in zip(a, b, strict=True)]
        second = [mixed(other, own, swaps) for own, other in zip(a, b, strict=True)]
        reached += abs(mean(second, metric) - mean(first, metric)) >= abs(observed) - 1e-6
    test = paired_test(a, b, metric, resamples=20_000)
    assert test.p_value == pytest.approx(reached / 2**size, abs=4 * 0.5 / math.sqrt(20_000))
    assert test.difference == pytest.approx(observed, abs=1e-6)
    assert (test.method, test.examples, test.seeds) == ("paired permutation", size, 2)


def bootstrapped(size: int, statistic: Callable[[Sequence[int]], float]) -> tuple[float, float]:
    rows = np.arange(size)
    result = scipy.stats.bootstrap((rows,), statistic, vectorized=False, n_resamples=1000, method="percentile", rng=1)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


@pytest.mark.parametrize(
    ("task", "metric", "measure"),
    [
        ("sst2", "accuracy", lambda y, x: float((x == y).mean())),
        ("cola", "matthews_correlation", correlation),
        ("stsb", "spearman", lambda y, x: correlation(scipy.stats.rankdata(y), scipy.stats.rankdata(x))),
    ],
)
def test_intervals_are_those_of_scipy(task: str, metric: str, measure: Callable[..., float]) -> None:
    size = 120
    a, b = [judged(task, size, seed, 0.6) for seed in (1, 2)], [judged(task, size, seed, 0.5) for seed in (3, 4)]
    targets = a[0].sets["test"].targets.numpy()
    outputs = [own.sets["test"].outputs for own in (*a, *b)]
    predicted = [side.argmax(-1).numpy() if side.ndim == 2 else side.numpy() for side in outputs]

    def score(rows: Sequence[int], judgements: slice) -> float:
        return statistics.fmean(measure(targets[rows], side[rows]) for side in predicted[judgements])

    first, second = slice(0, 2), slice(2, 4)
    expected = bootstrapped(size, lambda rows: score(rows, first))
    # A bound of 1,000 sets has a standard error of about a fiftieth of the width.
    tolerance = 0.12 * (expected[1] - expected[0])
    assert interval(a, metric) == pytest.approx(expected, abs=tolerance)
    expected = bootstrapped(size, lambda rows: score(rows, second) - score(rows, first))
    found = paired_test(a, b, metric, resamples=2000).interval
    assert found == pytest.approx(expected, abs=0.12 * (expected[1] - expected[0]))


def test_intervals_of_tagging_draw_whole_sentences() -> None:
    # Sentences all right or all wrong: as few independent observations as there are sentences.
    words, sentences = 20, 100
    index = torch.arange(sentences).repeat_interleave(words)
    targets = torch.zeros(len(index), dtype=torch.long)
    rows = Predictions(outputs=(index % 2).long(), targets=targets, index=index)
    low, high = interval([judgement("upos", rows)], "accuracy", resamples=4000)
    expected = scipy.stats.binom.ppf([0.025, 0.975], sentences, 0.5) / sentences
    assert (low, high) == pytest.approx(expected, abs=0.015)


def test_a_lower_level_gives_a_narrower_interval() -> None:
    a = [judged("sst2", 200, 1)]
    wide, narrow = interval(a, "accuracy", level=0.99), interval(a, "accuracy", level=0.5)
    assert wide[0] < narrow[0] < a[0].scores()["accuracy"] < narrow[1] < wide[1]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("task", "metric"), CASES)
def test_identical_predictions_give_one(task: str, metric: str, seeds: int) -> None:
    a = [judged(task, 50, seed) for seed in range(seeds)]
    test = paired_test(a, [*a], metric, resamples=200)
    assert (test.difference, test.interval, test.p_value) == (0, (0, 0), 1)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize(("task", "metric"), CASES)
def test_order_of_methods_and_examples_does_not_matter(task: str, metric: str, seeds: int) -> None:
    size = 60
    a = [judged(task, size, seed, 0.7) for seed in range(seeds)]
    b = [judged(task, size, seed, 0.45) for seed in range(10, 10 + seeds)]
    test = paired_test(a, b, metric, resamples=300)
    assert test.difference == pytest.approx(mean(b, metric) - mean(a, metric), abs=1e-6)
    assert test.difference != 0, "else the rest says nothing"
    back = paired_test(b, a, metric, resamples=300)
    low, high = test.interval
    assert back == replace(test, difference=-test.difference, interval=(-high, -low))
    order = np.random.default_rng(0).permutation(size).tolist()
    moved = [[drawn(own, order) for own in side] for side in (a, b)]
    assert paired_test(moved[0], moved[1], metric, resamples=300) == test
    assert interval(moved[0], metric, resamples=300) == interval(a, metric, resamples=300)
    assert paired_test(a, b, metric, resamples=300) == test  # and draws depend on the seed alone
    assert paired_test(a, b, metric, resamples=300, seed=1).interval != test.interval


@pytest.mark.parametrize(("task", "metric"), CASES)
def test_a_true_difference_is_found(task: str, metric: str) -> None:
    a, b = [judged(task, 300, 1, 0.85)], [judged(task, 300, 2, 0.55)]
    test = paired_test(a, b, metric, resamples=999)
    assert test.p_value <= 0.001
    assert test.interval[0] < test.difference < test.interval[1] < 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "metric", "size", "seeds"),
    [
        ("sst2", "accuracy", 4000, 1),  # the exact test keeps below the level; by little where differences are many
        ("sst2", "accuracy", 200, 2),
        ("mrpc", "f1", 200, 1),
        ("cola", "matthews_correlation", 200, 1),
        ("stsb", "pearson", 60, 1),
        ("ner", "span_f1", 60, 1),
    ],
)
def test_one_in_twenty_pairs_of_equal_methods_differs(task: str, metric: str, size: int, seeds: int) -> None:
    pairs, resamples = 2000, 1 if (metric, seeds) == ("accuracy", 1) else 999
    alarms = 0
    for pair in range(pairs):
        numbers = iter(range(10_000 + 4 * pair, 10_000 + 4 * pair + 4))
        a, b = ([judged(task, size, next(numbers)) for _ in range(seeds)] for _ in range(2))
        alarms += paired_test(a, b, metric, resamples=resamples, seed=pair).p_value < 0.05
    assert 0.04 <= alarms / pairs <= 0.06


def test_an_undefined_score_gives_no_interval_and_no_test() -> None:
    good, bad = judged("stsb", 20, 1), judged("stsb", 20, 2)
    bad.sets["test"].outputs[3] = math.nan
    for metric in ("pearson", "spearman"):
        assert all(map(math.isnan, interval([good, bad], metric, resamples=20)))
        for sides in (([good], [bad]), ([bad], [good]), ([bad], [bad])):
            test = paired_test(*sides, metric, resamples=20)
            assert all(map(math.isnan, (test.difference, *test.interval, test.p_value)))
    assert holm([0.02, math.nan, 0.03]) == pytest.approx([0.04, math.nan, 0.04], nan_ok=True)


def test_an_infinite_value_has_neither_score_nor_interval() -> None:
    values = judged("stsb", 20, 1)
    values.sets["test"].outputs[3] = math.inf
    for metric in ("pearson", "spearman"):
        assert math.isnan(values.scores()[metric])
        assert all(map(math.isnan, interval([values], metric, resamples=50)))


def test_further_sets() -> None:
    matched, other = (judged("mnli", 40, seed).sets["test"] for seed in (1, 2))
    both = replace(judged("mnli", 40, 1), sets={"test": matched, "test_mismatched": other})
    swapped_sets = replace(both, sets={"test": other, "test_mismatched": matched})
    assert interval([both], "accuracy_mismatched") == interval([swapped_sets], "accuracy")
    assert interval([both], "accuracy_mismatched") != interval([both], "accuracy")
    test = paired_test([both], [swapped_sets], "accuracy_mismatched", resamples=20)
    assert test.metric == "accuracy_mismatched"
    assert test.difference == pytest.approx(both.scores()["accuracy"] - both.scores()["accuracy_mismatched"], abs=1e-6)


def other_targets() -> Judgement:
    rows = judged("mnli", 9, 1).sets["test"]
    return judgement("mnli", replace(rows, targets=(rows.targets + (torch.arange(9) == 4)) % 3))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: judged("sst2", 9, 1), "in its task: sst2 instead of mnli"),
        (lambda: replace(judged("mnli", 9, 1), labels=("neutral", "entailment", "contradiction")), "in its labels"),
        (lambda: judged("mnli", 8, 1), "in its examples of test: 8 entries of 8 rows instead of 9 entries of 9 rows"),
        (other_targets, "in its targets of test, first in entry 4"),
        (lambda: replace(judged("mnli", 9, 1), sets={}), "in what it was judged by"),
    ],
)
def test_judgements_that_do_not_belong_together(other: Callable[[], Judgement], message: str) -> None:
    a = judged("mnli", 9, 1)
    with pytest.raises(ValueError, match=message):
        paired_test([a], [other()], "accuracy")
    with pytest.raises(ValueError, match=message):
        interval([a, other()], "accuracy")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: paired_test([a, a], [a], "accuracy"), "2 judgements on one side and 1 on the other"),
        (lambda a: paired_test([], [], "accuracy"), "no judgements"),
        (lambda a: interval([], "accuracy"), "no judgements"),
        (lambda a: interval([a], "f1"), "cola has no metric 'f1'; there are: matthews_correlation, accuracy"),
        (lambda a: interval([a], "accuracy", level=95), "level 95"),
        (lambda a: paired_test([a], [a], "accuracy", resamples=0), "resamples is 0"),
        (lambda a: interval([drawn_nothing(a)], "accuracy"), "has no examples"),
        (lambda a: holm([0.1, 1.5]), "A p-value is 1.5"),
        (lambda a: spread([]), "no values"),
    ],
)
def test_calls_without_a_meaning(call: Callable[[Judgement], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(judged("cola", 9, 1))


def drawn_nothing(full: Judgement) -> Judgement:
    rows = full.sets["test"]
    return judgement(full.name, Predictions(outputs=rows.outputs[:0], targets=rows.targets[:0], index=rows.index[:0]))


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    corrected = holm(p_values)
    np.testing.assert_allclose(corrected, multipletests(p_values, method="holm")[1])
    assert all(0 <= before <= after <= 1 for before, after in zip(p_values, corrected, strict=True))


def test_holm_of_nothing() -> None:
    assert holm([]) == []


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_spread_is_that_of_numpy(values: list[float]) -> None:
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.count == len(values)
    assert found.std == (pytest.approx(np.std(values, ddof=1)) if len(values) > 1 else None)


def test_spread_of_equal_and_of_undefined_values() -> None:
    assert spread([0.1, 0.1, 0.1]) == Spread(mean=0.1, std=0.0, count=3)
    undefined = spread([0.5, math.nan])
    assert math.isnan(undefined.mean)
    assert undefined.std is not None
    assert math.isnan(undefined.std)
