"""What a running comparison shows: cells done, running, failed and left, the time left, and the scores so far."""

import statistics
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from toolkit.comparison.costs import NONE
from toolkit.comparison.grid import Cell
from toolkit.comparison.outcomes import Outcome


class View:
    """A table that follows the cells; where the output is no terminal, a line for each cell that ends.

    Args:
        cells: All of the grid.
        at_once: How many of them run at a time, if that is known; the time left is estimated from it.
        console: Where to.
    """

    def __init__(self, cells: Sequence[Cell], at_once: int | None, console: Console | None = None) -> None:
        self.cells = list(cells)
        self.at_once = at_once
        self.console = console or Console()
        self.state = dict.fromkeys((cell.key for cell in cells), "waiting")
        self.scores: dict[str, float] = {}  # of the cells that are done, by key
        self._begun: dict[str, float] = {}
        self._seconds: list[float] = []  # that cells took in this run
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"), console=self.console,
        )  # fmt: skip
        self._task = self._bar.add_task("cells", total=len(self.state), left="")
        self._live = Live(get_renderable=self.table, console=self.console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "View":
        if self.console.is_terminal:
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.console.is_terminal:
            self._live.__exit__(None, None, None)

    def kept(self, outcome: Outcome) -> None:
        """A cell that an earlier run finished."""
        self.state[outcome.key] = "done"
        self._score(outcome)

    def begun(self, cell: Cell) -> None:
        """A cell was given to the workers."""
        self.state[cell.key] = "running"
        self._begun[cell.key] = time.monotonic()

    def ended(self, cell: Cell, outcome: Outcome | None, reason: str = "") -> None:
        """A cell is done, or failed."""
        seconds = time.monotonic() - self._begun[cell.key] if cell.key in self._begun else 0.0
        self.state[cell.key] = "done" if outcome else "failed"
        if outcome:
            self._seconds.append(seconds)
            self._score(outcome)
        if outcome is None or not self.console.is_terminal:
            number = sum(state in ("done", "failed") for state in self.state.values())
            score = f"{100 * self.scores[cell.key]:.1f}" if cell.key in self.scores else f"failed: {reason}"
            line = f"[{number}/{len(self.state)}] {cell.method} on {cell.task}, seed {cell.seed}: {score}"
            self.console.print(Text(f"{line} ({seconds:.0f} s)"), soft_wrap=True)

    def left(self) -> float | None:
        """Seconds that the rest will take, if every cell takes as long as those so far."""
        rest = sum(state in ("waiting", "running") for state in self.state.values())
        if not self._seconds or self.at_once is None:
            return None
        return statistics.fmean(self._seconds) * rest / self.at_once

    def table(self) -> RenderableType:
        """Methods with the states of their cells, and their mean score so far."""
        table = Table("method", title="Comparison", title_justify="left")
        for name in ("done", "running", "failed", "left", "mean so far"):
            table.add_column(name, justify="right")
        methods = list(dict.fromkeys(cell.method for cell in self.cells))
        shared = self._shared_cells(methods)
        means = {method: self._mean(method, shared) for method in methods}
        best = max((mean for mean in means.values() if mean is not None), default=None)
        for method in methods:
            states = [self.state[cell.key] for cell in self.cells if cell.method == method]
            mean = means[method]
            shown = NONE if mean is None else f"{100 * mean:.1f}{' ★' if mean == best else ''}"
            counts = [str(states.count(state) or NONE) for state in ("done", "running", "failed", "waiting")]
            table.add_row(Text(method), *counts, shown)
        seconds = self.left()
        self._bar.update(
            self._task,
            completed=sum(state in ("done", "failed") for state in self.state.values()),
            left="" if seconds is None else f"about {seconds / 60:.0f} min left",
        )
        note = "★ best mean of the first metric over the tasks and seeds that every method has done."
        return Group(table, Text(note, style="dim"), self._bar)

    def _shared_cells(self, methods: Sequence[str]) -> set[tuple[str, int]]:
        """Tasks and seeds that every method has done: only over these can means be compared."""
        done = [
            {(cell.task, cell.seed) for cell in self.cells if cell.method == method and cell.key in self.scores}
            for method in methods
        ]
        return set.intersection(*filter(None, done)) if any(done) else set()

    def _mean(self, method: str, shared: set[tuple[str, int]]) -> float | None:
        scores = [
            self.scores[cell.key]
            for cell in self.cells
            if cell.method == method and (cell.task, cell.seed) in shared and cell.key in self.scores
        ]
        return statistics.fmean(scores) if scores else None

    def _score(self, outcome: Outcome) -> None:
        self.scores[outcome.key] = next(iter(outcome.row.scores.values()))
