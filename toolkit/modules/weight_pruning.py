"""What the modules that zero single weights share: targets, window of steps, pattern, and keeping it."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from toolkit.models.encoder import prunable_weights
from toolkit.modules.distillation import Distillation
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.held_zeros import HeldZeros
from toolkit.modules.training import Training
from toolkit.modules.window import check_window, window_steps
from toolkit.pruning import masks
from toolkit.pruning.curvature import adam_metric, saliency, typical_gradient
from toolkit.pruning.patterns import Grouped, check_pattern, parse_pattern
from toolkit.tasks import Task

SAMPLE = 2**17  # Quantiles of millions of weights are estimated on about so many: to a tenth of a per cent.


class WeightPruning(FineTuning, ABC):
    """Fine-tune while weights are driven to zero, then with the pattern of zeros fixed.

    Of the run's S optimizer steps, the pattern is sought in the window (S * prune_start, S * prune_fraction] and kept
    in the rest, the recovery. Everything happens in a hook after the optimizer's step: with the right learning rate,
    before validation and checkpoint, and not for steps that were skipped.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        targets: Regular expression, searched in the names of the weight matrices of the transformer blocks: what may be
            pruned. Embeddings, normalisations, biases, pooler and head never are.
        sparsity: Share of the targets that is zero at the end, in [0, 1); null where something else says it.
        pattern: How the zeros lie: ``unstructured``, N:M such as ``2:4``, which makes its own sparsity, or blocks of
            outputs and inputs such as ``8x8``.
        prune_start: Share of the steps after which pruning begins.
        prune_fraction: Share of the steps after which the pattern is fixed.
        training: How the weights are trained.
        distillation: What is learned from a teacher beside the labels.

    Raises:
        ValueError: If an option is out of range, ``targets`` matches nothing, or the pattern does not fit the targets.
    """

    def __init__(
        self,
        task: Task,
        network: str = "minilm",
        targets: str = ".*",
        sparsity: float | None = 0.8,
        pattern: str = "unstructured",
        prune_start: float = 0.1,
        prune_fraction: float = 0.6,
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        lies = parse_pattern(pattern)
        if isinstance(lies, Grouped):
            if sparsity is not None and abs(sparsity - lies.sparsity) > 1e-3:
                raise ValueError(
                    f"model.pattern={pattern} makes a sparsity of {lies.sparsity:.4g}, but model.sparsity is "
                    f"{sparsity}; set model.sparsity=null."
                )
            sparsity = lies.sparsity
        if sparsity is not None and not 0 <= sparsity < 1:
            hint = f"; for {sparsity:g} % give {sparsity / 100:g}" if 1 < sparsity < 100 else ""
            raise ValueError(
                f"model.sparsity must lie in [0, 1), the share of weights to prune, but got {sparsity}{hint}."
            )
        check_window(prune_start, prune_fraction)
        super().__init__(task, network, training, distillation)
        self.targets = targets
        self.sparsity = sparsity
        self.prune_start = prune_start
        self.prune_fraction = prune_fraction
        self.weights: dict[str, Parameter] = prunable_weights(self.network, targets)
        self.pattern = lies
        if self.pattern is not None:
            self.linear_layers(f"model.pattern={pattern}")
            check_pattern(self.pattern, self.weights)
        self._brought = self.held.pruned  # Zeros that the network came with, where they are held.
        self.held = HeldZeros(self.held.weights | self.weights, self._brought)
        if self._brought and sparsity is not None and not isinstance(self.pattern, Grouped):
            brought = masks.sparsity(self.weights)
            if round(brought, 4) > round(sparsity, 4):
                raise ValueError(
                    f"model.sparsity={sparsity} is less than the {brought:.4f} of the targets that {network} brings as "
                    "zeros; raise it, or set model.training.hold_zeros=false."
                )
        self.fixed = False
        self.natural_sparsity: float | None = None
        self._score_memory: dict[str, Tensor] = {}
        self._infinities: dict[tuple[int, ...], Tensor] = {}

    checkpointed: frozenset[str] = frozenset({"pruned", "fixed", "natural_sparsity"})
    """What a checkpoint has of the pruning."""

    @abstractmethod
    def prune_step(self, optimizer: Optimizer, step: int) -> None:
        """Shrink or prune after optimizer step ``step`` (counted from 1) of the window."""

    @abstractmethod
    def final_pattern(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """The pattern to fix: name of a weight → True where it is pruned."""

    @property
    def pruned(self) -> dict[str, Tensor]:
        """Name of a target → boolean tensor, True where the weight is held at zero."""
        return {name: pruned for name, pruned in self.held.pruned.items() if name in self.weights}

    def linear_layers(self, option: str) -> dict[str, nn.Linear]:
        """The layers that the targets belong to.

        Args:
            option: What needs them to be linear layers, for the error.

        Returns:
            Name of a weight → its layer.

        Raises:
            ValueError: If a target is no matrix of a linear layer, (outputs, inputs).
        """
        layers = {}
        for name in self.weights:
            layer = self.network.get_submodule(name.rpartition(".")[0])
            if not isinstance(layer, nn.Linear):
                raise ValueError(
                    f"{option} is for linear layers, whose weights are (outputs, inputs); {name} belongs to "
                    f"{type(layer).__name__}. Leave it out by model.targets, or choose another option."
                )
            layers[name] = layer
        return layers

    def window(self) -> tuple[int, int]:
        """First step after which nothing is pruned yet, and the step after which the pattern is fixed."""
        return window_steps(self.prune_start, self.prune_fraction, self.num_steps)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer of fine-tuning, with a hook after its step.

        Raises:
            ValueError: If a target is frozen: it would be pruned without ever being trained.
        """
        frozen = [name for name, weight in self.weights.items() if not weight.requires_grad]
        if frozen:
            raise ValueError(f"{len(frozen)} of the targets are frozen, such as {frozen[0]}; choose model.targets.")
        configured: Any = super().configure_optimizers()
        configured["optimizer"].register_step_post_hook(self._after_step)
        return configured  # type: ignore[no-any-return]

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        step = self.trainer.global_step + 1
        start, end = self.window()
        if start < step <= end and not self.fixed:
            self.prune_step(optimizer, step)
        if step >= end and not self.fixed:
            self._fix(optimizer)

    def _fix(self, optimizer: Optimizer) -> None:
        self.natural_sparsity = masks.sparsity(self.weights)
        self.hold(self.final_pattern(optimizer), optimizer)
        self.fixed = True
        self._score_memory, self._infinities = {}, {}

    def hold(self, pruned: dict[str, Tensor], optimizer: Optimizer) -> None:
        """Zero the pruned weights, and those that the network brought as zeros, and keep them zero from now on."""
        brought = self._brought
        self.held.hold(
            {name: dead | brought[name].to(dead.device) if name in brought else dead for name, dead in pruned.items()},
            optimizer,
        )

    def on_train_epoch_end(self) -> None:
        """Log the sparsity of the targets.

        Raises:
            RuntimeError: If the optimizer moved a dead weight.
        """
        super().on_train_epoch_end()
        self.log("sparsity", masks.sparsity(self.weights), prog_bar=True)

    def on_train_end(self) -> None:
        """Fix the pattern also where training was stopped before its time."""
        self._fix_early()

    def on_fit_end(self) -> None:
        """Fix it also where a run was resumed that may not go on, as of ``trainer.max_time``: no training ends then."""
        if not self.fixed:
            self.to_weights()  # Lightning has moved them, and what the optimizer remembers, to the CPU.
            self._fix_early()

    @torch.no_grad()
    def _fix_early(self) -> None:
        if not self.fixed and self.trainer.optimizers:
            rank_zero_warn(
                f"Training ended at step {self.trainer.global_step}, before the pattern was to be fixed at step "
                f"{self.window()[1]}: it is fixed now, without recovery."
            )
            self._fix(self.trainer.optimizers[0])

    def scores(self, optimizer: Optimizer, curvature: bool, floor: float = 0.05) -> dict[str, Tensor]:
        """Score the weights: |w|, or with ``curvature`` the saliency w²·d in Adam's metric.

        Args:
            optimizer: Remembers the second moments.
            curvature: Which of the two.
            floor: Of Adam's metric.

        Returns:
            Name of a weight → its scores; the weights held at zero score -inf, so that they stay pruned.
        """
        if curvature:
            typical = self.typical_gradient(optimizer)
            scores = {
                name: adam_metric(second_moment(optimizer, weight), typical, floor, out=self._score_room(name))
                for name, weight in self.weights.items()
            }
            for name, weight in self.weights.items():
                saliency(weight, scores[name], out=scores[name])
        else:
            scores = {name: torch.abs(weight, out=self._score_room(name)) for name, weight in self.weights.items()}
        return self.without_pruned(scores)

    def without_pruned(self, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let the weights that are held at zero score -inf, so that they stay pruned.

        Args:
            scores: Name of a weight → its scores, which are left as they are unless they are in this module's memory.

        Returns:
            The scores, in memory that the next pruning uses again.
        """
        # To subtract 0 from the living and infinity from the others takes a quarter of the time of filling by a mask.
        found = {}
        for name, score in scores.items():
            found[name] = score
            if name in self.held.pruned:
                shape = tuple(score.shape)
                if shape not in self._infinities:
                    self._infinities[shape] = torch.empty_like(score)
                infinite = torch.reciprocal(self.held.living(name), out=self._infinities[shape]).sub_(1)
                found[name] = torch.sub(score, infinite, out=self._score_room(name))
        return found

    def _score_room(self, name: str) -> Tensor:
        """Memory for the scores of a weight: fresh memory at every pruning would take ten times the time to write."""
        weight = self.weights[name]
        room = self._score_memory.get(name)
        if room is None or room.device != weight.device:
            room = self._score_memory[name] = torch.empty_like(weight, requires_grad=False)
        return room

    def typical_gradient(self, optimizer: Optimizer) -> float:
        """The median of √v̂ over the living weights, estimated on a sample."""
        stride = self._stride()
        pruned = self.pruned
        moments = [
            second_moment(optimizer, weight).flatten()[::stride][~pruned[name].flatten()[::stride]]
            if name in pruned
            else second_moment(optimizer, weight).flatten()[::stride]
            for name, weight in self.weights.items()
        ]
        return typical_gradient(torch.cat(moments))

    def _stride(self) -> int:
        return 1 + sum(weight.numel() for weight in self.weights.values()) // SAMPLE

    def results(self) -> dict[str, Any]:
        """The sparsity of the targets, where they are not all prunable weights, whose sparsity is reported anyway."""
        return {} if self.targets == ".*" else {"sparsity_of_targets": masks.sparsity(self.weights)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the pattern into the checkpoint.

        It is no buffer: DistributedDataParallel sends every buffer around at every step.
        """
        checkpoint["pruning"] = {
            "pruned": self.held.pruned,
            "fixed": self.fixed,
            "natural_sparsity": self.natural_sparsity,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the pattern out of the checkpoint.

        Args:
            checkpoint: As Lightning loaded it.

        Raises:
            ValueError: If it is one of another method.
        """
        super().on_load_checkpoint(checkpoint)
        state = checkpoint.get("pruning")
        if state is None or not self.checkpointed <= state.keys():
            raise ValueError(
                f"The checkpoint is not one of {type(self).__name__}: it lacks the state of its pruning. Give one that "
                "a run of the same recipe wrote."
            )
        self.held.pruned = state["pruned"]
        self.fixed = state["fixed"]
        self.natural_sparsity = state["natural_sparsity"]


def second_moment(optimizer: Optimizer, weight: Parameter) -> Tensor:
    """Adam's running mean of squared gradients.

    Raises:
        ValueError: If the optimizer keeps none, or has none yet.
    """
    state = optimizer.state.get(weight, {})
    if not state and any(optimizer.state.values()):
        raise ValueError(
            f"A target of shape {tuple(weight.shape)} has had no gradient: the network does not use it. Leave it "
            "out by model.targets."
        )
    moment = state.get("exp_avg_sq")
    if moment is None:
        untrained = "" if state else ", or training ended before its first step; train for longer, or"
        raise ValueError(
            f"Curvature is read from Adam's second moment, but {type(optimizer).__name__} keeps none"
            f"{untrained or ';'} choose model.metric=euclidean or model.score=magnitude."
        )
    return moment  # type: ignore[no-any-return]
