"""The table of a comparison that shows how good the methods are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolkit.comparison.costs import NONE
from toolkit.comparison.layout import (
    GAIN,
    LOSS,
    Field,
    Section,
    count_of,
    metric_label,
    significance_mark,
    written_score,
)
from toolkit.comparison.summary import Over, Score, counted

if TYPE_CHECKING:
    from toolkit.comparison.results import Results

BEST, ALIKE = "★", "≈"


def quality_table(results: Results) -> Section:
    """Methods × averages and tasks.

    Args:
        results: Of the comparison.
    """
    header, columns = ["method"], [[Field(method) for method in results.methods]]
    notes = ["Scores in per cent: mean ± standard deviation over seeds."]
    for over, label in _averages(results):
        averages = [results.average(method, over) for method in results.methods]
        scores = [average.score if average else None for average in averages]
        best = _best(results, scores)
        tasks = next(average.tasks for average in averages if average)
        if len(results.tasks) > 1:
            header.append(label)
            seeds = max(score.count for score in scores if score)
            columns.append(
                [
                    Field(_with_seeds(written_score(score), score.count if score else seeds, seeds), BEST * (n in best))
                    for n, score in enumerate(scores)
                ]
            )
            notes.append(f"{label}: mean over {', '.join(tasks)}{_rules(tasks)}.")
        header.append(f"kept,\n{label}" if len(results.tasks) > 1 else "kept")
        columns.append(
            [Field(NONE if not each or each.kept is None else f"{100 * each.kept:.1f} %") for each in averages]
        )
    for task in results.tasks:
        for metric in counted(task, results.metrics(task)):
            header.append(f"{task}\n{metric_label(metric)}")
            columns.append(_quality_column(results, task, metric))
    left_out = [task for task in results.tasks if all(task not in each.tasks for each in results.averages)]
    if left_out and len(results.tasks) > 1:
        notes.append(f"In no average, as a method has no score there: {', '.join(left_out)}.")
    if any("/" in field.text for column in columns[1:] for field in column):
        notes.append("(1/3): one seed of three is there.")
    notes.append(f"Kept: part of the score of {results.baseline}.")
    lines = tuple(zip(*columns, strict=True))
    return Section(
        title="Quality", header=tuple(header), lines=lines, note=" ".join([*notes, *_legend(results, lines)])
    )


def _averages(results: Results) -> list[tuple[Over, str]]:
    """The averages to show: that over all tasks only where it is another one than GLUE's."""
    tasks = {average.over: average.tasks for average in results.averages}
    shown: list[tuple[Over, str]] = [("GLUE", "GLUE")] if "GLUE" in tasks else []
    if "all" in tasks and tasks["all"] != tasks.get("GLUE"):
        shown.append(("all", "average"))
    return shown


def _quality_column(results: Results, task: str, metric: str) -> list[Field]:
    summaries = [results.summary(method, task) for method in results.methods]
    scores = [summary.scores.get(metric) if summary else None for summary in summaries]
    wanted = max(len(summary.seeds) + len(summary.failed) for summary in summaries if summary)
    best = _best(results, scores)
    winners = [results.methods[place] for place in best]
    fields = []
    for place, (method, summary, score) in enumerate(zip(results.methods, summaries, scores, strict=True)):
        text = written_score(score, failed=summary is not None and not summary.seeds)
        if summary and summary.seeds:
            text = _with_seeds(text, len(summary.seeds), wanted)
        marks = BEST * (place in best)
        if metric == results.metrics(task)[0]:
            marks = significance_mark(results.test(method, results.baseline, task)) + marks
            rivals = [results.test(method, winner, task) for winner in winners if method != results.baseline]
            if place not in best and any(
                test and test.adjusted is not None and not test.significant for test in rivals
            ):
                marks += ALIKE
        fields.append(Field(text, marks))
    return fields


def _with_seeds(text: str, count: int, wanted: int) -> str:
    """A mean over fewer seeds than others carries its number."""
    return text if count == wanted else f"{text} ({count}/{wanted})"


def _best(results: Results, scores: Sequence[Score | None]) -> list[int]:
    """Places of the best methods but the baseline; none if there is no choice."""
    rivals = {
        place: score.mean
        for place, (method, score) in enumerate(zip(results.methods, scores, strict=True))
        if method != results.baseline and score is not None and score.mean is not None
    }
    return [place for place, mean in rivals.items() if mean == max(rivals.values())] if len(rivals) > 1 else []


def _legend(results: Results, lines: Sequence[Sequence[Field]]) -> list[str]:
    """Explain the marks that are there."""
    used = {mark for line in lines for field in line for mark in field.marks}
    of_baseline = [test for test in results.tests if test.against == results.baseline]
    notes = []
    directions = [(LOSS, "below"), (GAIN, "above")]
    if told := [f"{mark} significantly {name}" for mark, name in directions if mark in used]:
        kinds = " or ".join(dict.fromkeys(test.kind for test in of_baseline))
        notes.append(
            f"{', '.join(told)} {results.baseline} on the same examples ({kinds}, p < 0.05 after Holm's correction "
            f"over {count_of(len(of_baseline), 'test')})."
        )
    if BEST in used:
        notes.append(f"{BEST} best of the column, {results.baseline} left aside.")
    if ALIKE in used:
        number = count_of(len(results.tests) - len(of_baseline), "test")
        notes.append(f"{ALIKE} no significant difference to the best (corrected over {number} between methods).")
    pairs: dict[str, list[str]] = {}
    for test in results.tests:
        if test.identical:
            pairs.setdefault(f"{test.method} = {test.against}", []).append(test.task)
    if pairs:
        told = [f"{pair} ({', '.join(tasks)})" for pair, tasks in pairs.items()]
        notes.append(f"Identical predictions: {'; '.join(told)}.")
    return notes


def _rules(tasks: Sequence[str]) -> str:
    two = [task for task in tasks if task in ("mrpc", "stsb", "qqp")]
    parts = [f"{', '.join(two)} with the mean of two metrics"] if two else []
    parts += ["mnli with that of both sets"] if "mnli" in tasks else []
    return f" ({'; '.join(parts)})" if parts else ""
