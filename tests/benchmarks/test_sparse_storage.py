"""Bytes and time of sparse storage: MiniLM pruned by magnitude, beside the dense file and the information bound.

Run by ``nox -s bench``; prints the ratios and writes ``storage_60.json``, ``storage_80.json`` and ``storage_90.json``.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.recording import QUICK, Measure, Table, record
from toolkit.evaluation.costs import bytes_on_disk
from toolkit.models.encoder import prunable_weights
from toolkit.models.pretrained import MINILM, resolve_network
from toolkit.models.sparse_storage import SPARSE_FILE, Precision, information_bound, write_sparse
from toolkit.models.storage import load, sparsify
from toolkit.pruning.masks import prune_smallest

REPEATS = 1 if QUICK else 9
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "bfloat16")
pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("ignore:.*become zero in float16")]


def in_turns(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of each call; the first turn, which reads the files from the disk, is left out."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(own[1:]) for name, own in times.items()}


@pytest.mark.parametrize("sparsity", [0.6, 0.8, 0.9])
def test_bytes_and_load_time(sparsity: float, tmp_path: Path) -> None:
    """No file is more than 3 % larger than its information bound, and none smaller."""
    network = load(resolve_network(MINILM))
    weights = prunable_weights(network)
    for name, pruned in prune_smallest({name: w.detach().abs() for name, w in weights.items()}, sparsity).items():
        weights[name].data[pruned] = 0
    network.save_pretrained(tmp_path / "dense")
    parts = {"": network.state_dict(), ", prunable weights alone": {name: w.detach() for name, w in weights.items()}}
    figures: dict[str, tuple[int, int, float]] = {}
    folders = {"dense float32": tmp_path / "dense"}
    for dtype in PRECISIONS:
        folder = folders[f"sparse {dtype}"] = tmp_path / dtype
        sparsify(tmp_path / "dense", folder, dtype=dtype)
        for name, tensors in parts.items():
            file = tmp_path / SPARSE_FILE
            started = time.perf_counter()
            write_sparse(tensors, file, dtype, {"format": "pt"})
            packing = time.perf_counter() - started
            figures[f"sparse {dtype}{name}"] = file.stat().st_size, information_bound(tensors, dtype), packing
        assert figures[f"sparse {dtype}"][0] == bytes_on_disk(folder)
    loading = in_turns({name: lambda folder=folder: load(folder) for name, folder in folders.items()})
    dense = bytes_on_disk(tmp_path / "dense")
    record(
        f"storage_{round(100 * sparsity)}",
        f"Sparse storage at {sparsity:.0%} zeros",
        [
            Measure(what=f"bytes / information bound, {name}", value=size / bound, at_most=1.03)
            for name, (size, bound, _) in figures.items()
        ]
        + [
            Measure(what=f"load time / dense, {name}", value=loading[name] / loading["dense float32"])
            for name in loading
            if name != "dense float32"
        ],
        Table(
            columns=("file", "bytes", "bound", "pack, s", "load, s"),
            rows=[
                ("dense float32", dense, None, None, loading["dense float32"]),
                *((name, size, bound, packing, loading.get(name)) for name, (size, bound, packing) in figures.items()),
            ],
        ),
        note=f"MiniLM, pruned by magnitude; its embeddings stay dense. Load times are medians of {REPEATS} turns, the "
        "files in the cache of the operating system.",
    )
    for name, (size, bound, _) in figures.items():
        assert bound <= size <= 1.03 * bound, name
