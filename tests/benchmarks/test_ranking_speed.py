"""Time of the rankings at full size, on one thread; run by ``nox -s bench``.

Prints seconds of the processor and writes ``ranking_speed.json``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.benchmarks.recording import QUICK, Measure, record
from toolkit.probing.linear import fit_probe
from toolkit.probing.rankings import rank_by_correlation_analysis
from toolkit.probing.surgeon import rank_by_surgeon

ROWS, NEURONS, LABELS, MANY = (1000, 400, 10, 500) if QUICK else (25_000, 2688, 50, 9984)


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
    weight = torch.randn(LABELS, MANY, generator=generator)
    basis = torch.randn(300, NEURONS, generator=generator)
    features = torch.randn(ROWS, 300, generator=generator) @ basis + 3 * torch.randn(ROWS, NEURONS, generator=generator)
    labels = (features[:, :300] @ torch.randn(300, 17, generator=generator)).argmax(1)
    seconds = {
        "lca": _seconds(lambda: rank_by_correlation_analysis(weight)),
        "lca_swept": _seconds(lambda: _swept(weight.numpy(), 1000)),
        "probe": _seconds(lambda: fit_probe(features, labels, num_classes=17)),
        "surgeon": _seconds(lambda: rank_by_surgeon(features, labels, num_classes=17)),
    }
    record(
        "ranking_speed",
        "Rankings at full size",
        [
            Measure(
                what=f"correlation analysis, {MANY:,} neurons, {LABELS} labels",
                value=seconds["lca"],
                unit="s",
                at_most=1,
            ),
            Measure(what="the published sweep / correlation analysis", value=seconds["lca_swept"] / seconds["lca"]),
            Measure(what=f"probe, {ROWS:,} x {NEURONS:,}", value=seconds["probe"], unit="s", at_most=60),
            Measure(what=f"surgeon, {ROWS:,} x {NEURONS:,}", value=seconds["surgeon"], unit="s", at_most=60),
        ],
        note="Processor time, one run. The sweep is a plain NumPy version of the published one, in 1,000 steps.",
    )
    if not QUICK:
        assert seconds["lca"] < 1
        assert seconds["probe"] < 60
        assert seconds["surgeon"] < 60
