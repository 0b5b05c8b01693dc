"""A tiny network with a head, and tiny synthetic data, for every kind of task."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.models.loading import load_network

Judged = Callable[..., tuple[PreTrainedModel, TaskData]]


@pytest.fixture
def judged(tiny_network: Path) -> Judged:
    def make(task: str, **options: object) -> tuple[PreTrainedModel, TaskData]:
        values = {"size": 60, "limit_eval": 40, "eval_batch_size": 8, **options}
        data = TaskData(task, network=str(tiny_network), **values)  # type: ignore[arg-type]
        torch.manual_seed(0)
        network = load_network(str(tiny_network), data.task)
        for parameter in network.parameters():  # wide enough that predictions differ
            parameter.data *= 3
        return network, data

    return make
