"""What a benchmark measured, with its goals: ``runs/bench/NAME.json``, of which docs/performance.md is drawn.

With ``BENCH_QUICK=1`` everything is small and goes to ``runs/bench-quick``: that tries the benchmarks and measures
nothing.
"""

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

QUICK = bool(os.environ.get("BENCH_QUICK"))
FOLDER = Path("runs/bench-quick" if QUICK else "runs/bench")
PACKAGES = ("torch", "lightning", "transformers", "numpy", "scipy", "onnxruntime", "NeuroX")
FOLDERS = ("TOOLKIT_DATA", "NEUROX_PATH")  # Environment variables whose values say nothing to others.


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number that a benchmark is about.

    Args:
        what: Its name, of which a benchmark has one only.
        value: As it was measured.
        unit: ``×`` for a ratio.
        at_most: Goal, where less is better.
        at_least: Goal, where more is better.
    """

    what: str
    value: float
    unit: str = "×"
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


@dataclass(frozen=True, kw_only=True)
class Table:
    """The numbers behind the measures.

    Args:
        columns: Names, with units.
        rows: Texts and numbers, as many as there are columns.

    Raises:
        ValueError: If a row is of another length.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"The table has {len(self.columns)} columns, but a row has {len(row)} cells: {row}.")


def record(
    name: str, title: str, measures: Iterable[Measure], table: Table | None = None, *, note: str = "", threads: int = 1
) -> None:
    """Write what was measured, and print it.

    Args:
        name: Of the file.
        title: Heading on the page.
        measures: With their goals.
        table: What they were computed from.
        note: What was measured, on what.
        threads: Of the operators.
    """
    measures = list(measures)
    found = {
        "name": name,
        "title": title,
        "note": note,
        "measures": [asdict(measure) | {"met": measure.met} for measure in measures],
        "table": None if table is None else asdict(table),
        "command": command(),
        "date": date.today().isoformat(),
        "threads": threads,
        "hardware": hardware(),
        "load_average": os.getloadavg()[0],
        "versions": versions(),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{title}")
    for measure in measures:
        goals = [
            f"{word} {goal:g}"
            for word, goal in (("at most", measure.at_most), ("at least", measure.at_least))
            if goal is not None
        ]
        verdict = f"  (goal: {', '.join(goals)}: {'met' if measure.met else 'MISSED'})" if goals else ""
        print(f"  {measure.what:60} {measure.value:10.3f} {measure.unit}{verdict}", flush=True)


def command() -> str:
    """What measures it again: a test's file, or this process's command line; with the variables that it reads."""
    given = [f"{variable}=…" for variable in FOLDERS if os.environ.get(variable)]
    if test := os.environ.get("PYTEST_CURRENT_TEST"):
        return " ".join([*given, "OMP_NUM_THREADS=1 python -m pytest -m benchmark -s", test.partition("::")[0]])
    program, *arguments = sys.argv
    return " ".join([*given, f"python {_relative(program)}", *(shlex.quote(_relative(word)) for word in arguments)])


def _relative(text: str) -> str:
    path = Path(text)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else text


def hardware() -> dict[str, Any]:
    """The processor and its memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": "avx512_bf16" in flags,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    }


def versions() -> dict[str, str]:
    """Versions of what does the work, as far as it is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
