"""The dense network beside compressed ones: which figures stand in a table, and how they are written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.evaluation.row import Row

_NONE = "-"
_LARGE = 1e6  # Whole numbers from here on are written with a prefix.


@dataclass(frozen=True)
class SideBySide:
    """A table of text, to be drawn by whatever shows it.

    Args:
        title: The task and the seed.
        header: An empty cell and the networks' names.
        lines: One figure each: its name, and its value for every network.
        note: Units, and what was measured.
    """

    title: str
    header: list[str]
    lines: list[list[str]]
    note: str


def side_by_side(rows: Sequence[Row]) -> SideBySide:
    """Lay networks on one task out beside each other, with their differences to the first, the dense one.

    Args:
        rows: The networks; at least one.
    """
    dense = rows[0]
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.scores))
    lines = [[metric, *(_score(row, dense, metric) for row in rows)] for metric in metrics]
    for label, key, write in (
        ("parameters", "parameters", _amount),
        ("non-zero", "nonzero_parameters", _amount),
        ("sparsity, prunable", "sparsity", _percent),
        ("sparsity, all", "total_sparsity", _percent),
        ("bytes on disk", "bytes", _amount),
        ("MACs", "macs", _amount),
    ):
        values = [getattr(row, key) for row in rows]
        lines.append([label, *(write(value, values[0]) for value in values)])
    lines.append(["latency, ms", *(_latency(row, dense) for row in rows)])
    extras = dict.fromkeys(key for row in rows for key in row.extras)
    for key in extras:
        cells = [_extra(row.extras.get(key)) for row in rows]
        lines.append([key.replace("_", " "), *(cell or _NONE for cell in cells)])
    shown = [line for line in lines if any(cell != _NONE for cell in line[1:])]
    seed = "" if dense.seed is None else f", seed {dense.seed}"
    header = ["", *(row.name for row in rows)]
    return SideBySide(title=f"{dense.task}{seed}", header=header, lines=shown, note=_note(rows))


def _score(row: Row, dense: Row, metric: str) -> str:
    """Write a score in per cent, and how much of the dense network's was kept."""
    score, reference = row.scores.get(metric, math.nan), dense.scores.get(metric, math.nan)
    if not math.isfinite(score):
        return _NONE
    if row is dense or not math.isfinite(reference):
        return f"{100 * score:.2f}"
    if reference <= 0:  # a share of nothing says nothing
        return f"{100 * score:.2f} ({100 * (score - reference):+.2f})"
    return f"{100 * score:.2f} ({100 * score / reference:.1f} %)"


def _amount(value: float | None, reference: float | None) -> str:
    """Write a number with a decimal prefix, and its change in per cent."""
    if value is None:
        return _NONE
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{_change(value, reference)}"
    return f"{value}{_change(value, reference)}"


def _change(value: float, reference: float | None) -> str:
    if reference is None or reference == 0 or value == reference:
        return ""
    return f" ({100 * (value / reference - 1):+.1f} %)"


def _percent(fraction: float | None, _: float | None) -> str:
    return _NONE if fraction is None else f"{100 * fraction:.1f} %"


def _latency(row: Row, dense: Row) -> str:
    """Write a median and its interquartile range; the change only if both were measured alike and it exceeds noise."""
    latency, reference = row.latency, dense.latency
    if not latency:
        return _NONE
    change = ""
    if reference and _conditions(latency) == _conditions(reference):
        noise = max(latency["iqr"], reference["iqr"])
        if abs(latency["median"] - reference["median"]) > noise:
            change = _change(latency["median"], reference["median"])
    return f"{_digits(latency['median'], 3)} ± {_digits(latency['iqr'], 2)}{change}"


def _digits(value: float, digits: int) -> str:
    return f"{value:.{digits}g}" if value < 10**digits - 0.5 else f"{value:.0f}"


def _conditions(latency: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in latency.items() if key not in ("median", "iqr")}


def _extra(value: Any) -> str:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and value >= _LARGE:
        return _amount(value, None)
    return str(value) if isinstance(value, str | int) else ""


def _note(rows: Sequence[Row]) -> str:
    """Say what the figures are; readers tend to expect that zeros make a network faster."""
    parts = ["Scores in per cent."]
    if len(rows) > 1:
        parts.append(f"In brackets: score kept, or change, relative to {rows[0].name}.")
    parts.append("Sparsity is the share of zeros; dense kernels do not skip them.")
    if len(rows) > 1 and any("peak_memory" in row.extras for row in rows):
        parts.append("Peak memory is the largest of the run until then, so that it never falls from one to the next.")
    measured = [_conditions(row.latency) for row in rows if row.latency]
    if measured:
        first = measured[0]
        known = ", ".join(f"{key} {value}" for key, value in first.items())
        parts.append(f"Latency: median ± interquartile range ({known}).")
        if len(rows) > 1:
            parts.append("Changes of latency within that range are not shown.")
        if any(conditions != first for conditions in measured):
            parts.append("Latencies were measured under different conditions and are not compared.")
    return " ".join(parts)
