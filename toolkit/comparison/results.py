"""The results of a comparison: gathered from its cells, asked for means, tests and costs, and written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from toolkit.comparison.costs import COSTS, MEASURED, conditions
from toolkit.comparison.document import content, fields_of, write
from toolkit.comparison.outcomes import Entry, Failure, Outcome, by_cell
from toolkit.comparison.pareto import pareto
from toolkit.comparison.screen import Screen
from toolkit.comparison.summary import GLUE, Average, Over, Summary, averages, bootstrap, in_order, summarise
from toolkit.comparison.testing import MethodTest, run_tests
from toolkit.evaluation.row import Row

__all__ = ["Entry", "Failure", "Outcome", "Results"]


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a comparison found.

    Args:
        baseline: The method that the others are measured by.
        entries: The finished cells.
        summaries: Every method on every task, over seeds.
        averages: Every method over tasks.
        tests: Methods against the baseline, then against each other.
        failures: The cells that failed.
    """

    baseline: str
    entries: tuple[Entry, ...]
    summaries: tuple[Summary, ...]
    averages: tuple[Average, ...]
    tests: tuple[MethodTest, ...]
    failures: tuple[Failure, ...]

    @classmethod
    def gather(
        cls,
        outcomes: Sequence[Outcome],
        failures: Sequence[Failure] = (),
        baseline: str = "fine_tuning",
        resamples: int = 2000,
        seed: int = 0,
    ) -> "Results":
        """Make means, intervals, averages and tests of the cells.

        Args:
            outcomes: Of the finished cells.
            failures: Of the others.
            baseline: The method that the others are measured by; without it nothing is tested against it.
            resamples: Of every bootstrap; of every permutation test at least so many.
            seed: Of the resampling.

        Raises:
            ValueError: If there are two outcomes of a cell.
        """
        outcomes = [*outcomes]
        cells = [(each.method, each.task) for each in outcomes] + [(each.method, each.task) for each in failures]
        methods = sorted(dict.fromkeys(method for method, _ in cells), key=lambda method: method != baseline)
        tasks = in_order(task for _, task in cells)
        table = by_cell(outcomes)
        summaries = summarise(table, failures, methods, tasks, baseline, resamples, seed)
        over: dict[Over, list[str]] = {"GLUE": [task for task in tasks if task in GLUE], "all": tasks}
        return cls(
            baseline=baseline,
            entries=tuple(
                Entry(
                    method=outcome.method,
                    key=outcome.key,
                    row=Row.from_dict(outcome.row.to_dict()),  # as it will be read again
                    intervals={
                        metric: bounds
                        for metric in outcome.row.scores
                        if (bounds := bootstrap([outcome], metric, resamples, seed)) is not None
                    },
                )
                for method in methods
                for task in tasks
                for outcome in table.get((method, task), ())
            ),
            summaries=summaries,
            averages=tuple(
                average for name, group in over.items() for average in averages(table, summaries, name, baseline, group)
            ),
            tests=run_tests(table, methods, tasks, baseline, resamples, seed),
            failures=tuple(failures),
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """Labels of the methods, the baseline first."""
        return tuple(dict.fromkeys(summary.method for summary in self.summaries))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the table of tasks."""
        return tuple(in_order(summary.task for summary in self.summaries))

    def of(self, method: str) -> tuple[Summary, ...]:
        """A method on all its tasks.

        Args:
            method: Its label.
        """
        return tuple(summary for summary in self.summaries if summary.method == method)

    def summary(self, method: str, task: str) -> Summary | None:
        """A method on a task; None if it has no cell there, or none that ended.

        Args:
            method: Its label.
            task: The task's name.
        """
        return next((summary for summary in self.of(method) if summary.task == task), None)

    def metrics(self, task: str) -> list[str]:
        """The metrics of a task, in its order.

        Args:
            task: The task's name.
        """
        return [*dict.fromkeys(name for each in self.summaries if each.task == task for name in each.scores)]

    def average(self, method: str, over: Over = "all") -> Average | None:
        """A method over tasks; None if there is no task that all methods have a common seed of.

        Args:
            method: Its label.
            over: Which tasks.
        """
        found = (each for each in self.averages if each.method == method and each.over == over)
        return next(found, None)

    def test(self, method: str, against: str, task: str, metric: str | None = None) -> MethodTest | None:
        """The test of two methods on a task; the difference has the sign of the order that it was made in.

        Args:
            method: Label of one.
            against: Label of the other.
            task: The task's name.
            metric: One of those that count for the task; by default its first.
        """
        sought = ({method, against}, task, metric or next(iter(self.metrics(task)), None))
        return next(
            (test for test in self.tests if ({test.method, test.against}, test.task, test.metric) == sought), None
        )

    def cost_tasks(self, key: str) -> tuple[str, ...]:
        """The tasks that a cost is averaged over: of those that scores are averaged over, where all methods have it.

        A method that does not have the cost at all takes no task away from the others.

        Args:
            key: Of the cost.
        """
        common = next((average.tasks for average in self.averages if average.over == "all"), ())
        having = [
            {summary.task for summary in self.of(method) if key in summary.costs and summary.task in common}
            for method in self.methods
        ]
        return tuple(task for task in common if having and all(task in tasks for tasks in having if tasks))

    def costs(self, method: str) -> dict[str, float]:
        """The costs of a method, means over the same tasks as those of the others.

        Args:
            method: Its label.
        """
        return self._costs[method]

    @cached_property
    def _costs(self) -> dict[str, dict[str, float]]:
        keys = dict.fromkeys(key for summary in self.summaries for key in summary.costs)
        tasks = {key: self.cost_tasks(key) for key in keys}
        means: dict[str, dict[str, float]] = {}
        for method in self.methods:
            held = {summary.task: summary.costs for summary in self.of(method)}
            means[method] = {
                key: sum(held[task][key] for task in tasks[key]) / len(tasks[key])
                for key in keys
                if tasks[key] and all(key in held.get(task, {}) for task in tasks[key])
            }
        return means

    def conditions(self, key: str) -> list[dict[str, Any]]:
        """What a cost was measured under: nothing, one set of conditions, or several, which cannot be compared.

        Args:
            key: Of the cost.
        """
        found: list[dict[str, Any]] = []
        for entry in self.entries:
            held = conditions(entry.row, key)
            if held and held not in found:
                found.append(held)
        return found

    def optimal(self, key: str) -> set[str]:
        """The methods that are Pareto-optimal for the average over all tasks and a cost.

        Args:
            key: Of the cost.

        Returns:
            Their labels; none if the cost was not measured alike.
        """
        if key in MEASURED and len(self.conditions(key)) > 1:
            return set()
        sign = -1 if next(cost.gain for cost in COSTS if cost.key == key) else 1
        return pareto(
            {
                method: (average.score.mean, sign * self.costs(method)[key])
                for method in self.methods
                if (average := self.average(method)) is not None
                and average.score.mean is not None
                and key in self.costs(method)
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``compare.json``."""
        return content(self)

    def write(self, folder: str | Path) -> None:
        """Write the report in every form, each file whole or not at all.

        Args:
            folder: Where to; it is made if need be.
        """
        write(self, Path(folder))

    @classmethod
    def read(cls, file: str | Path) -> "Results":
        """Read what `write` wrote.

        Args:
            file: ``compare.json``, or the folder that holds it.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no results of this schema.
        """
        return cls(**fields_of(Path(file)))

    def __rich__(self) -> Screen:
        return Screen(self)
