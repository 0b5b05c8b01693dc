"""Running a grid: in which order, what is not run again, and what a failure leaves alone."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.comparison.cells import cell, judgement, row
from toolkit.comparison.cells import Store, reason_of
from toolkit.comparison.engine import Engine, Submit
from toolkit.comparison.grid import Cell
from toolkit.comparison.running import run_cells
from toolkit.evaluation.report import Report
from toolkit.runs.stored_networks import predictions_file


def finish(folder: Path) -> None:
    """What a worker leaves behind."""
    Report((row(),)).write(folder / "run")
    judgement().write(predictions_file(folder / "run", row().name))


class Fake(Engine):
    """An engine that finishes cells in threads, and notes which."""

    ran: list[str]
    broken: set[str]
    words: str = "Traceback\nerror: it is broken\n"  # Of a broken cell, behind what it said before.

    @contextmanager
    def started(self, folder: Path) -> Iterator[Submit]:
        with ThreadPoolExecutor(2) as pool:

            def run(cell: Path) -> int:
                self.ran.append(cell.name)
                if cell.name in self.broken:
                    with (cell / "log.txt").open("a") as log:
                        log.write(self.words)
                    return 1
                finish(cell)
                return 0

            def submit(cell: Path) -> "Future[int]":
                return pool.submit(run, cell)

            yield submit


def engine(*broken: str) -> Fake:
    made = Fake(workers=2)
    object.__setattr__(made, "ran", [])
    object.__setattr__(made, "broken", {*broken})
    return made


DENSE = [cell("fine_tuning", seed) for seed in (0, 1)]
CELLS = [*DENSE, *(cell("pruning", seed, DENSE[seed]) for seed in (0, 1))]


def test_uncompressed_networks_come_first_and_nothing_runs_twice(tmp_path: Path) -> None:
    store, first = Store(tmp_path), engine()
    run_cells(CELLS, store, first, tmp_path)
    assert sorted(first.ran) == sorted(cell.key for cell in CELLS)
    for seed in (0, 1):
        assert first.ran.index(f"fine_tuning-{seed}") < first.ran.index(f"pruning-{seed}")
    options = yaml.safe_load((tmp_path / "pruning-1" / "options.yaml").read_text())
    assert options["reference"] == str(tmp_path / "fine_tuning-1" / "run" / "model")
    assert options["output"] == str(tmp_path / "pruning-1" / "run")
    assert options["resume"] is True
    again = engine()
    run_cells(CELLS, store, again, tmp_path)
    assert again.ran == []
    outcome = store.outcome(CELLS[2])
    assert (outcome.method, outcome.row.scores, outcome.key) == ("pruning", {"accuracy": 0.5}, "pruning-0")


def test_half_a_cell_is_run_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run_cells(CELLS, store, engine(), tmp_path)
    predictions_file(tmp_path / "pruning-0" / "run", "it").unlink()
    again = engine()
    run_cells(CELLS, store, again, tmp_path)
    assert again.ran == ["pruning-0"]


def test_a_cell_whose_network_was_damaged_is_not_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run_cells(CELLS, store, engine(), tmp_path)
    weights = tmp_path / "fine_tuning-0" / "run" / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    sums = {weights.name: hashlib.sha256(b"weights").hexdigest()}
    (weights.parent / "row.json").write_text(json.dumps({**Report((row(),)).to_json(), "sha256": sums}))
    again = engine()
    run_cells(CELLS, store, again, tmp_path)
    assert again.ran == []
    weights.write_bytes(b"Weights")
    refused = engine("fine_tuning-0")  # As the run of a damaged network is.
    run_cells(CELLS, store, refused, tmp_path)
    assert refused.ran == ["fine_tuning-0"]
    assert [store.is_done(cell.key) for cell in CELLS] == [False, True, True, True]
    assert store.failure(CELLS[0]).reason == "it is broken"


def test_a_failure_stops_what_needs_it_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, broken = Store(tmp_path), engine("fine_tuning-0")
    run_cells(CELLS, store, broken, tmp_path)
    assert [store.is_done(cell.key) for cell in CELLS] == [False, True, False, True]
    assert store.failure(CELLS[0]).reason == "it is broken"
    assert store.failure(CELLS[0]).log == str(tmp_path / "fine_tuning-0" / "log.txt")
    assert store.failure(CELLS[2]).reason == "its uncompressed network failed"
    printed = capsys.readouterr().out
    assert "fine_tuning on own, seed 0: failed: it is broken" in printed
    assert "pruning on own, seed 1: 50.0" in printed
    mended = engine()
    run_cells(CELLS, store, mended, tmp_path)
    assert mended.ran == ["fine_tuning-0", "pruning-0"]
    assert all(store.is_done(cell.key) for cell in CELLS)
    assert not list(tmp_path.rglob("failed.txt"))


@pytest.mark.parametrize(
    ("words", "reason"), [("Killed by a colleague\n", "Killed by a colleague"), ("", "it printed nothing")]
)
def test_an_attempt_is_not_blamed_with_the_error_of_an_earlier_one(words: str, reason: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    run_cells(DENSE[:1], store, engine("fine_tuning-0"), tmp_path)
    assert store.failure(DENSE[0]).reason == "it is broken"
    again = engine("fine_tuning-0")
    object.__setattr__(again, "words", words)
    run_cells(DENSE[:1], store, again, tmp_path)
    assert store.failure(DENSE[0]).reason == reason
    assert (tmp_path / "fine_tuning-0" / "log.txt").read_text() == f"{Fake.words}{words}"


def test_equal_cells_run_once(tmp_path: Path) -> None:
    other = Cell(
        method="another name", task="own", seed=0, recipe="pruning", config=CELLS[2].config, key=CELLS[2].key,
        dense=CELLS[2].dense,
    )  # fmt: skip
    run = engine()
    run_cells([DENSE[0], CELLS[2], other], Store(tmp_path), run, tmp_path)
    assert run.ran == ["fine_tuning-0", "pruning-0"]


def test_an_engine_that_cannot_run_a_cell_is_a_failure(tmp_path: Path) -> None:
    class Lost(Fake):
        @contextmanager
        def started(self, folder: Path) -> Iterator[Submit]:
            def submit(cell: Path) -> "Future[int]":
                future: Future[int] = Future()
                future.set_exception(ConnectionError("node 7 is gone"))
                return future

            yield submit

    store = Store(tmp_path)
    run_cells(DENSE, store, Lost(), tmp_path)
    assert "node 7 is gone" in store.failure(DENSE[0]).reason


def test_a_cell_that_was_never_begun_says_so(tmp_path: Path) -> None:
    assert Store(tmp_path).failure(DENSE[0]).reason == "it has not been run"


@pytest.mark.parametrize(
    ("log", "status", "reason"),
    [
        ("training\nerror: no such task\nbye\n", 1, "no such task"),
        ("error: old\nerror: new\n", 1, "new"),
        ("ValueError: odd\n", 1, "ValueError: odd"),
        ("half a ba", -9, "lack of memory"),
        ("", 1, "it printed nothing"),
        ("all is well\n", 0, "ended without a report: all is well"),
    ],
)
def test_reason_of_a_failure(log: str, status: int, reason: str, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(log)
    assert reason in reason_of(tmp_path / "log.txt", status)
