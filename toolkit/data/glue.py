"""Sentences and pairs of sentences from tab-separated files, as GLUE (Wang et al. 2019, arXiv 1804.07461) has them."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any

from toolkit.data.lines import read_lines
from toolkit.tasks import Task

logger = logging.getLogger(__name__)
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def read_tsv(path: Path, task: Task) -> list[dict[str, Any]]:
    """Read a tab-separated file without quoting: a ``"`` is text, and every line is a row.

    Args:
        path: The file.
        task: Names the columns, the labels and the range of the scores.

    Returns:
        One dictionary a row, of ``sentence``, or ``sentence1`` and ``sentence2``; ``label`` is the label's name or, in
        a regression, the score.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not UTF-8, has too few or too many columns, no or an unknown label or an impossible
            score, if the header names a column twice, or if there are no rows. The message names the file and the line.
    """
    lines = read_lines(path)
    if len(lines) <= task.header:
        raise ValueError(f"{path}: no rows; the split of task {task.name!r} is empty")
    first = lines[0].split("\t")
    *texts, label = _columns(path, first, task)
    names = text_names(len(texts))
    rows: list[dict[str, Any]] = []
    broken: list[int] = []
    for number, line in enumerate(lines[task.header :], start=1 + task.header):
        cells = line.split("\t")
        if len(cells) < len(first) and len(broken) < task.broken_rows:
            broken.append(number)
            continue
        if len(cells) != len(first):
            whose = "the header" if task.header else "line 1"
            raise ValueError(
                f"{path}, line {number}: {_count(len(cells), 'column')}, but {whose} has {len(first)}; "
                "columns are separated by single tabs, without quoting"
            )
        row: dict[str, Any] = {name: cells[text] for name, text in zip(names, texts, strict=True)}
        row["label"] = read_label(cells[label], task, f"{path}, line {number}")
        rows.append(row)
    if broken:
        logger.warning(
            "%s: left out %s with too few columns (%s %s), which the published file is known to have",
            path,
            _count(len(broken), "row"),
            "line" if len(broken) == 1 else "lines",
            ", ".join(map(str, broken)),
        )
    return rows


def read_label(value: str, task: Task, place: str) -> str | float:
    """Turn a label of the data into its name, or a score into a number.

    Args:
        value: What the data has.
        task: Knows the names and the range.
        place: Where it stands, for the message.

    Raises:
        ValueError: If the label is unknown or the score is impossible.
    """
    if task.kind != "regression":
        label = task.values.get(value, value)
        if not label:
            raise ValueError(f"{place}: no label; mend or remove the line")
        if task.labels and label not in task.labels:
            expected = ", ".join(task.values or task.labels)
            raise ValueError(
                f"{place}: unknown label {value!r:.80}; task {task.name!r} knows {expected}; mend the line or the task"
            )
        return label
    # Python's own numbers may have underscores, blanks around them, and digits of every script.
    score = float(value) if _NUMBER.fullmatch(value) else math.nan
    low, high = task.score_range or (-math.inf, math.inf)
    if not (math.isfinite(score) and low <= score <= high):
        expected = f"a number from {low:g} to {high:g}" if task.score_range else "a finite number"
        raise ValueError(f"{place}: score {value!r:.80} is not {expected}; mend or remove the line")
    return score


def text_names(count: int) -> tuple[str, ...]:
    """Names of the text columns of a row: ``sentence``, or ``sentence1`` and ``sentence2``."""
    return ("sentence",) if count == 1 else ("sentence1", "sentence2")


def _columns(path: Path, first: list[str], task: Task) -> list[int]:
    wanted = (*task.texts, task.label)
    if not task.header:
        if (last := max(map(int, wanted))) >= len(first):
            raise ValueError(
                f"{path}, line 1: {_count(len(first), 'column')}, but task {task.name!r} reads column {last} "
                "(counted from 0); columns are separated by single tabs"
            )
        return [int(column) for column in wanted]
    for column in wanted:
        if column not in first:
            raise ValueError(
                f"{path}, line 1: no column {column!r} in the header, which has: {', '.join(first):.400}; "
                f"mend the file, or the columns of task {task.name!r}"
            )
        if first.count(column) > 1:
            raise ValueError(f"{path}, line 1: the header names column {column!r} {first.count(column)} times; mend it")
    return [first.index(column) for column in wanted]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
