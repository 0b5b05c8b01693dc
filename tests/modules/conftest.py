"""A tiny task and trainer, so that whole trainings take a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer

from toolkit.data import TaskData


@pytest.fixture
def data(tiny_network: Path) -> TaskData:
    return TaskData("synthetic_sentiment", network=str(tiny_network), size=160, batch_size=8, eval_batch_size=16)


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    def make(**options: Any) -> Trainer:
        defaults: dict[str, Any] = {
            "max_epochs": 2,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "default_root_dir": tmp_path,
        }
        return Trainer(**defaults | options)

    return make
