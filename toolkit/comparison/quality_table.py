"""The table of a comparison that shows how good the methods are."""

from __future__ import annotations

import re
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
    one_line,
    significance_mark,
    written_score,
)
from toolkit.comparison.summary import GLUE, MEAN_OF_TWO, Average, Over, Score, Summary, counted

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
    if len(results.tasks) > 1:
        for over, label in _averages(results):
            header += [label, f"kept,\n{label}"]
            columns += _average_columns(results, over)
            tasks = next(average.tasks for average in results.averages if average.over == over)
            notes.append(f"{one_line(label)}: mean over {', '.join(tasks)}{_rules(tasks)}.")
    for task in results.tasks:
        for metric in counted(task, results.metrics(task)):
            header.append(f"{task}\n{metric_label(metric)}")
            columns.append(_quality_column(results, task, metric))
        if len(results.tasks) == 1:
            header.append("kept")
            columns.append([_kept(results.summary(method, task)) for method in results.methods])
    notes += _seed_notes(results)
    bracketed = (re.search(r"\((\d+)/(\d+)\)$", field.text) for column in columns[1:] for field in column)
    if example := next(filter(None, bracketed), None):
        there, wanted = example.groups()
        notes.append(
            f"{example[0]}: {there} of {wanted} seeds is there; in an average, for all methods on all its tasks."
        )
    if fixed := [method for method in results.methods if any(summary.fixed for summary in results.of(method))]:
        notes.append(f"One network for all seeds, so without deviation: {', '.join(fixed)}.")
    notes.append(f"Kept: part of the score of {results.baseline}.")
    lines = tuple(zip(*columns, strict=True))
    return Section(
        title="Quality", header=tuple(header), lines=lines, note=" ".join([*notes, *_legend(results, lines)])
    )


def _averages(results: Results) -> list[tuple[Over, str]]:
    """The averages to show: that over all tasks only where it is another one than GLUE's."""
    tasks = {average.over: average.tasks for average in results.averages}
    shown: list[tuple[Over, str]] = []
    if "GLUE" in tasks:
        part = f"\n({len(tasks['GLUE'])} of {len(GLUE)})" if len(tasks["GLUE"]) < len(GLUE) else ""
        shown.append(("GLUE", f"GLUE{part}"))
    if "all" in tasks and tasks["all"] != tasks.get("GLUE"):
        shown.append(("all", "average"))
    return shown


def _average_columns(results: Results, over: Over) -> tuple[list[Field], list[Field]]:
    """An average, and how much of the baseline's it is."""
    averages = [results.average(method, over) for method in results.methods]
    tasks = next(average.tasks for average in averages if average)
    best = _best(results, [average.score if average else None for average in averages])
    wanted = max(_wanted(results, task) for task in tasks)
    scores, kept = [], []
    for place, average in enumerate(averages):
        text = written_score(average.score if average else None)
        if average and not all(each.fixed for each in results.of(average.method) if each.task in tasks):
            text = _with_seeds(text, average.score.count, wanted)
        scores.append(Field(text, BEST * (place in best)))
        kept.append(_kept(average))
    return scores, kept


def _kept(held: Summary | Average | None) -> Field:
    return Field(NONE if held is None or held.kept is None else f"{100 * held.kept:.1f} %")


def _quality_column(results: Results, task: str, metric: str) -> list[Field]:
    summaries = [results.summary(method, task) for method in results.methods]
    best = _best(results, [summary.compared.get(metric) if summary else None for summary in summaries])
    winners = [results.methods[place] for place in best]
    fields = []
    for place, (method, summary) in enumerate(zip(results.methods, summaries, strict=True)):
        score = summary.scores.get(metric) if summary else None
        text = written_score(score, failed=summary is not None and not summary.seeds)
        if summary and summary.seeds and not summary.fixed:
            text = _with_seeds(text, len(summary.seeds), _wanted(results, task))
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


def _wanted(results: Results, task: str) -> int:
    """The number of seeds that a task was to have."""
    return max(len({*each.seeds, *each.failed}) for each in results.summaries if each.task == task)


def _seed_notes(results: Results) -> list[str]:
    """Say which tasks and seeds methods are compared by, where those are not all of them."""
    notes = []
    left_out = [task for task in results.tasks if all(task not in each.tasks for each in results.averages)]
    if left_out and len(results.tasks) > 1:
        notes.append(f"In no average, as not all methods have a score of a common seed there: {', '.join(left_out)}.")
    shared = {task: max(len(each.shared) for each in results.summaries if each.task == task) for task in results.tasks}
    fewer = {task: number for task, number in shared.items() if 0 < number < _wanted(results, task)}
    if fewer:
        told = ", ".join(f"{task} {number} of {_wanted(results, task)}" for task, number in fewer.items())
        notes.append(f"Averages, {BEST}, {ALIKE} and costs are of the seeds that all methods have: {told}.")
    if none := [task for task, number in shared.items() if not number and results.metrics(task)]:
        notes.append(f"No method is marked as the best where no seed is there for all of them: {', '.join(none)}.")
    return notes


def _with_seeds(text: str, count: int, wanted: int) -> str:
    """A mean over fewer seeds than others carries its number."""
    return text if count == wanted else f"{text} ({count}/{wanted})"


def _best(results: Results, scores: Sequence[Score | None]) -> list[int]:
    """Places of the best methods but the baseline, by scores of the same seeds; none if there is no choice."""
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
    tested = [mark for mark in (LOSS, GAIN, ALIKE) if mark in used]
    if tested and any(len(counted(task, results.metrics(task))) > 1 for task in results.tasks):
        notes.append(
            f"{', '.join(tested)} at a task's first metric only; the tests of all are in the tables of the tasks."
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
        told = [f"{pair} ({', '.join(dict.fromkeys(tasks))})" for pair, tasks in pairs.items()]
        notes.append(f"Identical predictions: {'; '.join(told)}.")
    return notes


def _rules(tasks: Sequence[str]) -> str:
    two = [task for task in tasks if task in MEAN_OF_TWO]
    parts = [f"{', '.join(two)} with the mean of two metrics"] if two else []
    parts += ["mnli with that of both sets"] if "mnli" in tasks else []
    return f" ({'; '.join(parts)})" if parts else ""
