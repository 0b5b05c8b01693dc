"""What a training cost: examples seen, multiply-accumulates, peak memory; and the precision it was done in."""

import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.evaluation import costs


class Meter(Callback):
    """Counts what passes through a training, over all processes and over its interruptions.

    Attributes:
        examples: Sentences, or pairs, that were trained on; one that comes twice counts twice.
        positions: Positions of their batches, padding among them.
        precisions: That the training was done in, as the trainer calls them: more than one if it was interrupted and
            went on where the hardware computes otherwise.
    """

    def __init__(self) -> None:
        self.examples = 0
        self.positions = 0
        self.precisions: list[str] = []
        self.seconds = 0.0  # of trainings that were interrupted
        self._started = time.perf_counter()
        self._macs: int | None = None  # of a step on one sentence of the mean length

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the precision, and count the operations of a training that was interrupted after its last step.

        The end of such a training does not come again.
        """
        self.on_train_end(trainer, pl_module)
        precision = str(trainer.precision)
        if precision in self.precisions:
            return
        if self.precisions:
            rank_zero_warn(
                f"The training began in {self.precisions[-1]} and goes on in {precision}: it will not end with the "
                "weights of one that was never interrupted."
            )
        self.precisions.append(precision)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the operations while the network still has the shape that it was trained in."""
        if self.examples:
            network: Any = pl_module.network
            self._macs = costs.training_macs(network, length=self._length())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, torch.Tensor], batch_idx: int
    ) -> None:
        """Count a batch: those of the other processes are as large as this one's."""
        sentences, length = batch["input_ids"].shape
        self.examples += sentences * trainer.world_size
        self.positions += sentences * length * trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training goes on from."""
        return {
            "examples": self.examples,
            "positions": self.positions,
            "precisions": self.precisions,
            "seconds": self.elapsed(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.examples, self.positions = state_dict["examples"], state_dict["positions"]
        self.precisions = list(state_dict.get("precisions", []))  # Earlier versions did not note them.
        self.seconds = state_dict["seconds"]

    def elapsed(self) -> float:
        """Seconds since this was made, and those of the trainings that it goes on from, up to their checkpoints."""
        return self.seconds + time.perf_counter() - self._started

    def results(self, network: PreTrainedModel) -> dict[str, int | str]:
        """What a report says of it.

        Args:
            network: What was trained, on its device, with the weights frozen that were.

        Returns:
            ``training_precision``; ``examples_seen``; ``training_macs``, the multiply-accumulates of a forward and a
            backward pass over a sentence of the mean length, padding included, times the examples (teachers are not
            counted); and ``peak_memory`` of the process in bytes, on a GPU that of its tensors.
        """
        if not self.examples:
            return {}
        macs = self._macs if self._macs is not None else costs.training_macs(network, length=self._length())
        return {
            "training_precision": ", ".join(self.precisions),
            "examples_seen": self.examples,
            "training_macs": self.examples * macs,
            "peak_memory": peak_memory(network.device),
        }

    def _length(self) -> int:
        return max(1, round(self.positions / self.examples))


def selection_cost(
    network: PreTrainedModel, data: TaskData, splits: Sequence[str], seconds: float
) -> dict[str, int | float]:
    """What it cost to choose a part of a network by what it computes; probes on its hidden states are not counted.

    Args:
        network: The whole network, which read the sentences once.
        data: Of the task.
        splits: That were read.
        seconds: That it took in all.

    Returns:
        ``selection_seconds``, ``selection_examples``, and ``selection_macs``: forward passes over so many sentences of
        the mean length, without padding.
    """
    lengths = [len(ids) for split in splits for ids in data.split(split)["input_ids"]]
    length = max(1, round(sum(lengths) / len(lengths)))
    return {
        "selection_seconds": round(seconds, 3),
        "selection_examples": len(lengths),
        "selection_macs": len(lengths) * costs.macs(network, length=length),
    }


def peak_memory(device: torch.device) -> int:
    """Most memory that this process has held so far, in bytes.

    Args:
        device: A GPU: what was allocated for tensors there. Else: the resident set of the process, all that was loaded
            and computed in it before included.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # Not on Windows, where nothing else here is missing.

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere
