"""The tables of a comparison for those who look closely: each task, each test, each failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.comparison.costs import NONE
from toolkit.comparison.layout import (
    Field,
    Section,
    metric_label,
    significance_mark,
    written_interval,
    written_score,
    written_test,
)
from toolkit.comparison.summary import Summary, counted

if TYPE_CHECKING:
    from toolkit.comparison.results import Results


def of_task(results: Results, task: str) -> Section:
    """Every metric of a task with its interval, and the tests against the baseline.

    Args:
        results: Of the comparison.
        task: The task's name.
    """
    metrics = results.metrics(task)
    scores = [part for name in metrics for part in (metric_label(name), "95 %")]
    tested = counted(task, metrics) if metrics else ()
    labels = [f"{name},\n{metric_label(metric)}" for metric in tested for name in ("difference", "p", "corrected p")]
    lines = []
    for method in results.methods:
        summary = results.summary(method, task)
        if summary is None:
            continue
        fields = [Field(method), Field(_seeds(summary))]
        for metric in metrics:
            score = summary.scores.get(metric)
            fields.append(Field(written_score(score, failed=not summary.seeds)))
            fields.append(Field(written_interval(score.interval if score else None)))
        fields.append(Field(NONE if summary.kept is None else f"{100 * summary.kept:.1f} %"))
        for metric in tested:
            test = results.test(method, results.baseline, task, metric)
            difference, *probabilities = written_test(test) if test else [NONE] * 3
            fields += [Field(difference, significance_mark(test)), *map(Field, probabilities)]
        lines.append(tuple(fields))
    tests = [test for test in results.tests if test.task == task and test.against == results.baseline]
    kinds = dict.fromkeys(f"{test.kind}, {test.examples:,} examples, seeds: {test.seeds}" for test in tests)
    how = "; ".join(kinds)
    note = (
        "95 %: bootstrap over the examples. Kept, and the difference to the baseline with its bootstrap interval: over "
        "the seeds that both have."
    )
    return Section(
        title=task,
        header=("method", "seeds", *scores, "kept", *labels),
        lines=tuple(lines),
        note=f"{note} Test: {how}." if how else note,
        long=True,
    )


def between(results: Results) -> Section:
    """The tests of methods against each other.

    Args:
        results: Of the comparison.
    """
    tests = [test for test in results.tests if test.against != results.baseline]
    return Section(
        title="Methods against each other",
        header=("method", "against", "task", "metric", "difference", "p", "corrected p"),
        lines=tuple(
            tuple(map(Field, (test.method, test.against, test.task, metric_label(test.metric), *written_test(test))))
            for test in tests
        ),
        note=f"On the seeds that all methods have. Corrected after Holm over these {len(tests)} tests; those against "
        f"{results.baseline} are a family of their own.",
        words=4,
        long=True,
    )


def failures(results: Results) -> Section:
    """The cells that failed.

    Args:
        results: Of the comparison.
    """
    return Section(
        title="Failed cells",
        header=("method", "task", "seed", "reason", "log"),
        lines=tuple(
            (Field(each.method), Field(each.task), Field(str(each.seed)), Field(each.reason), Field(each.log or NONE))
            for each in results.failures
        ),
        note="They are in no mean. A mean over fewer seeds carries its number.",
        words=5,
    )


def _seeds(summary: Summary) -> str:
    return ("1 for all" if summary.fixed else f"{len(summary.seeds)}") + (
        f" ({len(summary.failed)} failed)" if summary.failed else ""
    )
