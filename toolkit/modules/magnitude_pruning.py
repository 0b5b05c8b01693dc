"""Pruning by a score of each weight, once, in rounds or gradually: the baselines of proximal pruning."""

from typing import Literal

from torch import Tensor
from torch.optim import Optimizer

from toolkit.modules.distillation import Distillation
from toolkit.modules.training import Training
from toolkit.modules.weight_pruning import WeightPruning
from toolkit.options.idle import refuse_idle
from toolkit.pruning import masks
from toolkit.pruning.patterns import prune_pattern
from toolkit.pruning.schedules import Schedule, scheduled_sparsity
from toolkit.tasks import Task


class MagnitudePruning(WeightPruning):
    r"""Zero the weights that score least, by a schedule, and never let them come back.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        targets: Regular expression, searched in the names of the weight matrices of the transformer blocks: what may be
            pruned. Embeddings, normalisations, biases, pooler and head never are.
        sparsity: Share of the targets that is zero at the end, in [0, 1); null where ``pattern`` is N:M.
        pattern: How the zeros lie: ``unstructured``, N:M such as ``2:4`` (two of four neighbours are kept), or blocks
            of outputs and inputs such as ``8x8``, scored by the sum over their weights.
        schedule: ``gradual`` along a cubic curve (Zhu and Gupta 2017), ``iterative`` in equal rounds (NIP of the RPP
            paper), ``one_shot`` at the end of the window.
        score: ``magnitude`` |w|, or ``curvature`` w²·d, d being Adam's metric.
        scope: ``global`` compares the scores of all targets, ``layer`` those within each matrix, ``row`` those of each
            of its outputs.
        rounds: Of the iterative schedule.
        interval: Steps between two prunings of the gradual schedule.
        prune_start: Share of the steps after which pruning begins.
        prune_fraction: Share of the steps after which the pattern is fixed.
        training: How the weights are trained.
        distillation: What is learned from a teacher beside the labels.

    Raises:
        ValueError: If an option is out of range or ``targets`` matches nothing.
    """

    def __init__(
        self,
        task: Task,
        network: str = "minilm",
        targets: str = ".*",
        sparsity: float | None = 0.8,
        pattern: str = "unstructured",
        schedule: Schedule = "gradual",
        score: Literal["magnitude", "curvature"] = "magnitude",
        scope: masks.Scope = "global",
        rounds: int = 10,
        interval: int = 10,
        prune_start: float = 0.1,
        prune_fraction: float = 0.6,
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        if rounds < 1 or interval < 1:
            raise ValueError(f"model.rounds and model.interval must be positive, but got {rounds} and {interval}.")
        super().__init__(task, network, targets, sparsity, pattern, prune_start, prune_fraction, training, distillation)
        if self.sparsity is None:
            raise ValueError("model.sparsity is null, which only an N:M pattern makes up for; give a share in [0, 1).")
        if schedule != "iterative":
            refuse_idle(MagnitudePruning, {"rounds": rounds}, f"model.schedule={schedule}")
        if schedule != "gradual":
            refuse_idle(MagnitudePruning, {"interval": interval}, f"model.schedule={schedule}")
        if scope == "row":
            self.linear_layers("model.scope=row")
        self.pruning_schedule: Schedule = schedule
        self.score = score
        self.scope: masks.Scope = scope
        self.rounds = rounds
        self.interval = interval

    def prune_step(self, optimizer: Optimizer, step: int) -> None:
        """Prune more where the schedule wants it; the end of the window is :meth:`final_pattern`'s."""
        start, end = self.window()
        due = step < end and (self.pruning_schedule != "gradual" or (step - start) % self.interval == 0)
        wanted = self._wanted((step - start) / (end - start))
        if due and wanted > self._wanted((step - 1 - start) / (end - start)):
            self.hold(self._pattern(optimizer, wanted), optimizer)

    def final_pattern(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """Prune to the wanted sparsity."""
        return self._pattern(optimizer, self._wanted(1.0))

    def _wanted(self, progress: float) -> float:
        assert self.sparsity is not None  # The constructor says so.
        return scheduled_sparsity(self.pruning_schedule, progress, self.sparsity, self.rounds)

    def _pattern(self, optimizer: Optimizer, sparsity: float) -> dict[str, Tensor]:
        return prune_pattern(self._scores(optimizer), sparsity, self.pattern, self.scope)

    def _scores(self, optimizer: Optimizer) -> dict[str, Tensor]:
        return self.scores(optimizer, self.score == "curvature")
