"""Latency and throughput of the networks of a comparison, measured beside each other when nothing else runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from toolkit.comparison.cells import Store
from toolkit.comparison.grid import Cell
from toolkit.comparison.outcomes import Outcome
from toolkit.evaluation import costs
from toolkit.evaluation.costs import Latency, Timing
from toolkit.files.json_files import write_json
from toolkit.models import storage
from toolkit.options.values import digest


def measure(
    cells: Sequence[Cell], store: Store, folder: Path, latency: Timing, throughput: Timing, *, stored_only: bool = False
) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Measure the networks of each task and seed beside each other, in turns, unless an earlier run did.

    Args:
        cells: Those that are done.
        store: Where they are.
        folder: Where the times are kept.
        latency: How latency is measured; 0 seconds measure none.
        throughput: The same of throughput.
        stored_only: Whether only those times are given that an earlier run measured.

    Returns:
        Task, seed and key of a cell → ``latency_ms`` and ``throughput``. The key alone is not enough: a fixed network,
        which is one cell for all seeds, is measured beside the networks of each.
    """
    groups: dict[tuple[str, int], dict[str, Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.task, cell.seed), {})[cell.key] = cell
    if not latency.seconds and not throughput.seconds:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    times: dict[tuple[str, int, str], dict[str, Any]] = {}
    missing = []
    for (task, seed), group in groups.items():
        file = folder / f"{task}-{digest([sorted(group), asdict(latency), asdict(throughput), str(device)])[:16]}.json"
        if file.is_file():
            times |= {(task, seed, key): time for key, time in _stored(file).items()}
        elif not stored_only:
            missing.append((task, seed, file, group))
        else:
            times |= {(task, seed, key): time for key, time in _newest(folder, task, set(group)).items()}
    console = Console()
    for task, seed, file, group in track(missing, "measuring times", console=console, disable=not console.is_terminal):
        networks = [storage.load(store.network_folder(cell)) for cell in group.values()]
        for network in networks:
            torch.nn.Module.to(network, device)
        measured: dict[str, dict[str, Any]] = {key: {} for key in group}
        if latency.seconds:
            for key, time in zip(group, costs.timed(networks, latency), strict=True):
                measured[key]["latency_ms"] = asdict(time)
        if throughput.seconds:
            for key, time in zip(group, costs.timed(networks, throughput), strict=True):
                measured[key]["throughput"] = _per_second(time)
        write_json(file, measured)
        times |= {(task, seed, key): time for key, time in measured.items()}
    return times


def _newest(folder: Path, task: str, keys: set[str]) -> dict[str, dict[str, Any]]:
    """The newest stored times of a group that all of some cells are in: those of different groups do not compare."""
    for file in sorted(folder.glob(f"{task}-*.json"), key=lambda file: file.stat().st_mtime, reverse=True):
        stored = _stored(file)
        if keys <= stored.keys():
            return {key: stored[key] for key in keys}
    return {}


def _stored(file: Path) -> dict[str, dict[str, Any]]:
    """Times that an earlier run measured."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON in UTF-8 ({error}); delete it to measure again.") from error
    if not isinstance(stored, dict) or not all(isinstance(times, dict) for times in stored.values()):
        raise ValueError(f"{file} holds no times; delete it to measure again.")
    return stored


def with_times(outcome: Outcome, times: dict[str, Any] | None) -> Outcome:
    """An outcome with the times that were measured.

    Args:
        outcome: Of a cell.
        times: ``latency_ms`` and ``throughput``, as far as they were measured.
    """
    if times is None:
        return outcome
    row = replace(outcome.row, latency_ms=times.get("latency_ms"))
    if "throughput" in times:
        row = replace(row, extras={**row.extras, "throughput": times["throughput"]})
    return replace(outcome, row=row)


def _per_second(time: Latency) -> dict[str, Any]:
    """Sentences per second of passes that took the median time."""
    conditions = {key: value for key, value in asdict(time).items() if key not in ("median", "iqr")}
    return {"median": round(1e3 * time.batch / time.median, 1), **conditions}
