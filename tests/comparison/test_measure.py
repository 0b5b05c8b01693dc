"""Times of networks that are measured beside each other."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.comparison.cells import cell
from toolkit.comparison import measure as measuring
from toolkit.comparison.measure import measure
from toolkit.evaluation.costs import Latency, Timing


def test_a_fixed_network_has_the_times_of_each_group_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one cell for all seeds, and compares with the networks that were measured in turns with it."""
    turns: list[float] = []

    def timed(networks: list[Any], timing: Timing) -> list[Latency]:
        turns.append(100.0 * (len(turns) + 1))
        time = Latency(
            median=turns[-1], iqr=0.0, batch=1, length=timing.length, threads=1, device="cpu", dtype="float32"
        )
        return [time] * len(networks)

    monkeypatch.setattr(measuring.costs, "timed", timed)
    monkeypatch.setattr(measuring.storage, "load", lambda _: torch.nn.Linear(1, 1))
    fixed = cell("fixed", 0)
    cells = [cell("dense", 0), cell("dense", 1), fixed, replace(fixed, seed=1)]
    store: Any = SimpleNamespace(network_folder=lambda _: tmp_path)
    latency, throughput = Timing(seconds=1.0), Timing(seconds=0.0)
    for _ in range(2):  # Measured, then read.
        times = measure(cells, store, tmp_path / "times", latency, throughput)
        found = [times[one.task, one.seed, one.key]["latency_ms"]["median"] for one in cells]
        assert found == [100.0, 200.0, 100.0, 200.0]
    assert len(turns) == 2
