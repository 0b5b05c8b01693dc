"""The costs that a comparison puts beside quality: where a row holds them, and how they are written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.evaluation.row import Row

NONE = "–"


@dataclass(frozen=True)
class Cost:
    """A cost, in the order of tables.

    Args:
        key: The field or extra of a row that holds it; also its name in ``compare.json`` and ``compare.csv``.
        label: Its name in tables; a line break where it may be broken.
        unit: ``""`` for a number, ``B``, ``ms``, ``s`` or ``/s``.
        gain: Whether more of it is better.
    """

    key: str
    label: str
    unit: str
    gain: bool = False


COSTS = (
    Cost("parameters", "parameters", ""),
    Cost("nonzero_parameters", "non-zero", ""),
    Cost("dense_bytes", "bytes,\ndense", "B"),
    Cost("bytes", "bytes,\nstored", "B"),
    Cost("macs", "MACs", ""),
    Cost("latency_ms", "latency", "ms"),
    Cost("throughput", "sentences\nper second", "/s", gain=True),
    Cost("training_seconds", "training\ntime", "s"),
    Cost("training_macs", "training\nMACs", ""),
    Cost("examples_seen", "examples\nseen", ""),
    Cost("selection_seconds", "selection\ntime", "s"),
    Cost("selection_macs", "selection\nMACs", ""),
    Cost("peak_memory", "peak\nmemory", "B"),
)
MEASURED = ("latency_ms", "throughput")  # Mean nothing without the conditions that they were measured under.
CONDITIONS = ("batch", "length", "threads", "device")
_FLOAT32 = 4  # Bytes.
_IQR = "latency_iqr"  # Kept beside the costs: how much a latency varies.


def costs_of(row: Row) -> dict[str, float]:
    """Take the costs of a row; one that it does not have is left out.

    The dense size, ``dense_bytes``, is that of all parameters in float32. What is no finite number, nor a mapping with
    a ``median``, counts as missing.

    Args:
        row: Of a network.

    Returns:
        Key of the cost → its value; beside ``latency_ms`` also the interquartile range, ``latency_iqr``.
    """
    held: dict[str, Any] = {**row.extras, **{name: getattr(row, name) for name in ("parameters", "bytes", "macs")}}
    held |= {"nonzero_parameters": row.nonzero_parameters, "latency_ms": row.latency, _IQR: row.latency.get("iqr")}
    held["dense_bytes"] = _FLOAT32 * row.parameters
    values = {key: _value(held.get(key)) for key in (*(cost.key for cost in COSTS), _IQR)}
    return {key: float(value) for key, value in values.items() if _is_number(value)}


def conditions(row: Row, key: str) -> dict[str, Any]:
    """What a latency or a throughput was measured under: batch, length, threads and device.

    Args:
        row: Of a network.
        key: Of the cost.
    """
    held = row.latency if key == "latency_ms" else row.extras.get(key)
    return {name: held[name] for name in CONDITIONS if name in held} if isinstance(held, Mapping) else {}


def written(value: float, unit: str) -> str:
    """Write an amount with three digits, a decimal prefix and its unit.

    Args:
        value: The amount.
        unit: As `Cost` has it.

    Example:
        >>> [written(22_713_216, ""), written(90.9e6, "B"), written(0.5, "ms"), written(5400, "s"), written(1234, "/s")]
        ['22.7 M', '90.9 MB', '0.5 ms', '1.5 h', '1234 /s']
    """
    if unit == "s":
        for name, seconds in (("h", 3600), ("min", 120)):
            if value >= seconds:
                return f"{_digits(value / (60 if name == 'min' else seconds))} {name}"
    if unit in ("", "B"):
        for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if value >= size:
                return f"{_digits(value / size)} {prefix}{unit}"
    return f"{_digits(value)} {unit}".strip()


def share(value: float, reference: float) -> str:
    """Write what a cost is of the baseline's, in per cent; a share of nothing is empty.

    Example:
        >>> share(1, 4), share(3000, 1), share(1, 0)
        ('25 %', '3000 ×', '')
    """
    if reference <= 0:
        return ""
    ratio = value / reference
    return f"{_digits(ratio)} ×" if ratio >= 10 else f"{100 * ratio:.{0 if ratio >= 0.0995 else 1}f} %"


def noise(costs: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """The difference of two latencies that their variation hides: the larger interquartile range, in milliseconds."""
    return max(costs.get(_IQR, 0.0), reference.get(_IQR, 0.0))


def _value(held: Any) -> Any:
    return held.get("median") if isinstance(held, Mapping) else held


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 999.5 else f"{value:.3g}"
