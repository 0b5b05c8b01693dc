"""Scores of a comparison over seeds and tasks: means, deviations, intervals and averages."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from toolkit.comparison.costs import costs_of
from toolkit.comparison.outcomes import Failure, Interval, Outcome, Table
from toolkit.evaluation.significance import interval, spread
from toolkit.tasks import TASKS

Over = Literal["GLUE", "all"]

GLUE = tuple(name for name, task in TASKS.items() if task.hub is not None and task.hub.path == "nyu-mll/glue")
MEAN_OF_TWO = ("mrpc", "stsb", "qqp")


@dataclass(frozen=True)
class Score:
    """A score over seeds.

    Args:
        mean: Over the seeds; None where it is not defined for one of them.
        std: The sample's standard deviation; None for a single seed.
        count: Number of seeds; one for a fixed network, whatever the number of its seeds.
        interval: Bootstrap interval of the mean over the examples; None without predictions.
    """

    mean: float | None
    std: float | None = None
    count: int = 0
    interval: Interval | None = None


@dataclass(frozen=True)
class Summary:
    """A method on a task, over its seeds.

    Args:
        method: Label of the method.
        task: The task's name.
        seeds: Those that finished.
        failed: Those that failed.
        shared: Those that every method with a score on the task has.
        fixed: Whether it is one network for all seeds, which has no deviation.
        scores: Metric → score over the method's own seeds, to be shown.
        compared: Metric → score over the shared seeds, to be compared and averaged; nothing without such seeds.
        kept: The task's score as a part of the baseline's, over the seeds that both have; None if it is not defined.
        costs: Key of a cost → mean over the shared seeds, else over its own, if all of them have it.
    """

    method: str
    task: str
    seeds: tuple[int, ...]
    failed: tuple[int, ...]
    shared: tuple[int, ...]
    fixed: bool
    scores: Mapping[str, Score]
    compared: Mapping[str, Score]
    kept: float | None
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Average:
    """A method over tasks.

    Args:
        method: Label of the method.
        over: ``GLUE`` or ``all``.
        tasks: Those that were averaged: on each of them every method has a score, of a seed that all have.
        score: The mean over the tasks of each task's mean over the seeds that all methods have there; deviation and
            count are of those seeds that all methods have on all the tasks.
        kept: `score` as a part of the baseline's.
    """

    method: str
    over: Over
    tasks: tuple[str, ...]
    score: Score
    kept: float | None


def counted(task: str, metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics whose mean is the score of a task.

    As in GLUE (Wang et al. 2019, https://arxiv.org/abs/1804.07461, section 3), MRPC, QQP and STS-B count with the mean
    of their two metrics, and MNLI with the mean of the matched and the mismatched set. Every other task counts with its
    first metric, so CoLA with Matthews' correlation alone.

    Args:
        task: The task's name.
        metrics: Of the task, in its order.

    Example:
        >>> counted("cola", ["matthews_correlation", "accuracy"]), counted("mnli", ["accuracy", "accuracy_mismatched"])
        (('matthews_correlation',), ('accuracy', 'accuracy_mismatched'))
    """
    if task in MEAN_OF_TWO:
        return tuple(metrics)
    return tuple(name for name in metrics if name == metrics[0] or name.startswith(f"{metrics[0]}_"))


def task_score(task: str, scores: Mapping[str, float]) -> float:
    """The score of a task: the mean of the metrics that count; NaN where one of them is not defined.

    Args:
        task: The task's name.
        scores: Metric → score.
    """
    return float(np.mean([scores[metric] for metric in counted(task, list(scores))])) if scores else math.nan


def networks(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """One outcome for each network: of cells of several seeds with the same key, which are one network, the first.

    Args:
        outcomes: Of one method on one task.
    """
    keys = {outcome.key for outcome in outcomes}
    return outcomes[:1] if len(keys) == 1 and "" not in keys else outcomes


def shared_seeds(table: Table, task: str) -> tuple[int, ...]:
    """The seeds that every method with a score on a task has there.

    Args:
        table: The finished cells.
        task: The task's name.
    """
    seeds = [{outcome.seed for outcome in outcomes} for (_, of), outcomes in table.items() if of == task]
    return tuple(sorted(set.intersection(*seeds))) if seeds else ()


def in_order(tasks: Iterable[str]) -> list[str]:
    """Names of tasks, each once: first those of the table of tasks, in its order, then those of the user's own.

    Args:
        tasks: The names.
    """
    known = [*TASKS]
    return sorted(dict.fromkeys(tasks), key=lambda task: known.index(task) if task in known else len(known))


def summarise(
    table: Table,
    failures: Sequence[Failure],
    methods: Sequence[str],
    tasks: Sequence[str],
    baseline: str,
    resamples: int,
    seed: int,
) -> tuple[Summary, ...]:
    """Put the seeds of every method on every task together.

    Args:
        table: The finished cells.
        failures: The others.
        methods: In the order of the result.
        tasks: In the order of the result.
        baseline: The method that the others are measured by.
        resamples: Of each bootstrap.
        seed: Of the bootstrap.
    """
    summaries = []
    seeds = {task: shared_seeds(table, task) for task in tasks}
    for method in methods:
        for task in tasks:
            outcomes = table.get((method, task), ())
            failed = tuple(failure.seed for failure in failures if (failure.method, failure.task) == (method, task))
            if not outcomes and not failed:
                continue
            shared = [outcome for outcome in outcomes if outcome.seed in seeds[task]]
            scores = _scores(outcomes, resamples, seed)
            costs = [costs_of(outcome.row) for outcome in shared or outcomes]
            summaries.append(
                Summary(
                    method=method,
                    task=task,
                    seeds=tuple(outcome.seed for outcome in outcomes),
                    failed=tuple(sorted(failed)),
                    shared=tuple(outcome.seed for outcome in shared),
                    fixed=len(networks(outcomes)) < len(outcomes),
                    scores=scores,
                    compared=scores if len(shared) == len(outcomes) else _scores(shared, resamples, seed),
                    kept=_kept(task, outcomes, table.get((baseline, task), ())),
                    costs={
                        key: float(np.mean([each[key] for each in costs]))
                        for key in (costs[0] if costs else ())
                        if all(key in each for each in costs)
                    },
                )
            )
    return tuple(summaries)


def bootstrap(outcomes: Sequence[Outcome], metric: str, resamples: int, seed: int) -> Interval | None:
    """The 95 % interval of the mean score of some seeds; None where predictions are missing or it is not defined.

    Args:
        outcomes: Of one method on one task.
        metric: Name of the score.
        resamples: How many.
        seed: Of the random numbers.
    """
    judgements = [outcome.judgement for outcome in outcomes if outcome.judgement is not None]
    if not judgements or len(judgements) < len(outcomes):
        return None
    if not all(math.isfinite(outcome.row.scores.get(metric, math.nan)) for outcome in outcomes):
        return None
    low, high = interval(judgements, metric, resamples=resamples, seed=seed)
    return (float(low), float(high)) if math.isfinite(low) and math.isfinite(high) else None


def averages(
    table: Table, summaries: Sequence[Summary], over: Over, baseline: str, tasks: Sequence[str]
) -> tuple[Average, ...]:
    """Average every method's score over the tasks that all methods have, and on each over the seeds that all have.

    So every average is over the same pairs of a task and a seed. A method that has no score at all takes no task away
    from the others.

    Args:
        table: The finished cells.
        summaries: Of them.
        over: The name of the average.
        baseline: The method that the others are measured by.
        tasks: Those that belong to the average.
    """
    held = {(summary.method, summary.task): summary for summary in summaries}
    methods = list(dict.fromkeys(summary.method for summary in summaries if summary.seeds))
    means = {
        cell: mean for cell, summary in held.items() if (mean := _mean(summary.task, summary.compared)) is not None
    }
    common = tuple(task for task in tasks if all((method, task) in means for method in methods))
    if not methods or not common:
        return ()
    average = {method: float(np.mean([means[method, task] for task in common])) for method in methods}
    reference = average.get(baseline)
    complete = sorted(set.intersection(*({*held[methods[0], task].shared} for task in common)))
    result = []
    for method in methods:
        of_tasks = [held[method, task] for task in common]
        scores = [
            {outcome.seed: task_score(task, outcome.row.scores) for outcome in table[method, task]} for task in common
        ]
        values = [float(np.mean([of_task[seed] for of_task in scores])) for seed in complete]
        if all(summary.fixed for summary in of_tasks):
            values = [average[method]]
        result.append(
            Average(
                method=method,
                over=over,
                tasks=common,
                score=Score(
                    mean=average[method],
                    std=spread(values).std if values else None,
                    count=len(values),
                    interval=combined(average[method], [_interval_of_task(of.task, of.compared) for of in of_tasks]),
                ),
                kept=average[method] / reference if reference is not None and reference > 0 else None,
            )
        )
    return tuple(result)


def combined(mean: float, parts: Sequence[tuple[float, Interval | None]]) -> Interval | None:
    r"""The interval of a mean of independent estimates, from theirs.

    .. math:: \bar{x} - \frac1n \sqrt{\textstyle\sum_i (x_i - l_i)^2},\quad
              \bar{x} + \frac1n \sqrt{\textstyle\sum_i (h_i - x_i)^2}

    The method of variance estimates recovery for sums (Zou & Donner 2008, https://doi.org/10.1002/sim.3095).

    Args:
        mean: Of the estimates, :math:`\bar{x}`.
        parts: Each estimate :math:`x_i` with its interval :math:`(l_i, h_i)`.

    Returns:
        The interval; None where one is missing.
    """
    known = [(value, bounds) for value, bounds in parts if bounds is not None]
    if len(known) < len(parts):
        return None
    below, above = (math.hypot(*(bounds[side] - value for value, bounds in known)) / len(known) for side in (0, 1))
    return mean - below, mean + above


def _scores(outcomes: Sequence[Outcome], resamples: int, seed: int) -> dict[str, Score]:
    metrics = dict.fromkeys(metric for outcome in outcomes for metric in outcome.row.scores)
    return {metric: _over_seeds(networks(outcomes), metric, resamples, seed) for metric in metrics}


def _over_seeds(outcomes: Sequence[Outcome], metric: str, resamples: int, seed: int) -> Score:
    values = [outcome.row.scores.get(metric, math.nan) for outcome in outcomes]
    if not all(map(math.isfinite, values)):
        return Score(mean=None, count=len(values))  # A mean over the seeds that it is defined for would be too good.
    over = spread(values)
    return Score(over.mean, over.std, over.count, bootstrap(outcomes, metric, resamples, seed))


def _kept(task: str, outcomes: Sequence[Outcome], of_baseline: Sequence[Outcome]) -> float | None:
    """The part of the baseline's score: means over the same seeds, as seeds differ by more than methods may."""
    own, reference = (
        {outcome.seed: task_score(task, outcome.row.scores) for outcome in side} for side in (outcomes, of_baseline)
    )
    seeds = own.keys() & reference.keys()
    total, of_reference = (math.fsum(side[seed] for seed in seeds) for side in (own, reference))
    return total / of_reference if math.isfinite(total) and of_reference > 0 else None


def _mean(task: str, scores: Mapping[str, Score]) -> float | None:
    """The score of a task over seeds; None where there is none, or a metric that counts is not defined."""
    means = {metric: math.nan if score.mean is None else score.mean for metric, score in scores.items()}
    mean = task_score(task, means)
    return mean if math.isfinite(mean) else None


def _interval_of_task(task: str, scores: Mapping[str, Score]) -> tuple[float, Interval | None]:
    """The score of a task with an interval: sets are independent, two metrics of one set go up and down together."""
    of_task = [scores[metric] for metric in counted(task, list(scores))]
    known = [(score.mean, score.interval) for score in of_task if score.mean is not None]
    mean = float(np.mean([value for value, _ in known])) if known else math.nan
    if len(known) < len(of_task) or not of_task:
        return mean, None
    if task not in MEAN_OF_TWO:
        return mean, combined(mean, known)
    bounds = [bounds for _, bounds in known if bounds is not None]
    if len(bounds) < len(known):
        return mean, None
    return mean, (float(np.mean([low for low, _ in bounds])), float(np.mean([high for _, high in bounds])))
