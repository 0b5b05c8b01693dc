"""Options with which a recipe runs in a second."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def small(tiny_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Overrides for any recipe: tiny network, few sentences, one epoch, float32, no latency to speak of."""
    monkeypatch.chdir(tmp_path)
    return {
        "seed_everything": 1,
        "data.task": "synthetic_sentiment",
        "data.size": 120,
        "data.limit_eval": 20,
        "data.batch_size": 16,
        "data.max_length": 32,
        "model.network": str(tiny_network),
        "trainer.max_epochs": 1,
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        "trainer.enable_progress_bar": False,
        "timing.seconds": 0.01,
        "output": "run",
    }


@pytest.fixture
def words(small: dict[str, Any]) -> list[str]:
    """The same on the command line of the first door."""
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in small.items()]
