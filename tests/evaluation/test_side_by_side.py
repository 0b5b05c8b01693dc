"""What stands in the table: every figure, and the difference to the dense network."""

import math
from dataclasses import replace
from typing import Any

from toolkit.evaluation.costs import Latency
from toolkit.evaluation.row import Row
from toolkit.evaluation.side_by_side import side_by_side

LATENCY = Latency(median=40.0, iqr=2.0, batch=1, length=128, threads=1, device="cpu", dtype="float32")
DENSE = Row(
    name="dense",
    task="mrpc",
    seed=3,
    scores={"accuracy": 0.8, "f1": 0.9},
    parameters=22_700_000,
    nonzero_parameters=22_700_000,
    sparsity=0.0,
    total_sparsity=0.0,
    bytes=90_868_376,
    macs=1_434_600_576,
    latency_ms=LATENCY,
)


def line(name: str, **changes: Any) -> list[str]:
    """Figures called `name`, of the dense network and a changed one."""
    table = side_by_side([DENSE, replace(DENSE, name="pruned", **changes)])
    return next(cells for label, *cells in table.lines if label == name)


def test_header_and_title() -> None:
    table = side_by_side([DENSE, replace(DENSE, name="pruned")])
    assert table.header == ["", "dense", "pruned"]
    assert table.title == "mrpc, seed 3"
    assert side_by_side([replace(DENSE, seed=None)]).title == "mrpc"


def test_scores_and_how_much_was_kept() -> None:
    assert line("accuracy", scores={"accuracy": 0.6}) == ["80.00", "60.00 (75.0 %)"]
    assert line("f1", scores={"accuracy": 0.6}) == ["90.00", "-"]
    assert line("f1", scores={"f1": math.nan}) == ["90.00", "-"]
    assert line("spearman", scores={"spearman": 0.5}) == ["-", "50.00"]


def test_nothing_is_kept_of_nothing() -> None:
    rows = [replace(DENSE, scores={"matthews_correlation": -0.1}), replace(DENSE, scores={"matthews_correlation": 0.2})]
    assert side_by_side(rows).lines[0] == ["matthews_correlation", "-10.00", "20.00 (+30.00)"]


def test_amounts_and_their_change() -> None:
    assert line("non-zero", nonzero_parameters=4_540_000) == ["22.7 M", "4.54 M (-80.0 %)"]
    assert line("parameters") == ["22.7 M", "22.7 M"]
    assert line("bytes on disk", bytes=999) == ["90.9 M", "999 (-100.0 %)"]
    assert line("MACs", macs=None) == ["1.43 G", "-"]
    assert line("sparsity, prunable", sparsity=0.8) == ["0.0 %", "80.0 %"]


def test_latency_differs_only_beyond_its_spread() -> None:
    assert line("latency, ms", latency_ms=replace(LATENCY, median=20.0)) == ["40 ± 2", "20 ± 2 (-50.0 %)"]
    assert line("latency, ms", latency_ms=replace(LATENCY, median=38.5)) == ["40 ± 2", "38.5 ± 2"]
    assert line("latency, ms", latency_ms=replace(LATENCY, median=30.0, iqr=12.0)) == ["40 ± 2", "30 ± 12"]
    assert line("latency, ms", latency_ms=replace(LATENCY, median=1234.5, iqr=277.6)) == [
        "40 ± 2",
        "1234 ± 278 (+2986.2 %)",
    ]


def test_latency_is_compared_only_if_measured_alike() -> None:
    other = replace(DENSE, latency_ms=replace(LATENCY, median=20.0, threads=2))
    table = side_by_side([DENSE, other])
    assert table.lines[-1] == ["latency, ms", "40 ± 2", "20 ± 2"]
    assert "measured under different conditions" in table.note
    assert "threads 1" in table.note


def test_extras_follow_and_unknown_figures_are_left_out() -> None:
    rows = [
        Row(name="a", task="t", seed=0, scores={}, parameters=1, nonzero_parameters=1, sparsity=0.0),
        Row(
            name="b",
            task="t",
            seed=0,
            scores={},
            parameters=1,
            nonzero_parameters=1,
            sparsity=0.0,
            extras={"natural_sparsity": 0.123456, "list": [1], "examples_seen": 2880, "training_macs": 1851794472960},
        ),
    ]
    lines = side_by_side(rows).lines
    assert [label for label, *_ in lines[:3]] == ["parameters", "non-zero", "sparsity, prunable"]
    assert lines[3:] == [
        ["natural sparsity", "-", "0.1235"],
        ["examples seen", "-", "2880"],
        ["training macs", "-", "1.85 T"],
    ]
