"""A comparison as tables of text, whatever shows them; in Markdown, and cell by cell as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolkit.comparison.cost_table import cost_table
from toolkit.comparison.costs import CONDITIONS, COSTS, MEASURED, conditions, costs_of
from toolkit.comparison.detail_tables import between, failures, of_task
from toolkit.comparison.layout import Section, count_of
from toolkit.comparison.quality_table import quality_table

if TYPE_CHECKING:
    from toolkit.comparison.results import Results


def sections(results: Results) -> tuple[Section, ...]:
    """The comparison as tables; before a cell is finished only what failed.

    Args:
        results: Of the comparison.
    """
    if not results.entries:
        return tuple(table for table in (failures(results),) if table.lines)
    shown = [quality_table(results), cost_table(results), failures(results)]
    in_detail = [*(of_task(results, task) for task in results.tasks), between(results)]
    return tuple(table for table in (*shown, *in_detail) if table.lines)


def title(results: Results) -> str:
    """What was compared."""
    return f"Comparison of {count_of(len(results.methods), 'method')} on {count_of(len(results.tasks), 'task')}"


def summary_line(results: Results) -> str:
    """How much of it there is, and what it is measured by."""
    if not results.entries:
        return f"No cell is finished, {len(results.failures)} failed: there are no scores to compare."
    seeds = sorted({entry.row.seed for entry in results.entries if entry.row.seed is not None})
    text = f"{count_of(len(results.entries), 'cell')} finished, {len(results.failures)} failed. "
    text += f"Baseline: {results.baseline}. "
    return text + (f"Seeds: {', '.join(map(str, seeds))}." if seeds else "")


def as_markdown(results: Results) -> str:
    """Every table in Markdown.

    Args:
        results: Of the comparison.
    """
    parts = [f"# {title(results)}", summary_line(results)]
    for section in sections(results):
        ruler = "|" + " --- |" * section.words + " ---: |" * (len(section.header) - section.words)
        header = _markdown_line([name.replace("\n", " ") for name in section.header])
        lines = [_markdown_line([str(field) for field in line]) for line in section.lines]
        parts += [f"## {section.title}", "\n".join([header, ruler, *lines]), section.note]
    return "\n\n".join(parts) + "\n"


def as_csv(results: Results) -> str:
    """One line for each cell, finished or failed; scores are fractions, sizes bytes, times as their names say.

    Args:
        results: Of the comparison.
    """
    metrics = dict.fromkeys(metric for entry in results.entries for metric in entry.row.scores)
    names = ["method", "task", "seed", "status"]
    names += [f"{metric}{part}" for metric in metrics for part in ("", "_low", "_high")]
    names += ["sparsity", "total_sparsity", *(cost.key for cost in COSTS), "latency_iqr"]
    names += [f"{key.removesuffix('_ms')}_{name}" for key in MEASURED for name in CONDITIONS]
    text = io.StringIO()
    table = csv.DictWriter(text, [*names, "key", "reason", "log"], restval="", lineterminator="\n")
    table.writeheader()
    for entry in results.entries:
        row = entry.row
        line: dict[str, object] = {"method": entry.method, "task": row.task, "seed": row.seed, "status": "done"}
        line |= {metric: value for metric, value in row.scores.items() if value == value}  # without NaN
        for metric, (low, high) in entry.intervals.items():
            line |= {f"{metric}_low": low, f"{metric}_high": high}
        line |= {"sparsity": row.sparsity, "total_sparsity": row.total_sparsity, "key": entry.key, **costs_of(row)}
        for key in MEASURED:
            line |= {f"{key.removesuffix('_ms')}_{name}": value for name, value in conditions(row, key).items()}
        table.writerow(line)
    for each in results.failures:
        line = {"method": each.method, "task": each.task, "seed": each.seed, "status": "failed"}
        table.writerow({**line, "reason": each.reason, "log": each.log})
    return text.getvalue()


def _markdown_line(cells: Sequence[str]) -> str:
    escaped = (re.sub(r"([\\\\|<*_`\[\]])", r"\\\1", " ".join(cell.split())) for cell in cells)
    return f"| {' | '.join(escaped)} |"
