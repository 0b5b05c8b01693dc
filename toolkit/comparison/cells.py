"""Cells on disk: what a cell's folder holds, whether it is done, and what came out of it.

The folder of a cell, named by its key::

    recipe options.yaml   what is run
    run/                  the run's own folder
    log.txt               what the run printed, over all its attempts
    failed.txt            why the last attempt failed, if it did
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from toolkit.comparison.grid import Cell
from toolkit.comparison.outcomes import Failure, Outcome
from toolkit.evaluation.predictions import Judgement
from toolkit.evaluation.report import Report
from toolkit.evaluation.row import Row
from toolkit.files.json_files import write_json
from toolkit.files.writing import write_text
from toolkit.runs.stored_networks import ROW, damaged_file, predictions_file


def write_cells(file: Path, cells: Sequence[Cell]) -> None:
    """Write down a grid, so that its report can be drawn again without its data and its versions of libraries.

    Args:
        file: JSON.
        cells: All of them.
    """
    write_json(file, {"cells": [asdict(cell) for cell in cells]})


def read_cells(file: Path) -> list[Cell]:
    """Read a grid as `write_cells` wrote it.

    Args:
        file: JSON.

    Raises:
        ValueError: If it is something else.
    """
    try:
        cells = [Cell(**cell) for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]]
        for cell in cells:
            texts = (cell.method, cell.task, cell.recipe, cell.config, "" if cell.dense is None else cell.dense)
            # A key is the name of a folder, and leads nowhere else.
            if {*map(type, texts)} != {str} or type(cell.seed) is not int or not re.fullmatch("[0-9a-f]{16}", cell.key):
                raise ValueError(f"one of them is {cell!s:.80}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{file} holds no cells of a comparison ({error}); run it again with resume=true.") from error
    return cells


class Store:
    """The cells of a comparison, by their keys.

    Args:
        folder: That holds a folder for each cell.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begun: dict[str, int] = {}  # Bytes that the log of a cell had when this process began with it.

    def path(self, key: str) -> Path:
        """Folder of a cell."""
        return self.folder / key

    def is_done(self, key: str) -> bool:
        """Whether the report and the predictions of a cell are there, and can be read."""
        try:
            Judgement.read(predictions_file(self.path(key) / "run", self.row(key).name))
        except (FileNotFoundError, ValueError):
            return False
        return True

    def is_whole(self, key: str) -> bool:
        """Whether the networks that a cell stored are what they were then, so that others may begin with them."""
        return not any(damaged_file(row.parent) for row in (self.path(key) / "run").glob(f"*/{ROW}"))

    def row(self, key: str) -> Row:
        """Row of the network that a cell made: the last of its report."""
        return Report.read(self.path(key) / "run").rows[-1]

    def outcome(self, cell: Cell) -> Outcome:
        """What came out of a cell that is done."""
        row = self.row(cell.key)
        judgement = Judgement.read(predictions_file(self.path(cell.key) / "run", row.name))
        return Outcome(method=cell.method, task=cell.task, seed=cell.seed, row=row, judgement=judgement, key=cell.key)

    def failure(self, cell: Cell) -> Failure:
        """Why a cell is not done."""
        reason = self.path(cell.key) / "failed.txt"
        log = self.path(cell.key) / "log.txt"
        return Failure(
            method=cell.method,
            task=cell.task,
            seed=cell.seed,
            reason=reason.read_text(encoding="utf-8").strip() if reason.is_file() else "it has not been run",
            log=str(log) if log.is_file() else None,
        )

    def begin(self, cell: Cell) -> Path:
        """Write down what a cell runs.

        Returns:
            Its folder.
        """
        path = self.path(cell.key)
        path.mkdir(parents=True, exist_ok=True)
        options = yaml.safe_load(cell.config) | {"output": str((path / "run").resolve()), "resume": True}
        if cell.dense is not None:
            options["reference"] = str((self.path(cell.dense) / "run" / "model").resolve())
        write_text(path / "options.yaml", yaml.safe_dump(options, sort_keys=False))
        write_text(path / "recipe", f"{cell.recipe}\n")
        log = path / "log.txt"
        self._begun[cell.key] = log.stat().st_size if log.is_file() else 0
        (path / "failed.txt").unlink(missing_ok=True)
        # What cannot be read is made again; of a damaged network the run says what to do, and the cell is not done.
        if not (self.is_done(cell.key) and self.is_whole(cell.key)):
            shutil.rmtree(path / "run" / "predictions", ignore_errors=True)
            (path / "run" / "report.json").unlink(missing_ok=True)
        return path

    def end(self, cell: Cell, status: int, error: BaseException | None = None) -> None:
        """Write down why a cell failed, if it did.

        Args:
            cell: The cell.
            status: Exit status of its process.
            error: Of the engine, if it could not run the process.
        """
        if error is not None:
            self.fail(cell, f"the engine could not run it: {error}")
        elif not self.is_done(cell.key):
            log = self.path(cell.key) / "log.txt"
            self.fail(cell, reason_of(log, status, self._begun.get(cell.key, 0)))

    def fail(self, cell: Cell, reason: str) -> None:
        """Write down why a cell failed."""
        path = self.path(cell.key)
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "failed.txt", f"{reason}\n")

    def network_folder(self, cell: Cell) -> Path:
        """Where the network of a cell is stored."""
        name = self.row(cell.key).name
        for row in sorted((self.path(cell.key) / "run").glob(f"*/{ROW}")):
            if Report.read(row).rows[0].name == name:
                return row.parent
        return Path(yaml.safe_load(cell.config)["model"]["network"])


def reason_of(log: Path, status: int, begin: int = 0) -> str:
    """Why a process failed: the last error that it printed, or its last line.

    Args:
        log: What it printed, behind what earlier attempts did.
        status: Its exit status; below 0 the signal that ended it.
        begin: Byte of the log from which on it printed: an attempt that was killed is not to be blamed with the error
            of an earlier one.
    """
    printed = log.read_bytes()[begin:].decode("utf-8", "replace") if log.is_file() else ""
    said = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line for line in said if line.startswith(("error: ", "MemoryError", "torch.OutOfMemoryError"))]
    reason = (errors or said or ["it printed nothing"])[-1].removeprefix("error: ")
    if status in (-9, 137):
        return f"killed by the system, mostly for lack of memory: fewer workers or a smaller data.batch_size ({reason})"
    return reason if status != 0 else f"ended without a report: {reason}"
