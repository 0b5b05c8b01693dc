"""What became of the cells of a comparison: one method on one task with one seed, finished or failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolkit.evaluation.predictions import Judgement
from toolkit.evaluation.row import Row

Interval = tuple[float, float]
Table = Mapping[tuple[str, str], Sequence["Outcome"]]  # Method and task → their seeds.
ADDED = ("method", "key", "intervals")  # What a row of ``compare.json`` has beside those of ``report.json``.


@dataclass(frozen=True)
class Outcome:
    """A finished cell.

    Args:
        method: Label of the method in the comparison; the row's name is that in its own report.
        task: The task's name.
        seed: The run's seed.
        row: Scores and costs.
        judgement: Predictions on the sets that the task is judged on; without them there are no intervals and tests.
        key: Of the cell, where it is stored.

    Raises:
        ValueError: If the row belongs to another task, or an extra of the row has a name that the comparison needs.
    """

    method: str
    task: str
    seed: int
    row: Row
    judgement: Judgement | None = None
    key: str = ""

    def __post_init__(self) -> None:
        if self.row.task != self.task:
            raise ValueError(f"The row of {self.method!r} is of task {self.row.task!r}, expected {self.task!r}.")
        if taken := sorted({*ADDED} & self.row.extras.keys()):
            raise ValueError(
                f"The row of {self.method!r} on {self.task!r} has an extra {taken[0]!r}, which compare.json holds "
                "itself; give the extra another name."
            )


@dataclass(frozen=True)
class Failure:
    """A cell that failed.

    Args:
        method: Label of the method in the comparison.
        task: The task's name.
        seed: The run's seed.
        reason: What went wrong, in a line.
        log: The file that tells more.
    """

    method: str
    task: str
    seed: int
    reason: str
    log: str | None = None


@dataclass(frozen=True)
class Entry:
    """A finished cell, as ``compare.json`` has it.

    Args:
        method: Label of the method.
        key: Of the cell, where it is stored.
        row: Scores and costs.
        intervals: Metric → bootstrap interval over the examples, where there are predictions.
    """

    method: str
    key: str
    row: Row
    intervals: Mapping[str, Interval]


def by_cell(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """Group outcomes by method and task, in the order of their seeds.

    Args:
        outcomes: At most one for each method, task and seed.

    Raises:
        ValueError: If there are two for the same method, task and seed.
    """
    table: dict[tuple[str, str], list[Outcome]] = {}
    seen = set()
    for outcome in sorted(outcomes, key=lambda outcome: outcome.seed):
        cell = (outcome.method, outcome.task, outcome.seed)
        if cell in seen:
            raise ValueError(
                f"Two outcomes of {outcome.method!r} on {outcome.task!r} with seed {outcome.seed}; give one of each."
            )
        seen.add(cell)
        table.setdefault((outcome.method, outcome.task), []).append(outcome)
    return table
