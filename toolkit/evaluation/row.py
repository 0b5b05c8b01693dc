"""One row of a report: a network, its scores and its cost, in a form that JSON holds and that is checked."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from toolkit.evaluation.costs import Latency
from toolkit.files.json_files import plain


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network on one task.

    Args:
        name: What the network is, e.g. ``dense`` or ``proximal pruning``.
        task: The task's name.
        seed: The run's seed.
        scores: Metric → score, a fraction; NaN where the metric is not defined.
        parameters: Number of parameters.
        nonzero_parameters: Number of parameters that are not zero.
        sparsity: Fraction of zeros among the prunable weights.
        total_sparsity: Fraction of zeros among all parameters.
        bytes: Size of the weight files on disk.
        macs: Multiply-accumulates of a forward pass.
        latency_ms: A `Latency`, or the same as a mapping: ``median`` and ``iqr`` in milliseconds, and more.
        extras: Further figures, e.g. ``natural_sparsity``, ``seconds``, ``steps``; in JSON they stand beside the
            others.

    Raises:
        ValueError: If a value has the wrong type or range, or an extra has a field's name or is nothing that
            JSON holds.
    """

    name: str
    task: str
    seed: int | None
    scores: Mapping[str, float]
    parameters: int
    nonzero_parameters: int
    sparsity: float
    total_sparsity: float | None = None
    bytes: int | None = None
    macs: int | None = None
    latency_ms: Latency | Mapping[str, Any] | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.latency_ms, Latency):
            object.__setattr__(self, "latency_ms", asdict(self.latency_ms))
        for key, (fits, expected) in _FIELDS.items():
            value = getattr(self, key)
            if not fits(value):
                raise self._error(f"{key} is {value!r}, expected {expected}")
        object.__setattr__(self, "scores", {name: float(value) for name, value in self.scores.items()})
        for key, value in self.extras.items():
            if key in _FIELDS or key == "extras":
                raise self._error(f"extra {key!r} has the name of a field, expected another name")
            try:
                plain(value)
            except TypeError as error:
                expected = "numbers, strings, lists or mappings"
                raise self._error(f"extra {key!r} holds a {error}, expected {expected}") from error

    def _error(self, problem: str) -> ValueError:
        return ValueError(f"Row {self.name!r} of task {self.task!r}: {problem}.")

    @property
    def latency(self) -> Mapping[str, Any]:
        """`latency_ms` as a mapping, empty if there is none."""
        return asdict(self.latency_ms) if isinstance(self.latency_ms, Latency) else self.latency_ms or {}

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON has it: extras beside the fields, ``None`` for numbers that are not finite."""
        row: dict[str, Any] = plain({**{key: getattr(self, key) for key in _FIELDS}, **self.extras})
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Row":
        """Make a row of what `to_dict` returned; keys that are no fields become extras.

        Args:
            row: The row as JSON has it.

        Raises:
            ValueError: If a key is missing or a value has the wrong type or range.
        """
        required = {f.name for f in fields(cls)} & {*_FIELDS} - _OPTIONAL
        if missing := sorted(required - row.keys()):
            raise ValueError(f"Row {row.get('name')!r}: {', '.join(missing)} missing; the row must have it.")
        values = {key: value for key, value in row.items() if key in _FIELDS}
        if isinstance(values["scores"], Mapping):
            values["scores"] = {
                metric: math.nan if score is None else score for metric, score in values["scores"].items()
            }
        return cls(**values, extras={key: value for key, value in row.items() if key not in _FIELDS})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


# What a field may hold, and how an error calls that.
_FIELDS: dict[str, tuple[Any, str]] = {
    "name": (lambda value: isinstance(value, str), "a string"),
    "task": (lambda value: isinstance(value, str), "a string"),
    "seed": (lambda value: value is None or _is_count(value), "a whole number or null"),
    "scores": (
        lambda value: isinstance(value, Mapping) and all(map(_is_number, value.values())),
        "a number for each metric",
    ),
    "parameters": (_is_count, "a whole number"),
    "nonzero_parameters": (_is_count, "a whole number"),
    "sparsity": (_is_fraction, "a number in [0, 1]"),
    "total_sparsity": (lambda value: value is None or _is_fraction(value), "a number in [0, 1] or null"),
    "bytes": (lambda value: value is None or _is_count(value), "a whole number or null"),
    "macs": (lambda value: value is None or _is_count(value), "a whole number or null"),
    "latency_ms": (
        lambda value: (
            value is None
            or (isinstance(value, Mapping) and all(_is_number(value.get(key)) for key in ("median", "iqr")))
        ),
        "a mapping with the numbers median and iqr, or null",
    ),
}
_OPTIONAL = {"total_sparsity", "bytes", "macs", "latency_ms"}
