"""Bytes and time of sparse storage: MiniLM pruned by magnitude, beside the dense file and the information bound.

Run by ``nox -s bench``; prints a table and writes ``runs/benchmarks/sparse_storage.json``.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from toolkit.evaluation.costs import bytes_on_disk
from toolkit.models.encoder import MINILM, prunable_weights, resolve_network
from toolkit.models.sparse_storage import SPARSE_FILE, Precision, information_bound, write_sparse
from toolkit.models.storage import load, sparsify

REPEATS = 5
pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("ignore:.*become zero in float16")]


def seconds(call: Callable[[], Any]) -> float:
    """Median over calls; the first, which reads the file from the disk, is left out."""
    times = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


@pytest.mark.parametrize("sparsity", [0.6, 0.8, 0.9])
def test_bytes_and_load_time(sparsity: float, tmp_path: Path) -> None:
    network = load(resolve_network(MINILM))
    weights = prunable_weights(network)
    entries = torch.cat([weight.detach().abs().reshape(-1) for weight in weights.values()])
    threshold = entries.kthvalue(int(sparsity * len(entries))).values
    for weight in weights.values():
        weight.data[weight.abs() <= threshold] = 0
    network.save_pretrained(tmp_path / "dense")
    dense = {"bytes": bytes_on_disk(tmp_path / "dense"), "load_seconds": seconds(lambda: load(tmp_path / "dense"))}
    found: dict[str, dict[str, float]] = {"dense": dense}
    parts = {"": network.state_dict(), ", prunable weights alone": {name: w.detach() for name, w in weights.items()}}
    precisions: tuple[Precision, ...] = ("float32", "float16", "bfloat16")
    for dtype in precisions:
        folder = tmp_path / dtype
        sparsify(tmp_path / "dense", folder, dtype=dtype)
        for name, tensors in parts.items():
            file = tmp_path / SPARSE_FILE
            started = time.perf_counter()
            write_sparse(tensors, file, dtype, {"format": "pt"})
            packing = time.perf_counter() - started
            size, bound = file.stat().st_size, information_bound(tensors, dtype)
            found[f"sparse {dtype}{name}"] = {"bytes": size, "bound": bound, "pack_seconds": packing}
            assert bound <= size <= 1.03 * bound
        found[f"sparse {dtype}"]["load_seconds"] = seconds(lambda folder=folder: load(folder))
        assert found[f"sparse {dtype}"]["bytes"] == bytes_on_disk(folder)
    print(f"\n{sparsity:.0%} of the prunable weights pruned")
    for name, figures in found.items():
        print(f"{name:48}", ", ".join(f"{key} {value:,.2f}".removesuffix(".00") for key, value in figures.items()))
    file = Path("runs/benchmarks/sparse_storage.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(file.read_text()) if file.is_file() else {}
    hardware = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    file.write_text(json.dumps({**before, str(sparsity): found, **hardware}, indent=2))
