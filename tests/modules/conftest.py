"""A tiny task and trainer, so that whole trainings take a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from transformers import AutoConfig, AutoModel, AutoTokenizer

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


@pytest.fixture(scope="session")
def four_blocks(tiny_network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with four blocks in place of two."""
    folder = tmp_path_factory.mktemp("four-blocks")
    config = AutoConfig.from_pretrained(tiny_network, num_hidden_layers=4)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained(folder)
    return folder
