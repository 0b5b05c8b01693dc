"""Time of the rankings at full size, on one thread; run by ``nox -s bench``.

Prints seconds of the processor and writes ``runs/benchmarks/ranking_speed.json``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.probing.linear import fit_probe
from toolkit.probing.rankings import rank_by_correlation_analysis
from toolkit.probing.surgeon import rank_by_surgeon


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _swept(weight: np.ndarray, stride: int) -> list[int]:
    # The published sweep: at every step, every class's neurons that hold its share of the mass.
    order = np.argsort(-np.abs(weight), axis=1)
    mass = np.take_along_axis(np.abs(weight), order, 1).cumsum(1)
    seen: dict[int, None] = {}
    for step in range(stride + 1):
        for row, total in zip(order, mass, strict=True):
            seen.update(dict.fromkeys(row[: np.searchsorted(total, step / stride * total[-1]) + 1].tolist()))
    return list(seen)


@pytest.mark.benchmark
def test_ranking_speed() -> None:
    """LCA of 9,984 neurons and 50 labels in a second; probe and surgeon of 25k words and 2,688 neurons in a minute."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50, 9984, generator=generator)
    basis = torch.randn(300, 2688, generator=generator)
    features = torch.randn(25_000, 300, generator=generator) @ basis + 3 * torch.randn(
        25_000, 2688, generator=generator
    )
    labels = (features[:, :300] @ torch.randn(300, 17, generator=generator)).argmax(1)
    seconds = {
        "lca": _seconds(lambda: rank_by_correlation_analysis(weight)),
        "lca_swept": _seconds(lambda: _swept(weight.numpy(), 1000)),
        "probe": _seconds(lambda: fit_probe(features, labels, num_classes=17)),
        "surgeon": _seconds(lambda: rank_by_surgeon(features, labels, num_classes=17)),
    }
    ratio = seconds["lca_swept"] / seconds["lca"]
    print({name: round(value, 2) for name, value in seconds.items()}, f"sweep / exact: {ratio:.0f}")
    Path("runs/benchmarks").mkdir(parents=True, exist_ok=True)
    found = {"processor_seconds": seconds, "ratio": ratio, "torch": torch.__version__}
    Path("runs/benchmarks/ranking_speed.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    assert seconds["lca"] < 1
    assert seconds["probe"] < 60
    assert seconds["surgeon"] < 60
