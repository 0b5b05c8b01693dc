"""A tiny network and tiny data, quiet trainers, and statistics that are easy to check."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torchmetrics import Metric
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.models.loading import load_network
from toolkit.statistics.hidden_states import HiddenBatch

Observed = Callable[..., tuple[PreTrainedModel, TaskData]]
quiet_trainer = partial(Trainer, accelerator="cpu", enable_progress_bar=False)


class TokenSum(Metric):
    """Number of tokens, and the sum of their hidden states."""

    count: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(3, 32, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, tokens: Tensor) -> None:
        self.count += tokens.shape[1]
        self.total += tokens.double().sum(1)

    def observe(self, batch: HiddenBatch) -> None:
        self.update(batch.tokens)

    def compute(self) -> Tensor:
        return self.total / self.count


class Seen:
    """The rows that were seen, batch after batch; fails at a batch if it is told so."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self._before: list[list[int]] = []
        self._fail_at = fail_at

    def observe(self, batch: HiddenBatch) -> None:
        if len(self.batches) == self._fail_at:
            raise RuntimeError("interrupted")
        self.batches.append(batch.positions.tolist())

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self._before + self.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._before = state["batches"]


@pytest.fixture
def observed(tiny_network: Path) -> Observed:
    """Make a network with the task's head, and the task's data."""

    def make(task: str = "synthetic_sentiment", **options: Any) -> tuple[PreTrainedModel, TaskData]:
        data = TaskData(task, network=str(tiny_network), **({"size": 60, "eval_batch_size": 8} | options))
        network = load_network(str(tiny_network), data.task)
        for name, weight in network.named_parameters():  # so that layers differ
            weight.data *= 4 if "weight" in name and weight.ndim == 2 else 1
        return network, data

    return make


@pytest.fixture
def token_sum() -> type[TokenSum]:
    return TokenSum


@pytest.fixture
def seen() -> type[Seen]:
    return Seen


@pytest.fixture
def quiet() -> Callable[..., Trainer]:
    """Makes a trainer on the CPU without a progress bar."""
    return quiet_trainer
