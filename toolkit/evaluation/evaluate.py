"""Judge a network on a task: predict every sentence of a set once, in float32 on one device, and score."""

import copy
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.evaluation.mode import evaluation_mode
from toolkit.metrics import task_metrics
from toolkit.tasks import Task

_IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a network says about a set, in the order of the set's rows.

    N sentences, C classes, W labelled words.

    Args:
        outputs: Classification: logits ``(N, C)``; regression: values ``(N,)``; tagging: label ids ``(W,)``, and -1,
            which is no label, for words that truncation cut off.
        targets: Label ids or values ``(N,)``; tagging: label ids ``(W,)``.
        index: Row of the set that each entry belongs to: ``0 … N - 1``, ``(N,)``; tagging: ``(W,)``, ascending,
            the words of a sentence in their order.
    """

    outputs: Tensor
    targets: Tensor
    index: Tensor


def evaluate(network: PreTrainedModel, data: TaskData) -> dict[str, float]:
    """Score a network on every set that the task's results are judged on.

    Args:
        network: A network with the task's head; it is left in its mode and on its device.
        data: The task's data.

    Returns:
        Metric → score. Those of further sets carry the set's name, as in ``accuracy_mismatched``.
    """
    scores: dict[str, float] = {}
    for split in data.splits:
        suffix = split.removeprefix("test")
        for metric, value in score(data.task, predict(network, data, split)).items():
            scores[f"{metric}{suffix}"] = value
    return scores


def score(task: Task, predictions: Predictions) -> dict[str, float]:
    """Compute every metric of a task; a metric that is not defined on the predictions is NaN.

    Args:
        task: The task, with its labels.
        predictions: What `predict` returned.
    """
    # One process judges, also inside a distributed run: the others must not be waited for.
    metrics = task_metrics(task, sync_on_compute=False)
    outputs, targets = predictions.outputs, predictions.targets
    if task.kind == "tagging":
        words = torch.unique_consecutive(predictions.index, return_counts=True)[1].tolist()
        outputs = pad_sequence([*torch.split(outputs, words)], batch_first=True, padding_value=0)  # (sentences, words)
        targets = pad_sequence([*torch.split(targets, words)], batch_first=True, padding_value=_IGNORED)
    metrics.update(outputs, targets)
    values = metrics.compute()
    return {name: float(values[name]) for name in task.metrics}  # the task's order; torchmetrics sorts names


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
            callbacks=[_Progress(split)],
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
        inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "index")}
        with torch.autocast(network.device.type, enabled=False):
            logits: Tensor = network(**inputs).logits  # (B, C); tagging: (B, T, C)
        targets, rows = batch["labels"], batch["index"]
        index = rows
        if self.task.kind == "tagging":
            words = targets != _IGNORED  # (B, T)
            index = rows[:, None].expand_as(targets)[words]
            logits, targets = logits.argmax(-1)[words], targets[words]
        elif self.task.kind == "regression":
            logits = logits[:, 0]
        return logits.cpu(), targets.cpu(), index.cpu(), rows.cpu()


class _Progress(RichProgressBar):
    """A progress bar that names the set."""

    def __init__(self, split: str) -> None:
        super().__init__()
        self.split = split

    @property
    def predict_description(self) -> str:
        return f"Judging on {self.split}"


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
