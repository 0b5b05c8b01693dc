"""The evaluator: many methods on many tasks with several seeds, in one command, with significance."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from toolkit.comparison.cells import Store, read_cells, write_cells
from toolkit.comparison.engine import Engine
from toolkit.comparison.grid import Cell, Grid
from toolkit.comparison.measure import measure, with_times
from toolkit.comparison.methods import BASELINE, Budget, Method
from toolkit.comparison.results import Results
from toolkit.comparison.running import run_cells
from toolkit.evaluation.costs import Timing
from toolkit.files.writing import write_text
from toolkit.options.values import digest
from toolkit.runs.folder import LOCKS, lock
from toolkit.tasks import Task

STORED = "compare.yaml"
CELLS = "cells.json"
GRID = (
    "methods",
    "tasks",
    "seeds",
    "budget",
    "data",
    "model",
    "trainer",
    "baseline",
)  # Options that say what is compared.


@dataclass(kw_only=True)
class CompareRecipe:
    """Compare methods, and networks that are compressed already, on many tasks with several seeds.

    Every cell of the grid is a run of its own, kept under ``cells/`` by a hash of its options and of the versions it
    was run with. The same command continues a comparison that was interrupted, and after a change of an option it runs
    only what that touches. The uncompressed network of a task and seed is trained once, and all methods share it.

    Args:
        methods: Recipes by name; folders of networks, in which ``{task}`` and ``{seed}`` stand for a cell's; or both
            with a name in the table and options of their own, as in
            ``{name: rpp-60, recipe: proximal_pruning, options: {model.sparsity: 0.6}}``.
        tasks: Names of tasks, or tasks of your own.
        seeds: Of the runs.
        budget: How long every network is trained, whatever the method; what a recipe says itself, by default.
        data: Options ``data.*`` of every run.
        model: Options ``model.*`` of every run; every method must have them.
        trainer: Options ``trainer.*`` of every run.
        baseline: Options of the uncompressed network, where they differ from the recipe's.
        engine: Where the cells run.
        latency: How latency is measured, of the networks of all methods beside each other when all cells are done.
        throughput: The same of throughput.
        resamples: Of bootstraps and permutations.
        report_only: Run nothing; draw the report of the comparison that ``output`` holds, of its cells that are done.
        output: Folder of the comparison; by default ``runs/compare-`` and a hash of the options that say what is
            compared. Name it, if options are going to change and what is done is to be kept.
        resume: Whether ``output`` may hold a comparison already, whose cells are not run again.
        name: Of the recipe.
        config: Every option as it was resolved, in YAML.

    Raises:
        ValueError: If ``resamples`` is less than 1.
    """

    methods: list[str | Method]
    tasks: list[str | Task]
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    budget: Budget = Budget()
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    baseline: dict[str, Any] = field(default_factory=dict)
    engine: Engine = Engine()
    latency: Timing = Timing()
    throughput: Timing = Timing(batch=16, length=64, seconds=1.0)
    resamples: int = 2000
    report_only: bool = False
    output: Path | None = None
    resume: bool = True
    name: str = ""
    config: str = ""

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ValueError(f"resamples is {self.resamples}, but must be at least 1.")

    def folder(self) -> Path:
        """The folder of the comparison."""
        config = yaml.safe_load(self.config) or {}
        return self.output or Path("runs") / f"compare-{digest([config.get(name) for name in GRID])[:8]}"

    def run(self) -> Results:
        """Run the cells that are not done, measure times, test, and write the report.

        Raises:
            FileExistsError: If the output folder holds something else, or is in use.
            FileNotFoundError: If a report is to be drawn again that is not there.
        """
        output = self.folder()
        check(output, resume=self.resume or self.report_only)
        if self.report_only:
            return self._drawn_again(output)
        cells = self._grid().cells()  # What is wrong with options or data is said before anything runs.
        output.mkdir(parents=True, exist_ok=True)
        held = lock(output)
        try:
            write_text(output / STORED, self.config)
            write_cells(output / CELLS, cells)
            run_cells(cells, Store(output / "cells"), self.engine, output / "engine")
            return self._report(cells, output)
        finally:
            held.release()

    def _grid(self) -> Grid:
        return Grid(
            methods=[Method.of(method) for method in self.methods],
            tasks=self.tasks,
            seeds=self.seeds,
            budget=self.budget,
            data=self.data,
            model=self.model,
            trainer=self.trainer,
            baseline=Method(recipe=BASELINE, options=self.baseline),
        )

    def _drawn_again(self, output: Path) -> Results:
        """Report of the cells that the folder holds, whatever this grid's are, and whatever has become of the data."""
        if not (output / CELLS).is_file():
            raise FileNotFoundError(f"{output} holds no comparison; give its folder with output=FOLDER.")
        cells = read_cells(output / CELLS)
        held = lock(output)
        try:
            return self._report(cells, output)
        finally:
            held.release()

    def _report(self, cells: list[Cell], output: Path) -> Results:
        """Measure, test and write down what the cells that are done came to."""
        store = Store(output / "cells")
        done = [cell for cell in cells if store.is_done(cell.key)]
        times = measure(done, store, output / "times", self.latency, self.throughput, stored_only=self.report_only)
        results = Results.gather(
            [with_times(store.outcome(cell), times.get((cell.task, cell.seed, cell.key))) for cell in done],
            [store.failure(cell) for cell in cells if cell not in done],
            baseline=BASELINE,
            resamples=self.resamples,
        )
        results.write(output)
        return results


def check(output: Path, *, resume: bool) -> None:
    """Refuse a folder that holds something else than a comparison.

    Raises:
        FileExistsError: If it does, or if it holds a comparison that is not to be continued.
    """
    entries = {entry.name for entry in output.iterdir()} - LOCKS if output.is_dir() else set()
    if entries and not {STORED, "cells"} & entries:
        raise FileExistsError(f"{output} is not empty and no comparison's folder; choose another with output=FOLDER.")
    if entries and not resume:
        raise FileExistsError(f"{output} holds a comparison; continue it with resume=true, or choose another output.")


recipe = CompareRecipe
