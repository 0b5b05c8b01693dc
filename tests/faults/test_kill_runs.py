"""Runs that are killed without warning: the script that does it fifty times, at a smaller scale."""

from pathlib import Path

import pytest
from rich.console import Console

from tests.faults.kill_runs import Killed, different, kill_runs, summary


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    found = kill_runs(["proximal_pruning", "neuron_selection"], 4, 1, tmp_path, Console())
    assert [run.recipe for run in found] == 2 * ["proximal_pruning", "neuron_selection"]
    assert [run.differences for run in found] == 4 * [()]


def test_every_difference_is_told() -> None:
    expected = {"model/model.safetensors": "a", "report.json": "b", "model/config.json": "c"}
    found = {"model/model.safetensors": "a", "report.json": "x", "checkpoints/last.ckpt": "d"}
    assert different(expected, expected) == ()
    assert different(expected, found) == (
        "model/config.json is missing",
        "checkpoints/last.ckpt is left over",
        "report.json differs",
    )


def test_summary_counts_what_was_tried_and_what_survived() -> None:
    runs = [
        Killed(recipe="fine_tuning", moment=1.0, of=4.0, differences=()),
        Killed(recipe="fine_tuning", moment=3.0, of=4.0, differences=("report.json differs",)),
        Killed(recipe="pipeline", moment=2.0, of=4.0, differences=()),
    ]
    table = summary(runs)
    assert [list(column.cells) for column in table.columns[:3]] == [
        ["fine_tuning", "pipeline", "all"],
        ["2", "1", "3"],
        ["1", "1", "2"],
    ]
