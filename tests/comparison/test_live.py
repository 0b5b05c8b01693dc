"""The view of a running comparison."""

import io
import time

import pytest
from rich.console import Console

from tests.comparison.cells import cell, outcome
from toolkit.comparison.live import View

CELLS = [cell(method, seed) for method in ("dense", "[half]") for seed in (0, 1)]


def shown(view: View) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(view.table())
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_states_are_counted_by_method() -> None:
    with View(CELLS, 2, Console(file=io.StringIO())) as view:
        view.kept(outcome(CELLS[0], 0.75))
        view.begun(CELLS[1])
        view.begun(CELLS[2])
        view.ended(CELLS[2], None, "it broke")
        lines = shown(view).splitlines()
    dense = next(line for line in lines if "dense" in line).split("│")
    half = next(line for line in lines if "[half]" in line).split("│")
    assert [part.strip() for part in dense[2:6]] == ["1", "1", "–", "–"]
    assert [part.strip() for part in half[2:6]] == ["–", "–", "1", "1"]
    assert "2/4" in lines[-1]


def test_means_are_over_what_every_method_has_done() -> None:
    with View(CELLS, 2, Console(file=io.StringIO())) as view:
        for number, score in ((0, 0.5), (1, 0.9), (2, 0.6)):
            view.kept(outcome(CELLS[number], score))
        printed = shown(view)
    assert "60.0 ★" in printed  # on seed 0 alone, which both have
    assert "50.0" in printed
    assert "70.0" not in printed


def test_time_left_follows_the_cells_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with View(CELLS, 2, Console(file=io.StringIO())) as view:
        assert view.left() is None
        view.begun(CELLS[0])
        now = 60.0
        view.ended(CELLS[0], outcome(CELLS[0], 0.5))
        assert view.left() == 60 * 3 / 2
    with View(CELLS, None, Console(file=io.StringIO())) as unknown:
        assert unknown.left() is None


def test_without_a_terminal_every_end_is_a_line() -> None:
    file = io.StringIO()
    with View(CELLS, 1, Console(file=file, width=40)) as view:
        view.begun(CELLS[0])
        view.ended(CELLS[0], outcome(CELLS[0], 0.5))
        view.ended(CELLS[1], None, "a [long] reason that is longer than the line is wide")
    assert file.getvalue().splitlines() == [
        "[1/4] dense on own, seed 0: 50.0 (0 s)",
        "[2/4] dense on own, seed 1: failed: a [long] reason that is longer than the line is wide (0 s)",
    ]
