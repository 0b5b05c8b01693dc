"""Every method tested against the baseline and against the other methods, on the same examples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from toolkit.comparison.outcomes import Outcome, Table
from toolkit.comparison.summary import counted, networks, shared_seeds
from toolkit.evaluation.predictions import Judgement, Predictions
from toolkit.evaluation.significance import holm, paired_test

ALPHA = 0.05
_PER_TEST = 40  # Permutations for each test of a family: twice what the smallest corrected p needs to reach 0.05.


@dataclass(frozen=True)
class MethodTest:
    """Two methods on one task by one metric, compared on the same examples and the same seeds.

    Args:
        task: The task's name.
        metric: One of those that count for the task.
        method: The method.
        against: The one that it is compared with.
        kind: Of the test.
        difference: The method's score minus the other's, mean over the seeds.
        interval: Bootstrap interval of the difference.
        p_value: Of this test alone; None where the metric is not defined.
        adjusted: After Holm's correction, over all tests against the baseline or over all other ones.
        examples: How many both judged.
        seeds: How many were compared.
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
    """Test every method against the baseline, and the others against each other, by each metric that counts for a task.

    Against the baseline the seeds count that both have; against each other those that all methods have on the task, as
    for the best of them. Two fixed networks are compared once, whatever the number of their seeds.

    Holm's correction is made within each of these two families, over all tasks and metrics. A permutation test of R
    permutations gives no p-value below 1 / (R + 1), so R grows with the family: else no difference of a large table
    could be significant.

    Args:
        table: The finished cells.
        methods: In their order.
        tasks: In their order.
        baseline: The method of the first family.
        resamples: Permutations and bootstrap samples of each test, at least.
        seed: Of the random numbers.
    """
    others = [method for method in methods if method != baseline]
    shared = {task: shared_seeds(table, task) for task in tasks}
    of_all = {
        (method, task): [outcome for outcome in outcomes if outcome.seed in shared[task]]
        for (method, task), outcomes in table.items()
    }
    tests: list[MethodTest] = []
    for cells, pairs in (
        (table, [(method, baseline) for method in others]),
        (of_all, [(b, a) for a, b in combinations(others, 2)]),
    ):
        family = [
            (cells[method, task], cells[against, task], metric)
            for task in tasks
            for method, against in pairs
            if (method, task) in cells and (against, task) in cells
            for metric in _metrics(task, [*cells[method, task], *cells[against, task]])
        ]
        enough = max(resamples, _PER_TEST * len(family))
        done = [
            test
            for method, against, metric in family
            if (test := _test(method, against, metric, enough, seed)) is not None
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


def _metrics(task: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """The metrics that count, as the sets name them that networks were judged on."""
    judged = [outcome.judgement for outcome in outcomes if outcome.judgement is not None]
    names = [
        f"{metric}{name.removeprefix('test')}" for each in judged[:1] for name in each.sets for metric in each.metrics
    ]
    return counted(task, names)


def _test(
    method: Sequence[Outcome], against: Sequence[Outcome], metric: str, resamples: int, seed: int
) -> MethodTest | None:
    judged = [{each.seed: each.judgement for each in side if each.judgement} for side in (against, method)]
    shared = sorted(judged[0].keys() & judged[1].keys())
    if not shared:
        return None
    if all(len(networks(side)) == 1 for side in (against, method)):
        shared = shared[:1]
    a, b = ([side[number] for number in shared] for side in judged)
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
