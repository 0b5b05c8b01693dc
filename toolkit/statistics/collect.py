"""One pass of a network over a split, in evaluation mode and without gradients, that feeds statistics."""

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import Metric
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.data.batching import BatchLoader
from toolkit.evaluation.mode import evaluation_mode
from toolkit.evaluation.progress import PassProgress
from toolkit.models.pooling import Pooling
from toolkit.statistics.hidden_states import HiddenBatch, Precision, Statistic, Words, hidden_batch, word_starts
from toolkit.statistics.resume import (
    check_resumable,
    load_state,
    network_fingerprint,
    save_state,
    statistics_fingerprint,
)

SAVE_EVERY = timedelta(minutes=5)


def collect(
    network: PreTrainedModel,
    data: TaskData,
    statistics: Sequence[Statistic],
    *,
    split: str = "train",
    pooling: Pooling = "mean",
    words: Words = "labelled",
    trainer: Callable[..., Trainer] = Trainer,
    precision: Precision = "32-true",
    resume_file: Path | None = None,
    save_every: timedelta = SAVE_EVERY,
    fingerprint: str | None = None,
) -> None:
    """Feed statistics with the hidden states of every row of a split, in one pass.

    The processes of a distributed run share the batches, so that together they see each row once. At the end the
    metrics of torchmetrics are reduced as their states say: every process holds those of the whole split, and asking
    them for results takes no further communication. Memory does not depend on the number of rows, apart from what
    the statistics keep.

    Args:
        network: A network of `transformers`; it is left in its mode and on its device.
        data: The task's data.
        statistics: Metrics of torchmetrics, moved to the trainer's device, or others; none has seen a batch yet.
        split: ``train``, ``dev``, or one of ``data.splits``.
        pooling: What stands for a sentence (see `hidden_batch`).
        words: What stands for a word of a tagging task (see `hidden_batch`).
        trainer: Makes the trainer. Limits on its batches do not hold here.
        precision: Of the network: float32, whatever the network's or the trainer's is, or automatic mixed precision.
        resume_file: Where state is written from time to time and at the end, and read from at the start: a pass that
            was interrupted continues there with equal results, one that was complete reads nothing again. In a
            distributed run each process has its own, with its number as suffix. A file of another pass is ignored,
            with a warning, and replaced.
        save_every: Time between two savings.
        fingerprint: The network's `network_fingerprint`, if it is known: it takes as long as some sentences.

    Raises:
        ValueError: If the split is empty, a metric has seen batches before, or the trainer starts its processes by
            spawning or forking, from which metrics do not come back, or computes in a precision without float32.
        FloatingPointError: If a hidden state is not finite; the message names the layer.
        TypeError: If a statistic's state cannot be stored though ``resume_file`` is given.
    """
    if not len(data.split(split)):
        raise ValueError(f"split {split!r} of {data.task.name} has no rows to collect statistics of.")
    for statistic in statistics:
        if isinstance(statistic, Metric) and statistic.update_called:
            raise ValueError(f"{type(statistic).__name__} has seen batches before; make a new one or reset() it.")
    key: dict[str, str] | None = None
    if resume_file is not None:
        check_resumable(statistics)
        key = {
            "network": fingerprint or network_fingerprint(network),
            "data": data.fingerprint(split),
            "options": f"{split}, {pooling}, {words}, {precision}, batches of {data.eval_batch_size}",
            "statistics": statistics_fingerprint(statistics),
        }
    runner = trainer(
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=False,  # Tensors made in inference mode could not be updated in place later.
    )
    if runner.precision != "32-true" and not str(runner.precision).endswith("-mixed"):
        raise ValueError(f"trainer.precision={runner.precision} leaves no float32; give 32-true or a mixed one.")
    runner.limit_predict_batches = 1.0
    if (bar := runner.progress_bar_callback) is not None:
        named = PassProgress(f"Hidden states of {split}")
        runner.callbacks = [named if callback is bar else callback for callback in runner.callbacks]  # type: ignore[attr-defined]
    observed = network
    if network.dtype != torch.float32:
        observed = copy.deepcopy(network)
        nn.Module.to(observed, torch.float32)
    device = network.device
    module = _Pass(observed, data, statistics, split, resume_file, key, save_every)
    module.options = {"pooling": pooling, "words": words, "precision": precision}
    try:
        with evaluation_mode(observed):
            runner.predict(module, return_predictions=False)
    except SystemExit as ended:
        if runner.interrupted:  # Lightning turns Ctrl-C into an exit.
            raise KeyboardInterrupt from ended
        raise
    finally:
        nn.Module.to(network, device)


