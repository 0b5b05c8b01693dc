"""Judge a network on a task: predict every sentence of a set once, in float32 on one device, and score."""

import copy
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.evaluation.mode import evaluation_mode
from toolkit.evaluation.predictions import Judgement, Predictions, judgement_of
from toolkit.evaluation.progress import PassProgress
from toolkit.models.inputs import network_inputs
from toolkit.tasks import IGNORED, Task


def judge(network: PreTrainedModel, data: TaskData) -> Judgement:
    """Let a network predict every set that the task's results are judged on.

    Args:
        network: A network with the task's head; it is left in its mode and on its device.
        data: The task's data.
    """
    return judgement_of(data.task, {split: predict(network, data, split) for split in data.splits})


def predict(network: PreTrainedModel, data: TaskData, split: str) -> Predictions:
    """Predict every row of a set with Lightning's Trainer: float32, one process, the network's own device.

    Args:
        network: A network with the task's head; it is left in its mode and on its device.
        data: The task's data.
        split: ``train``, ``dev``, ``test`` or another test set of the task.

    Raises:
        RuntimeError: If the loader leaves a row out or gives one twice.
    """
    device = network.device
    judged = network
    if network.dtype != torch.float32:
        judged = copy.deepcopy(network)
        nn.Module.to(judged, torch.float32)
    with _quietly(), evaluation_mode(judged):
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=1 if device.index is None else [device.index],
            # Named, so that a surrounding distributed run is not taken for this one's.
            strategy=SingleDeviceStrategy(device=device),
            precision="32-true",
            logger=False,
            callbacks=[PassProgress(f"Judging on {split}")],
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            inference_mode=True,
        )
        batches = trainer.predict(_Prediction(judged, data.task), _Batches(data.loader(split)))
    outputs, targets, index, rows = (torch.cat(parts) for parts in zip(*(batches or ()), strict=True))
    dataset = data.split(split)
    if not torch.equal(torch.sort(rows).values, torch.arange(len(dataset))):
        raise RuntimeError(
            f"The loader of {split!r} gave {len(rows)} rows, {len(set(rows.tolist()))} of them different; "
            f"expected each of the {len(dataset)} rows once."
        )
    if data.task.kind == "tagging":
        outputs, targets, index = _with_lost_words(dataset["lost"], outputs, targets, index)
    order = torch.argsort(index, stable=True)
    return Predictions(outputs=outputs[order], targets=targets[order], index=index[order])


def _with_lost_words(
    lost: Iterable[Sequence[int]], outputs: Tensor, targets: Tensor, index: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Append the words that truncation cut off, with -1 as their prediction."""
    labels = [(row, label) for row, words in enumerate(lost) for label in words]
    rows, words = torch.tensor(labels, dtype=torch.long).reshape(-1, 2).T
    missed = torch.full_like(words, -1)
    return torch.cat([outputs, missed]), torch.cat([targets, words]), torch.cat([index, rows])


class _Prediction(LightningModule):
    """The prediction step, and nothing else."""

    def __init__(self, network: PreTrainedModel, task: Task) -> None:
        super().__init__()
        # In a tuple it is not a submodule: Lightning would move it to the CPU at the end.
        self.networks = (network,)
        self.task = task

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> tuple[Tensor, ...]:
        (network,) = self.networks
        with torch.autocast(network.device.type, enabled=False):
            logits: Tensor = network(**network_inputs(batch)).logits  # (B, C); tagging: (B, T, C)
        targets, rows = batch["labels"], batch["index"]
        index = rows
        if self.task.kind == "tagging":
            words = targets != IGNORED  # (B, T)
            index = rows[:, None].expand_as(targets)[words]
            logits, targets = logits.argmax(-1)[words], targets[words]
        elif self.task.kind == "regression":
            logits = logits[:, 0]
        return logits.cpu(), targets.cpu(), index.cpu(), rows.cpu()


class _Batches:
    """A loader's batches. Lightning rebuilds the sampler of a DataLoader that it predicts from; this it cannot."""

    def __init__(self, loader: "DataLoader[Any]") -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the Trainer's notes about hardware off the screen: they would come once for every set."""
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
