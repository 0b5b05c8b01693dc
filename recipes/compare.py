"""The evaluator: many methods on many tasks with several seeds, in one command, with significance."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.comparison.cells import Store
from toolkit.comparison.engine import Engine
from toolkit.comparison.grid import BASELINE, Budget, Cell, Grid, Method
from toolkit.comparison.measure import measure, with_times
from toolkit.comparison.results import Results
from toolkit.comparison.running import run_cells
from toolkit.evaluation.costs import Timing
from toolkit.run_folder import fingerprint, lock
from toolkit.tasks import Task


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
        report_only: Run nothing; draw the report of the cells that are done.
        output: Folder of the comparison; by default ``runs/compare-`` and a hash of the options.
        resume: Whether cells that are done already are taken as they are; a comparison always continues.
        name: Of the recipe.
        config: Every option as it was resolved, in YAML.
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

    def run(self) -> Results:
        """Run the cells that are not done, measure times, test, and write the report."""
        grid = Grid(
            methods=[Method.of(method) for method in self.methods],
            tasks=self.tasks,
            seeds=self.seeds,
            budget=self.budget,
            data=self.data,
            model=self.model,
            trainer=self.trainer,
            baseline=Method(recipe=BASELINE, options=self.baseline),
        )
        cells = grid.cells()  # What is wrong with options or data is said before anything runs.
        output = self.output or Path("runs") / f"compare-{fingerprint(self.config)}"
        store = Store(output / "cells")
        output.mkdir(parents=True, exist_ok=True)
        held = lock(output)
        try:
            if not self.report_only:
                run_cells(cells, store, self.engine, output / "engine")
            return self.report(cells, store, output)
        finally:
            held.release()

    def report(self, cells: list[Cell], store: Store, output: Path) -> Results:
        """Measure, test and write down what the cells that are done came to."""
        done = [cell for cell in cells if store.is_done(cell.key)]
        times = measure(done, store, output / "times", self.latency, self.throughput, stored_only=self.report_only)
        results = Results.gather(
            [with_times(store.outcome(cell), times.get(cell.key)) for cell in done],
            [store.failure(cell) for cell in cells if cell not in done],
            baseline=BASELINE,
            resamples=self.resamples,
        )
        results.write(output)
        return results


recipe = CompareRecipe