class _Pass(LightningModule):
    """The prediction step of a pass. Tuples hide network and statistics from Lightning, which casts modules."""

    options: dict[str, Any]

    def __init__(
        self,
        network: PreTrainedModel,
        data: TaskData,
        statistics: Sequence[Statistic],
        split: str,
        resume_file: Path | None,
        key: Mapping[str, str] | None,
        save_every: timedelta,
    ) -> None:
        super().__init__()
        self.networks = (network,)
        self.data = data
        self.statistics = tuple(statistics)
        self.split = split
        self.resume_file = resume_file
        self.key = dict(key or {})
        self.save_every = save_every.total_seconds()
        self.done = 0  # batches of this process
        self.process = os.getpid()
        self.starts: Tensor | None = None

    def setup(self, stage: str) -> None:
        """Move everything to this process's device, and continue where an earlier attempt ended."""
        if os.getpid() != self.process:
            raise ValueError(
                "trainer.strategy spawns or forks its processes, from which statistics do not come back; use ddp."
            )
        device = self.trainer.strategy.root_device
        nn.Module.to(self.networks[0], device)
        for statistic in self.statistics:
            if isinstance(statistic, Metric):
                statistic.to(device)
        if self.data.task.kind == "tagging":
            self.starts = word_starts(self.data.split(self.split)).to(device)
        if self.resume_file is not None:
            if self.global_rank:
                self.resume_file = self.resume_file.with_name(f"{self.resume_file.name}.{self.global_rank}")
            self.key["processes"] = f"{self.global_rank} of {self.trainer.world_size}"
            self.done, unused = load_state(self.resume_file, self.key, self.statistics)
            if unused:
                rank_zero_warn(f"{self.resume_file} is ignored and the pass starts anew: {unused}.")
        self.saved_at = time.monotonic()

    def predict_dataloader(self) -> "_Batches":
        """This process's share, as far as it is not done."""
        return _Batches(self.data.share(self.split, self.global_rank, self.trainer.world_size), self.done)

    def predict_step(self, batch: dict[str, Tensor] | None, batch_idx: int) -> bool:
        """Feed the statistics with a batch, if it was not done before."""
        if batch is None:
            return False
        hidden = hidden_batch(
            self.networks[0],
            batch,
            self.data.task.kind,
            word_label=self.data.word_label,
            starts=self.starts,
            **self.options,
        )
        self._check_finite(hidden)
        for statistic in self.statistics:
            statistic.observe(hidden)
        self.done += 1
        if time.monotonic() - self.saved_at >= self.save_every:
            self._save()
        return True

    def _check_finite(self, hidden: HiddenBatch) -> None:
        # NaN and infinity reach the extremes; a mask of all values would take twenty times as long. What is no number
        # in padding or special tokens is in the sentences' means.
        vectors = [states for states in (hidden.tokens, hidden.sentences) if states.numel()]
        extremes = [torch.stack([torch.stack(layer.aminmax()) for layer in states]) for states in vectors]  # (L, 2)
        finite = torch.cat(extremes, -1).isfinite().all(-1)
        if not finite.all():
            raise FloatingPointError(
                f"The hidden states of layer {int(finite.int().argmin())} have NaN or infinite entries, in batch "
                f"{self.done} of {self.split}"
                + (
                    "; check the network's weights."
                    if self.options["precision"] == "32-true"
                    else f" at precision {self.options['precision']}; compute in 32-true."
                )
            )

    def on_predict_end(self) -> None:
        """Save, and give every process the sums of all."""
        self._save()
        for statistic in self.statistics:
            if isinstance(statistic, Metric):
                hold_total(statistic, self.trainer.world_size)
        self.trainer.strategy.barrier("statistics")

    def _save(self) -> None:
        if self.resume_file is not None:
            save_state(self.resume_file, self.key, self.done, self.statistics)
        self.saved_at = time.monotonic()


def hold_total(metric: Metric, world_size: int = 1) -> None:
    """Reduce a metric's states over the processes for good; its results then take no communication.

    Args:
        metric: Holds this process's share if there are several processes, else the whole.
        world_size: Number of processes.
    """
    if world_size > 1:
        updates = max(1, metric.update_count)  # also of a process that had no batch
        metric.sync(dist_sync_fn=metric.dist_sync_fn, distributed_available=lambda: True)
        total = metric.metric_state
        metric.unsync()
        for name, value in total.items():
            setattr(metric, name, value)
        metric._update_count = updates
    metric.distributed_available_fn = _alone


def _alone() -> bool:
    return False


class _Batches:
    """A process's batches, and None for each that was done before: the progress bar counts those, too.

    Lightning rebuilds the sampler of a DataLoader that it predicts from; of this it cannot. A process without a batch,
    which Lightning would let go before the others, gets a None as well.
    """

    def __init__(self, loader: BatchLoader, done: int) -> None:
        self.loader = loader
        self.done = done

    def __iter__(self) -> Iterator[dict[str, Tensor] | None]:
        yield from [None] * (self.done if len(self.loader) else 1)
        if self.done < len(self.loader):
            self.loader.load_state_dict({"batches": self.done})
            yield from self.loader

    def __len__(self) -> int:
        return max(1, len(self.loader))
