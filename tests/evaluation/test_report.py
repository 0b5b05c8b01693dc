"""The report is the same on screen, in Markdown and in JSON, and is written whole or not at all."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from toolkit.evaluation.report import Report, Row

DENSE = Row(
    name="dense",
    task="sst2",
    seed=0,
    scores={"accuracy": 0.9},
    parameters=100,
    nonzero_parameters=100,
    sparsity=0.0,
    latency_ms={"median": 3.0, "iqr": 0.1},
    extras={"seconds": 1.5},
)
SPARSE = replace(DENSE, name="magnitude | [bold]pruned", scores={"accuracy": 0.81}, nonzero_parameters=20, sparsity=0.8)
REPORT = Report((DENSE, SPARSE, replace(DENSE, task="mrpc"), replace(DENSE, seed=1)))


def test_report_survives_its_files(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.json", "report.md"]
    assert Report.read(tmp_path / "run") == REPORT == Report.read(tmp_path / "run" / "report.json")
    content = json.loads((tmp_path / "run" / "report.json").read_text())
    assert content["schema"] == 1
    assert [row["name"] for row in content["rows"]] == [row.name for row in REPORT.rows]
    assert (tmp_path / "run" / "report.md").read_text() == REPORT.to_markdown()


def test_each_task_and_seed_has_a_table() -> None:
    titles = [line for line in REPORT.to_markdown().splitlines() if line.startswith("## ")]
    assert titles == ["## sst2, seed 0", "## mrpc, seed 0", "## sst2, seed 1"]


def test_markdown_tables_are_well_formed() -> None:
    table = [line for line in REPORT.to_markdown().split("## ")[1].splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "| accuracy | 90.00 | 81.00 (90.0 %) |" in table


def test_screen_shows_what_markdown_shows() -> None:
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(REPORT)
    text = console.export_text()
    console.file.close()
    for cell in ("sst2, seed 0", "magnitude | [bold]pruned", "81.00 (90.0 %)", "20 (-80.0 %)", "80.0 %", "3 ± 0.1"):
        assert cell in text


def test_failed_writing_leaves_the_earlier_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    REPORT.write(tmp_path)
    before = (tmp_path / "report.json").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        Report((DENSE,)).write(tmp_path)
    assert (tmp_path / "report.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def row(**changes: Any) -> dict[str, Any]:
    return {**DENSE.to_dict(), **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "report.json is no JSON in UTF-8"),
        (b"\xff\xfe", "report.json is no JSON in UTF-8"),
        ("[]", "has schema None, expected 1"),
        ({"schema": 2, "rows": []}, "has schema 2, expected 1"),
        ({"schema": 1}, "has no list of rows"),
        ({"schema": 1, "rows": [3]}, "has no list of rows"),
        ({"schema": 1, "rows": [row(), row(sparsity="high")]}, "report.json: Row 'dense' .* sparsity is 'high'"),
        ({"schema": 1, "rows": [{"name": "dense"}]}, "report.json: Row 'dense': nonzero_parameters, parameters, "),
    ],
)
def test_what_is_no_report(content: object, message: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        Report.read(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no report .*report\.json"):
        Report.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no report"):
        Report.read(tmp_path / "none")
