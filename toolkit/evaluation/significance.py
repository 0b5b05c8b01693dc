r"""How far a score would move with other examples, and whether two methods differ on the same ones.

An interval says how sure a score is, a test how likely a difference at least as large would be if the two methods were
equally good. Both take the networks as they are and the examples as drawn at random: with several seeds every figure
is that of the mean over these networks, and every resampled set is the same for all of them. How much training again
would change is what `spread` shows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from toolkit.evaluation.predictions import Judgement
from toolkit.evaluation.resampling import (
    bootstrap_weights,
    distinct,
    matched_counts,
    swapped,
    weighted_scores,
)

Array = npt.NDArray[Any]

_CELLS = 2**17  # of an array of weights: 1 MiB stays in the cache
_ROUNDING = 1e-12  # by which sums in another order differ; permuted differences this close to the observed are equal


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Two methods on the same examples.

    Args:
        metric: What they are compared by, as in `Judgement.scores`.
        method: Which test.
        difference: Score of the second method less that of the first, mean over the seeds.
        interval: Bootstrap interval of the difference.
        p_value: Two-sided, not corrected for other tests; NaN where a score is not defined.
        examples: Number of sentences.
        seeds: Number of judgements of each method.
    """

    metric: str
    method: Literal["exact McNemar", "paired permutation"]
    difference: float
    interval: tuple[float, float]
    p_value: float
    examples: int
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure over several seeds.

    Args:
        mean: Their mean.
        std: Their sample standard deviation (division by one less than their number); None of a single one.
        count: Their number.
    """

    mean: float
    std: float | None
    count: int


def interval(
    judgements: Sequence[Judgement], metric: str, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    r"""Bootstrap confidence interval of a score: the percentiles :math:`(1 \pm \mathrm{level}) / 2` of resampled sets.

    Each set has as many sentences as the judged one, drawn from it with replacement (Efron and Tibshirani 1993,
    *An Introduction to the Bootstrap*, chapter 13). The order of the examples does not matter.

    Args:
        judgements: One for each seed, on the same examples; the interval is that of their mean score.
        metric: A key of `Judgement.scores`, such as ``accuracy_mismatched``.
        level: Coverage.
        resamples: Number of sets.
        seed: Of the draws.

    Returns:
        Lower and upper bound; both NaN where a score is not defined.

    Raises:
        ValueError: If the judgements do not belong together, there is no such metric, or a number is out of range.
    """
    _check_numbers(resamples, level)
    name, rows = matched_counts(judgements, metric)
    rows, multiplicity = distinct(rows)
    random = np.random.default_rng(seed)
    scores = [
        weighted_scores(name, rows, bootstrap_weights(random, multiplicity, size)).mean(0)
        for size in _chunks(resamples, int(multiplicity.sum()))
    ]
    return _percentiles(np.concatenate(scores), level)


def paired_test(
    a: Sequence[Judgement],
    b: Sequence[Judgement],
    metric: str,
    *,
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> PairedTest:
    r"""Test whether two methods are equally good on the examples that both were judged on.

    **Accuracy of one network against one**, a label for each example: McNemar's test in its exact form (McNemar 1947).
    Of the examples that just one of the two gets right, each is as likely to be right for the first as for the second:
    the smaller number is binomial with probability 1/2.

    **Everything else**: a permutation test (Noreen 1989; Yeh 2000, https://aclanthology.org/C00-2137). If the methods
    are equally good, their predictions for an example can be swapped, in all seeds at once. Of R random ways to swap

    .. math:: p = \frac{1 + \#\{r : |T_r| \ge |T|\}}{R + 1}, \qquad T = \frac1S \sum_s [m(b_s) - m(a_s)]

    with the metric m of the whole set, so that p is never below 1/(R + 1), and under the null p ≤ α has at most
    probability α. Sentences of a tagging task are swapped whole: McNemar's test would take words for independent, which
    errors in a sentence are not.

    Predictions that score alike on every example give p = 1. Swapping `a` and `b` changes the signs and nothing else;
    the order of the examples changes nothing.

    Args:
        a: Judgements on the first method, one for each seed.
        b: Those on the second; the one at the same place has the same seed.
        metric: A key of `Judgement.scores`, such as ``accuracy_mismatched``.
        level: Coverage of the interval of the difference, which is a percentile bootstrap over sentences.
        resamples: Number R of permutations, and of the sets of the bootstrap.
        seed: Of the draws.

    Returns:
        The difference, its interval and p; all NaN where a score is not defined.

    Raises:
        ValueError: If the judgements do not belong together, their numbers differ, there is no such metric, or a
            number is out of range.
    """
    _check_numbers(resamples, level)
    if len(a) != len(b):
        raise ValueError(f"There are {len(a)} judgements on one side and {len(b)} on the other; give one a seed each.")
    name, rows = matched_counts([*a, *b], metric)
    first, second, multiplicity, sign = _oriented(rows[: len(a)], rows[len(a) :])
    exact = name == "accuracy" and a[0].kind == "classification" and len(a) == 1
    bootstrap, permutation = np.random.default_rng(seed).spawn(2)
    examples = int(multiplicity.sum())
    difference = float(_differences(name, first, second, multiplicity[None].astype(np.float64))[0])
    low = high = p_value = math.nan
    if not math.isnan(difference):
        weights = (bootstrap_weights(bootstrap, multiplicity, size) for size in _chunks(resamples, examples))
        resampled = np.concatenate([_differences(name, first, second, drawn) for drawn in weights])
        low, high = sorted(sign * bound for bound in _percentiles(resampled, level))
        if exact:
            p_value = _mcnemar(first[0, :, 0], second[0, :, 0], multiplicity)
        else:
            permuted = _permuted(name, first, second, multiplicity, permutation, resamples)
            reached = int((np.abs(permuted) >= abs(difference) - _ROUNDING).sum())
            p_value = (1 + reached) / (1 + resamples)
    return PairedTest(
        metric=metric,
        method="exact McNemar" if exact else "paired permutation",
        difference=sign * difference + 0.0,  # no -0.0
        interval=(low, high),
        p_value=p_value,
        examples=examples,
        seeds=len(a),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Correct the p-values of a family of tests, so that one false alarm among all has at most the level's chance.

    With the m p-values sorted, :math:`\tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\, p_{(j)})` (Holm 1979).
    Nothing is assumed of how the tests depend on each other.

    Args:
        p_values: Of all tests of the family. NaN is no test: it stays NaN and does not count.

    Returns:
        Corrected p-values in the same order.

    Raises:
        ValueError: If a p-value is not between 0 and 1.

    Example:
        >>> holm([0.02, 0.5, 0.01])
        [0.04, 0.5, 0.03]
    """
    if strange := [p for p in p_values if not (math.isnan(p) or 0 <= p <= 1)]:
        raise ValueError(f"A p-value is {strange[0]}; it must be between 0 and 1.")
    tests = [place for place in range(len(p_values)) if not math.isnan(p_values[place])]
    corrected = [math.nan] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(tests, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(tests) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def spread(values: Sequence[float]) -> Spread:
    """Summarise a figure over seeds.

    Args:
        values: One for each seed; a NaN makes mean and deviation NaN.

    Raises:
        ValueError: If there is none.

    Example:
        >>> spread([0.5, 1.0])
        Spread(mean=0.75, std=0.3535533905932738, count=2)
    """
    if not values:
        raise ValueError("There are no values to summarise; give one for each seed.")
    if any(math.isnan(value) for value in values):
        return Spread(mean=math.nan, std=None if len(values) == 1 else math.nan, count=len(values))
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(mean=statistics.mean(values), std=deviation, count=len(values))


def _check_numbers(resamples: int, level: float) -> None:
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples is {resamples} and level {level}; give at least 1, and a level between 0 and 1.")


def _differences(metric: str, first: Array, second: Array, weights: Array) -> Array:
    """Average over the seeds: counts (S, N, 2) on both sides and weights (R, N) give (R,)."""
    scores = weighted_scores(metric, np.concatenate([first, second]), weights)
    differences: Array = scores[len(first) :].mean(0) - scores[: len(first)].mean(0)
    return differences


def _permuted(
    metric: str, first: Array, second: Array, multiplicity: Array, random: np.random.Generator, num_sets: int
) -> Array:
    """Swap examples at random: differences (R,)."""
    unlike = (first != second).any(axis=(0, 2))
    # A set of the first method is made of its own rows and of those of the second that came by swaps, and conversely.
    first, second = (
        np.concatenate([own, other[:, unlike]], axis=1) for own, other in ((first, second), (second, first))
    )
    differences = []
    for size in _chunks(num_sets, first.shape[1]):
        came = swapped(random, multiplicity[unlike], size)
        kept = np.tile(multiplicity.astype(np.float64), (size, 1))
        kept[:, unlike] -= came
        differences.append(_differences(metric, first, second, np.concatenate([kept, came], axis=1)))
    return np.concatenate(differences)


def _mcnemar(first: Array, second: Array, multiplicity: Array) -> float:
    only_first, only_second = (
        int(multiplicity[one & ~other].sum()) for one, other in ((first > 0, second > 0), (second > 0, first > 0))
    )
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def _oriented(first: Array, second: Array) -> tuple[Array, Array, Array, int]:
    """Join equal examples, and put the two methods in an order that depends on their rows alone.

    The draws are then the same for (a, b) as for (b, a), and for every order of the examples.
    """
    tables = [distinct(np.concatenate(pair)) for pair in ((first, second), (second, first))]
    keys = [(rows.tobytes(), multiplicity.tobytes()) for rows, multiplicity in tables]
    rows, multiplicity = tables[0 if keys[0] <= keys[1] else 1]
    return rows[: len(first)], rows[len(first) :], multiplicity, 1 if keys[0] <= keys[1] else -1


def _percentiles(scores: Array, level: float) -> tuple[float, float]:
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _chunks(count: int, columns: int) -> Iterator[int]:
    """Cut so many sets into parts whose weights fit the cache."""
    size = max(1, _CELLS // columns)
    for start in range(0, count, size):
        yield min(size, count - start)
