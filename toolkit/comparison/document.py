"""The files of a comparison's report.

::

    compare.json         rows as in ``report.json``, one for each cell, what was made of them, and the tests
    compare.csv          one line for each cell
    compare.md           the tables
    compare.html         the tables and the figures on one page that needs nothing else
    pareto-size.png pareto-latency.png tasks.png
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_warn

from toolkit.comparison.costs import COSTS
from toolkit.comparison.outcomes import ADDED, Entry, Failure, Interval
from toolkit.comparison.page import page
from toolkit.comparison.summary import Average, Score, Summary
from toolkit.comparison.table import as_csv, as_markdown
from toolkit.comparison.testing import MethodTest
from toolkit.evaluation.row import Row
from toolkit.files.json_files import write_json
from toolkit.files.writing import write_text

if TYPE_CHECKING:
    from toolkit.comparison.results import Results

_SCHEMA = 1
_FIGURES = ("pareto-size", "pareto-latency", "tasks")


def write(results: Results, folder: Path) -> None:
    """Write the report in every form, each file whole or not at all.

    Args:
        results: Of a comparison.
        folder: Where to; it is made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "compare.json", content(results))
    write_text(folder / "compare.csv", as_csv(results))
    write_text(folder / "compare.md", as_markdown(results))
    figures: list[Path] = []
    if find_spec("matplotlib") is None:
        rank_zero_warn(
            "figures are not drawn, and compare.html holds tables only: matplotlib is not installed. Install the extra "
            "[plots]; the same command with report_only=true then draws them."
        )
    else:
        from toolkit.comparison.figures import draw  # An extra, and a second of imports.

        figures = draw(results, folder)
    for name in _FIGURES:  # Those of an earlier report show other results.
        if folder / f"{name}.png" not in figures:
            (folder / f"{name}.png").unlink(missing_ok=True)
    write_text(folder / "compare.html", page(results, figures))


def content(results: Results) -> dict[str, Any]:
    """The content of ``compare.json``.

    Args:
        results: Of a comparison.
    """
    return {
        "schema": _SCHEMA,
        "baseline": results.baseline,
        "rows": [
            {
                **entry.row.to_dict(),
                "method": entry.method,
                "key": entry.key,
                "intervals": {metric: list(bounds) for metric, bounds in entry.intervals.items()},
            }
            for entry in results.entries
        ],
        "summary": {
            "scores": [asdict(summary) for summary in results.summaries],
            "averages": [asdict(average) for average in results.averages],
            "costs": {method: results.costs(method) for method in results.methods},
            "pareto": {
                cost.key: [method for method in results.methods if method in results.optimal(cost.key)]
                for cost in COSTS
            },
        },
        "tests": [asdict(test) for test in results.tests],
        "failures": [asdict(failure) for failure in results.failures],
    }


def fields_of(file: Path) -> dict[str, Any]:
    """Read ``compare.json`` into the fields of `Results`.

    Args:
        file: The file, or the folder that holds it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no results of this schema.
    """
    file = file / "compare.json" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"There is no comparison {file}; give compare.json or its folder.")
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(held, dict) or held.get("schema") != _SCHEMA:
            found = held.get("schema") if isinstance(held, dict) else None
            raise ValueError(f"its schema is {found!r}, expected {_SCHEMA}")
        return {
            "baseline": held["baseline"],
            "entries": tuple(map(_entry, held["rows"])),
            "summaries": tuple(map(_summary, held["summary"]["scores"])),
            "averages": tuple(map(_average, held["summary"]["averages"])),
            "tests": tuple(MethodTest(**{**test, "interval": _bounds(test["interval"])}) for test in held["tests"]),
            "failures": tuple(Failure(**failure) for failure in held["failures"]),
        }
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} holds no comparison ({type(error).__name__}: {error}); write the report again."
        ) from error


def _entry(held: Mapping[str, Any]) -> Entry:
    row = Row.from_dict({key: value for key, value in held.items() if key not in ADDED})
    intervals = {metric: (float(low), float(high)) for metric, (low, high) in held["intervals"].items()}
    return Entry(method=held["method"], key=held["key"], row=row, intervals=intervals)


def _summary(held: Mapping[str, Any]) -> Summary:
    scores = {name: {metric: _score(score) for metric, score in held[name].items()} for name in ("scores", "compared")}
    seeds = {name: tuple(held[name]) for name in ("seeds", "failed", "shared")}
    return Summary(**{**held, **seeds, **scores})


def _average(held: Mapping[str, Any]) -> Average:
    return Average(**{**held, "tasks": tuple(held["tasks"]), "score": _score(held["score"])})


def _score(held: Mapping[str, Any]) -> Score:
    return Score(**{**held, "interval": _bounds(held["interval"])})


def _bounds(held: Any) -> Interval | None:
    if held is None:
        return None
    low, high = held
    return float(low), float(high)
