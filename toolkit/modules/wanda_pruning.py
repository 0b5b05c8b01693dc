"""Pruning by weights and activations (Wanda: Sun et al. 2023, https://arxiv.org/abs/2306.11695), then recovery."""

from collections.abc import Iterator

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from toolkit.data.batching import Collate, evaluation_loader
from toolkit.data.task_data import TaskData
from toolkit.models.inputs import network_inputs
from toolkit.modules.distillation import Distillation
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.training import Training
from toolkit.pruning import masks
from toolkit.pruning.activations import input_norms, wanda_scores
from toolkit.pruning.schedules import Schedule
from toolkit.tasks import Task


class WandaPruning(MagnitudePruning):
    r"""Zero the weights of least :math:`|W_{ij}| \, \lVert X_j \rVert_2`, by a schedule, for good.

    The norms are those of the layers' inputs over some sentences that are trained on, measured whenever weights are
    pruned. Those sentences are drawn from the seed, the same ones in every process; dev and judged sets are never read.
    The paper prunes once, compares within each output, and trains no more; here, as with every method, the pattern is
    fixed after a part of the training and the rest recovers.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        targets: Regular expression, searched in the names of the weight matrices of the transformer blocks: what may be
            pruned. Embeddings, normalisations, biases, pooler and head never are.
        sparsity: Share of the targets that is zero at the end, in [0, 1); null where ``pattern`` is N:M.
        pattern: How the zeros lie: ``unstructured``, N:M such as ``2:4`` (two of four neighbours are kept), or blocks
            of outputs and inputs such as ``8x8``, scored by the sum over their weights.
        calibration: Sentences over which inputs are measured.
        schedule: ``one_shot`` at the end of the window, ``iterative`` in equal rounds, ``gradual`` along a cubic curve.
        scope: ``row`` compares the scores of each output, ``layer`` those within each matrix, ``global`` all of them.
        rounds: Of the iterative schedule.
        interval: Steps between two prunings of the gradual schedule.
        prune_start: Share of the steps after which pruning begins.
        prune_fraction: Share of the steps after which the pattern is fixed.
        training: How the weights are trained.
        distillation: What is learned from a teacher beside the labels.

    Raises:
        ValueError: If an option is out of range, ``targets`` matches nothing or something else than linear layers, or
            the pattern does not fit the targets.
    """

    def __init__(
        self,
        task: Task,
        network: str = "minilm",
        targets: str = ".*",
        sparsity: float | None = 0.8,
        pattern: str = "unstructured",
        calibration: int = 128,
        schedule: Schedule = "one_shot",
        scope: masks.Scope = "row",
        rounds: int = 10,
        interval: int = 10,
        prune_start: float = 0.1,
        prune_fraction: float = 0.6,
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        if calibration < 1:
            raise ValueError(f"model.calibration is a number of sentences, at least 1, but got {calibration}.")
        super().__init__(
            task,
            network,
            targets,
            sparsity,
            pattern,
            schedule,
            scope=scope,
            rounds=rounds,
            interval=interval,
            prune_start=prune_start,
            prune_fraction=prune_fraction,
            training=training,
            distillation=distillation,
        )
        self.calibration = calibration
        self.layers = self.linear_layers("Wanda")

    def setup(self, stage: str) -> None:
        """Make sure that there are sentences to calibrate on.

        Raises:
            ValueError: If the trainer has no data module that knows them.
        """
        super().setup(stage)
        if stage == "fit":
            self._data()

    def calibration_rows(self) -> datasets.Dataset:
        """The sentences over which inputs are measured: of the training split, drawn from the seed."""
        rows = self._data().split("train")
        drawn = np.random.default_rng(self.seed).permutation(len(rows))[: self.calibration]
        return rows.select(np.sort(drawn))

    def _scores(self, optimizer: Optimizer) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, enabled=False):
            norms = input_norms(self.network, self.layers, self._batches())
        if broken := [name for name, norm in norms.items() if not torch.isfinite(norm).all()]:
            raise FloatingPointError(
                f"The inputs of {broken[0]} are not finite at optimizer step {self.trainer.global_step}; lower "
                "model.training.learning_rate or set trainer.gradient_clip_val."
            )
        return self.without_pruned({name: wanda_scores(weight, norms[name]) for name, weight in self.weights.items()})

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        data = self._data()
        collate = Collate(data.tokenizer, data.task.kind)
        for batch in evaluation_loader(self.calibration_rows(), collate, data.eval_batch_size):
            yield {name: tensor.to(self.device) for name, tensor in network_inputs(batch).items()}

    def _data(self) -> TaskData:
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, TaskData):
            raise ValueError("Wanda calibrates on sentences of the training set; fit with datamodule=TaskData(…).")
        return data
