"""Every method tested against the baseline and against the other methods, on the same examples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from toolkit.comparison.outcomes import Outcome, Table
from toolkit.evaluation.predictions import Judgement, Predictions
from toolkit.evaluation.significance import holm, paired_test

ALPHA = 0.05
_PER_TEST = 40  # Permutations for each test of a family: twice what the smallest corrected p needs to reach 0.05.


@dataclass(frozen=True)
class MethodTest:
    """Two methods on one task, compared on the same examples and the seeds that both have.

    Args:
        task: The task's name.
        metric: Its first metric.
        method: The method.
        against: The one that it is compared with.
        kind: Of the test.
        difference: The method's score minus the other's, mean over the seeds.
        interval: Bootstrap interval of the difference.
        p_value: Of this test alone; None where the metric is not defined.
        adjusted: After Holm's correction, over all tests against the baseline or over all other ones.
        examples: How many both judged.
        seeds: How many both have.
        identical: Whether both said the same of every example.
    """

    task: str
    metric: str
    method: str
    against: str
    kind: str
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    adjusted: float | None
    examples: int
    seeds: int
    identical: bool

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.adjusted is not None and self.adjusted < ALPHA


def run_tests(
    table: Table, methods: Sequence[str], tasks: Sequence[str], baseline: str, resamples: int, seed: int
) -> tuple[MethodTest, ...]:
    """Test every method against the baseline, and the others against each other, on each task's first metric.

    Holm's correction is made within each of these two families. A permutation test of R permutations gives no p-value
    below 1 / (R + 1), so R grows with the family: else no difference of a large table could be significant.

    Args:
        table: The finished cells.
        methods: In their order.
        tasks: In their order.
        baseline: The method of the first family.
        resamples: Permutations and bootstrap samples of each test, at least.
        seed: Of the random numbers.
    """
    others = [method for method in methods if method != baseline]
    tests: list[MethodTest] = []
    for pairs in ([(method, baseline) for method in others], [(b, a) for a, b in combinations(others, 2)]):
        family = [(task, *pair) for task in tasks for pair in pairs if all((name, task) in table for name in pair)]
        enough = max(resamples, _PER_TEST * len(family))
        done = [
            test
            for task, method, against in family
            if (test := _test(table[method, task], table[against, task], enough, seed)) is not None
        ]
        adjusted = iter(holm([test.p_value for test in done if test.p_value is not None]))
        tests += [replace(test, adjusted=None if test.p_value is None else float(next(adjusted))) for test in done]
    return tuple(tests)


def same_predictions(one: Judgement, other: Judgement) -> bool:
    """Whether two networks said the same of every example: labels, or values of a regression.

    Args:
        one: Of a network.
        other: Of another one, on the same sets.
    """
    return one.sets.keys() == other.sets.keys() and all(
        torch.equal(_said(one, one.sets[name]), _said(other, other.sets[name])) for name in one.sets
    )


def _said(judgement: Judgement, predictions: Predictions) -> Tensor:
    return predictions.outputs.argmax(1) if judgement.kind == "classification" else predictions.outputs


def _test(method: Sequence[Outcome], against: Sequence[Outcome], resamples: int, seed: int) -> MethodTest | None:
    judged = [{each.seed: each.judgement for each in side if each.judgement} for side in (against, method)]
    shared = sorted(judged[0].keys() & judged[1].keys())
    if not shared:
        return None
    a, b = ([side[number] for number in shared] for side in judged)
    metric = b[0].metrics[0]
    result = paired_test(a, b, metric, resamples=resamples, seed=seed)
    interval = result.interval
    return MethodTest(
        task=method[0].task,
        metric=metric,
        method=method[0].method,
        against=against[0].method,
        kind=result.method,
        difference=_finite(result.difference),
        interval=(float(interval[0]), float(interval[1])) if all(map(math.isfinite, interval)) else None,
        p_value=_finite(result.p_value),
        adjusted=None,
        examples=result.examples,
        seeds=len(shared),
        identical=all(map(same_predictions, a, b)),
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
