"""The table of a comparison that shows what the methods cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolkit.comparison.costs import COSTS, MEASURED, NONE, Cost, noise, share, written
from toolkit.comparison.layout import Field, Section, one_line

if TYPE_CHECKING:
    from toolkit.comparison.results import Results

OPTIMAL = "◆"


def cost_table(results: Results) -> Section:
    """Methods × costs.

    Args:
        results: Of the comparison.
    """
    held = {method: results.costs(method) for method in results.methods}
    reference = held.get(results.baseline, {})
    shown = [cost for cost in COSTS if any(cost.key in of_method for of_method in held.values())]
    optimal = {cost.key: _optimal(results, cost) for cost in shown}
    lines = []
    for method, of_method in held.items():
        fields = [Field(method)]
        for cost in shown:
            fields.append(
                Field(_cost(results, cost, of_method, reference), OPTIMAL * (method in optimal[cost.key]))
                if cost.key in of_method
                else Field(NONE)
            )
        lines.append(tuple(fields))
    return Section(
        title="Costs",
        header=("method", *(cost.label for cost in shown)),
        lines=tuple(lines) if shown else (),
        note=" ".join(_cost_notes(results, shown)),
    )


def _optimal(results: Results, cost: Cost) -> set[str]:
    """The methods to mark: none where all cost the same, as the best of them says nothing about the cost."""
    values = {held[cost.key] for method in results.methods if cost.key in (held := results.costs(method))}
    return results.optimal(cost.key) if len(values) > 1 else set()


def _cost(results: Results, cost: Cost, held: dict[str, float], reference: dict[str, float]) -> str:
    """Write a cost and its part of the baseline's; of times only if measured alike and further apart than they vary."""
    value = written(held[cost.key], cost.unit)
    if cost.key not in reference or held is reference or held[cost.key] == reference[cost.key]:
        return value
    if cost.key in MEASURED and len(results.conditions(cost.key)) > 1:
        return value
    if cost.key == "latency_ms" and abs(held[cost.key] - reference[cost.key]) <= noise(held, reference):
        return value
    part = share(held[cost.key], reference[cost.key])
    return f"{value} ({part})" if part else value


def _cost_notes(results: Results, shown: Sequence[Cost]) -> list[str]:
    tasks = next((average.tasks for average in results.averages if average.over == "all"), ())
    notes = [
        f"Means over the common seeds and over {', '.join(tasks)}."
        if len(tasks) > 1
        else "Means over the common seeds."
    ]
    for cost in shown:
        own = results.cost_tasks(cost.key)
        if own != tasks:
            notes.append(f"{one_line(cost.label).capitalize()}: over {', '.join(own) or 'no task that all have'}.")
    notes.append(f"In brackets: part of what {results.baseline} costs.")
    for cost in shown:
        if cost.key not in MEASURED or not (found := results.conditions(cost.key)):
            continue
        told = "; or ".join(", ".join(f"{key} {value}" for key, value in each.items()) for each in found)
        what = "median of a forward pass, " if cost.key == "latency_ms" else ""
        notes.append(f"{one_line(cost.label).capitalize()}: {what}{told}.")
        if len(found) > 1:
            notes.append("These conditions differ, so it is not compared.")
    if any(_optimal(results, cost) for cost in shown):
        notes.append(f"{OPTIMAL} no other method is as good on average at less of this cost, nor better at as much.")
    notes.append("Dense bytes: all parameters in float32. Dense kernels do not skip zeros.")
    return notes
