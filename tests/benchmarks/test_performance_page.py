"""The page of the benchmarks says what the files say, and nothing about a missed goal without a reason."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.benchmarks import recording
from tests.benchmarks.performance_page import (
    BEGIN,
    END,
    EXTRAPOLATED,
    ORDER,
    PAGE,
    REASONS,
    Reasons,
    draw,
    sections,
)
from tests.benchmarks.recording import Measure, Table, record


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(recording, "FOLDER", tmp_path)
    record(
        "extraction",
        "Extraction",
        [
            Measure(what="ratio", value=1.07, at_most=1.1),
            Measure(what="speed", value=6.2, at_least=30),
            Measure(what="bytes", value=5, unit="MiB"),
        ],
        Table(columns=("what", "s"), rows=[("bare", 1.25), ("whole", None)]),
        note="Of nothing.",
    )
    return tmp_path


@pytest.mark.parametrize(
    ("goals", "met"),
    [
        ({}, None),
        ({"at_most": 2.0}, True),
        ({"at_most": 1.9}, False),
        ({"at_least": 2.0}, True),
        ({"at_least": 2.1}, False),
        ({"at_least": 1.0, "at_most": 1.5}, False),
    ],
)
def test_goals_include_their_bounds(goals: dict[str, float], met: bool | None) -> None:
    assert Measure(what="ratio", value=2.0, **goals).met is met


def test_page_says_what_was_measured(folder: Path) -> None:
    page = draw(folder, {"extraction": {"speed": "The forward pass is left."}}, {})
    assert "| ratio | 1.07 | ≤ 1.1 | met |" in page
    assert "| speed | 6.2 | ≥ 30 | **missed** |" in page
    assert "| bytes | 5 MiB | – | – |" in page
    assert "*speed*: The forward pass is left." in page
    assert "| bare | 1.25 |" in page
    assert "| whole | – |" in page
    assert "Not measured yet: step cost," in page


@pytest.mark.parametrize("name", ["clustering, nine thresholds", EXTRAPOLATED])
def test_what_is_extrapolated_is_named_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FOLDER", tmp_path)
    measures = [Measure(what=f"NeuroX / here: {name}", value=12.0)]
    record(
        "selection_neurox", "Selection", measures, Table(columns=("step", "s"), rows=[(name, 44.35)]), note="One run."
    )
    page = draw(tmp_path, {}, {})
    assert "| NeuroX / here: clustering, nine thresholds (extrapolated: nine times one) | " in page
    assert "| clustering, nine thresholds (extrapolated: nine times one) | " in page


@pytest.mark.parametrize("reasons", [{}, {"speed": "Because.", "ratio": "But it is met."}])
def test_reasons_are_those_of_missed_goals(folder: Path, reasons: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="needs its reason in reasons"):
        draw(folder, {"extraction": reasons}, {})


def test_file_that_the_page_does_not_know_is_refused(folder: Path) -> None:
    (folder / "another.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="holds another"):
        draw(folder, {}, {})


def test_sections_of_what_is_not_measured_again_stay(folder: Path) -> None:
    reasons = {"extraction": {"speed": "The forward pass is left."}, "latency": {"ratio": "Overhead."}}
    kept = {"latency": "## Latency\n\n*ratio*: Overhead.", "extraction": "## Old", "step_cost": "## Step"}
    again = sections(draw(folder, reasons, kept))
    assert list(again) == ["step_cost", "extraction", "latency"]
    assert again["latency"] == kept["latency"]
    assert again["extraction"].startswith("## Extraction")
    assert sections(draw(folder, reasons, again)) == again
    with pytest.raises(ValueError, match=r"latency: ratio \(not so on the page: draw it from its file, latency.json\)"):
        draw(folder, reasons | {"latency": {"ratio": "Something else."}}, kept)


def test_every_goal_missed_on_the_page_has_its_reason() -> None:
    tables = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    on_page = sections(tables)
    absent = [name.replace("_", " ") for name in ORDER if name not in on_page]
    assert on_page.keys() <= set(ORDER)
    assert not absent or f"Not measured yet: {', '.join(absent)}." in tables
    reasons: Reasons = yaml.safe_load(REASONS.read_text(encoding="utf-8"))
    rows = {
        (name, line.split("|")[1].strip())
        for name, text in on_page.items()
        for line in text.splitlines()
        if line.startswith("|") and "**missed**" in line
    }
    assert rows == {(name, what) for name, given in reasons.items() for what in given}
    for name, given in reasons.items():
        for reason in given.values():
            assert f"*: {reason.strip()}" in on_page[name]


def test_rows_fit_their_columns() -> None:
    rows: list[Any] = [("one", 2.0)]
    with pytest.raises(ValueError, match="3 columns, but a row has 2"):
        Table(columns=("a", "b", "c"), rows=rows)
