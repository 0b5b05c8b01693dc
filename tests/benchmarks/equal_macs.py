"""Record what ``equal_macs.yaml`` compared: layers against structure at equal multiply-accumulates.

    python -m toolkit.run recipe=compare --config=tests/benchmarks/equal_macs.yaml data.root=… output=runs/equal-macs
    python tests/benchmarks/equal_macs.py runs/equal-macs

Writes ``equal_macs.json``.
"""

import argparse
import statistics
from pathlib import Path

from tests.benchmarks.recording import Measure, Table, record
from toolkit.comparison.outcomes import Entry
from toolkit.comparison.results import Results
from toolkit.tasks import TASKS

LAYERS = "three of six blocks"
TOLERANCE = 0.01  # Of multiply-accumulates that count as equal.


def check(results: Results) -> None:
    """Refuse a comparison that is not complete, or whose networks do not cost the same.

    Raises:
        RuntimeError: If a cell failed, or the multiply-accumulates of a network are others than those of three blocks.
    """
    if results.failures:
        raise RuntimeError(f"{len(results.failures)} cells failed, the first: {results.failures[0]}.")
    wanted = {entry.row.macs for entry in results.entries if entry.method == LAYERS}
    for entry in results.entries:
        macs = entry.row.macs
        if entry.method != results.baseline and (macs is None or abs(macs - min(wanted)) > TOLERANCE * min(wanted)):
            raise RuntimeError(f"{entry.method} has {macs} multiply-accumulates on {entry.row.task}, not {wanted}.")


def score(entry: Entry) -> float:
    """The task's first metric, in per cent."""
    return 100 * entry.row.scores[TASKS[entry.row.task].metrics[0]]


def main() -> None:
    """Read the comparison, make sure that its networks are comparable, print and record the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    results = Results.read(parser.parse_args().folder)
    check(results)
    rows: list[list[str | float | None]] = []
    means: dict[tuple[str, str], float] = {}
    for task in results.tasks:
        for method in results.methods:
            entries = [entry for entry in results.entries if (entry.method, entry.row.task) == (method, task)]
            scores = [score(entry) for entry in entries]
            means[task, method] = statistics.mean(scores)
            times = [entry.row.latency_ms["median"] for entry in entries if entry.row.latency_ms is not None]
            rows.append(
                [
                    task, method, means[task, method], statistics.stdev(scores) if len(scores) > 1 else None,
                    (entries[0].row.macs or 0) / 1e6, statistics.mean(times) if times else None,
                ]
            )  # fmt: skip
    record(
        "equal_macs",
        "Accuracy at equal multiply-accumulates",
        [
            Measure(what=f"{method} - {LAYERS}, {task}", value=means[task, method] - means[task, LAYERS], unit="points")
            for task in results.tasks
            for method in results.methods
            if method not in (LAYERS, results.baseline)
        ],
        Table(columns=("task", "network", "score, %", "standard deviation", "MACs, M", "latency, ms"), rows=rows),
        note=f"MiniLM, the first metric of each task, {len({entry.row.seed for entry in results.entries})} seeds, "
        "200 steps on 2,000 sentences; one sentence of 128 tokens on one thread. What the command reads was compared "
        "by `recipe=compare --config=tests/benchmarks/equal_macs.yaml`.",
    )


if __name__ == "__main__":
    main()
