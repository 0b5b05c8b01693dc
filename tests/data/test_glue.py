"""Tab-separated files, compared with the csv module."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.data.glue import read_tsv
from toolkit.tasks import TASKS, Task

GLUE = [name for name, task in TASKS.items() if task.format == "tsv"]

# Rows of the published files, for those that are the same wherever they come from.
PUBLISHED = {
    "cola": (8551, 1043),
    "sst2": (67349, 872),
    "mrpc": (3668, 408),
    "stsb": (5749, 1500),
    "rte": (2490, 277),
    "wnli": (635, 71),
}


def files(task: Task, root: Path) -> list[Path]:
    paths = [root / file for file in task.files.values()]
    return [path if path.is_file() else root / path.relative_to(root / "glue") for path in paths]


@pytest.mark.parametrize("name", GLUE)
def test_rows_are_those_of_the_csv_module(name: str, data_root: Path) -> None:
    task = TASKS[name]
    for path in files(task, data_root):
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            # The csv module takes any of \r, \n for a line end; GLUE's files have no \r.
            table = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        if not task.header:
            table.insert(0, [str(number) for number in range(len(table[0]))])
        columns = {column: table[0].index(column) for column in (*task.texts, task.label)}
        rows = read_tsv(path, task)
        assert len(rows) == len(table) - 1 > 0
        for row, cells in zip(rows, table[1:], strict=True):
            texts = [row["sentence"]] if "sentence" in row else [row["sentence1"], row["sentence2"]]
            assert texts == [cells[columns[column]] for column in task.texts]
            label = cells[columns[task.label]]
            assert row["label"] == (float(label) if task.kind == "regression" else task.values.get(label, label))


@pytest.mark.parametrize("name", PUBLISHED)
def test_row_counts_are_the_published_ones(name: str, data_root: Path, tiny_data: Path) -> None:
    expected = (40, 12) if data_root == tiny_data else PUBLISHED[name]
    assert tuple(len(read_tsv(path, TASKS[name])) for path in files(TASKS[name], data_root)) == expected


def test_every_label_occurs_under_its_name(data_root: Path) -> None:
    for name in GLUE:
        labels = {row["label"] for row in read_tsv(files(TASKS[name], data_root)[0], TASKS[name])}
        assert labels == set(TASKS[name].labels) or TASKS[name].kind == "regression"


def test_quotes_and_line_separators_are_text(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_bytes('sentence\tlabel\n"a "" b\t1\n"c\u2028d \x85\t0'.encode())
    assert read_tsv(path, TASKS["sst2"]) == [
        {"sentence": '"a "" b', "label": "positive"},
        {"sentence": '"c\u2028d \x85', "label": "negative"},
    ]


def test_label_may_stand_as_its_name(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("sentence\tlabel\ngood\tpositive\n")
    assert read_tsv(path, TASKS["sst2"]) == [{"sentence": "good", "label": "positive"}]


BROKEN: list[tuple[str, str, str]] = [
    ("sst2", "sentence\tlabel\ngood\t1\nbad\n", r"line 3: 1 column, but the header has 2"),
    ("sst2", "sentence\tlabel\ngood\t1\nbad\t0\t0\n", r"line 3: 3 columns, but the header has 2"),
    ("sst2", "sentence\tlabel\ngood\t1\n\nbad\t0\n", r"line 3: 1 column, but the header has 2"),
    ("sst2", "sentence\tlabel\ngood\t2\n", r"line 2: unknown label '2'; task 'sst2' knows 0, 1"),
    ("mnli", "sentence1\tsentence2\tgold_label\na\tb\t-\n", r"line 2: unknown label '-'.*entailment, neutral"),
    ("sst2", "sentence\tlabel\n", r"no rows; the split of task 'sst2' is empty"),
    ("sst2", "", r"no rows"),
    ("cola", "", r"no rows"),
    ("sst2", "text\tlabel\ngood\t1\n", r"line 1: no column 'sentence' in the header, which has: text, label"),
    ("cola", "gj04\t1\n", r"line 1: 2 columns, but task 'cola' reads column 3"),
    ("cola", "gj04\t1\t\tgood\ngj04\t1\tgood\n", r"line 2: 3 columns, but line 1 has 4"),
    ("stsb", "sentence1\tsentence2\tscore\na\tb\thigh\n", r"line 2: score 'high' is not a number from 0 to 5"),
    ("stsb", "sentence1\tsentence2\tscore\na\tb\t5.1\n", r"line 2: score '5.1' is not a number from 0 to 5"),
    ("stsb", "sentence1\tsentence2\tscore\na\tb\tnan\n", r"line 2: score 'nan'"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_broken_files_are_errors(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        read_tsv(path, TASKS[name])
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_score_without_a_range_is_any_finite_number(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    task = replace(TASKS["stsb"], score_range=None)
    path.write_text("sentence1\tsentence2\tscore\na\tb\t-7e3\n")
    assert read_tsv(path, task)[0]["label"] == -7000
    path.write_text("sentence1\tsentence2\tscore\na\tb\tinf\n")
    with pytest.raises(ValueError, match="score 'inf' is not a finite number"):
        read_tsv(path, task)


def test_rows_that_the_published_file_breaks_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = replace(TASKS["qqp"], broken_rows=2)
    path = tmp_path / "train.tsv"
    good = "1\t2\t3\tWhy?\tHow?\t1"
    write: Callable[[int], int] = lambda broken: path.write_text(  # noqa: E731
        "\n".join(["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", good, *['"\tHow?\t0'] * broken, good])
    )
    write(2)
    with caplog.at_level(logging.WARNING):
        assert len(read_tsv(path, task)) == 2
    assert "left out 2 rows with too few columns (lines 3, 4)" in caplog.text
    write(3)
    with pytest.raises(ValueError, match="line 5: 3 columns, but the header has 6"):
        read_tsv(path, task)
