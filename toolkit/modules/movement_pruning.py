"""Movement pruning and soft movement pruning (Sanh et al. 2020, https://arxiv.org/abs/2005.07683)."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from toolkit.modules.distillation import Distillation
from toolkit.modules.held_zeros import as_numbers
from toolkit.modules.training import Training
from toolkit.modules.weight_pruning import WeightPruning
from toolkit.options.idle import refuse_idle
from toolkit.pruning import masks
from toolkit.pruning.movement import movement_gradient, prune_below, score_penalty_gradient
from toolkit.pruning.patterns import prune_pattern
from toolkit.pruning.schedules import Schedule, cubic_sparsity, scheduled_sparsity
from toolkit.tasks import Task


class MovementPruning(WeightPruning):
    r"""Learn beside every weight a score, hide the weights of the lowest scores, and at last prune them.

    From the first step to the end of the window, the network computes with :math:`w \odot m(S)`; hidden weights are not
    lost, gradients train their scores alone, and they may come back (:mod:`toolkit.pruning.movement`). As in the
    released code, decay and what is left of Adam's momentum still move them. The share that is hidden rises by a
    schedule. At the end of the window the hidden weights are set to zero for good, and the scores are given up.

    Between two steps the weights are there as they are, not masked: optimizer and checkpoints never see a mask.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        targets: Regular expression, searched in the names of the weight matrices of the transformer blocks: what may be
            pruned. Embeddings, normalisations, biases, pooler and head never are.
        sparsity: Share of the targets that is zero at the end, in [0, 1); null where ``pattern`` is N:M, or for
            ``mode=soft`` with its ``threshold``, where sparsity is a result.
        pattern: How the zeros lie: ``unstructured``, N:M such as ``2:4`` (two of four neighbours are kept), or blocks
            of outputs and inputs such as ``8x8``, scored by the sum over their weights.
        schedule: By which the hidden share rises: ``gradual`` along a cubic curve (the paper; Zhu and Gupta 2017),
            ``iterative`` in equal rounds, ``one_shot`` at the end of the window, until which scores are learned only.
        mode: ``hard`` hides the lowest scores; ``soft`` also pulls all scores down by a penalty.
        scope: ``global`` compares the scores of all targets, ``layer`` those within each matrix, ``row`` those of each
            of its outputs.
        score_optimizer: ``adam`` trains the scores as the weights, without decay, as the released code does; ``sgd``
            sums gradients, the equation of the paper.
        score_learning_rate: Of the scores, at the end of the warm-up; rises and falls with that of the weights.
        penalty: λ of the soft mode, at the end of the window.
        threshold: τ of the soft mode without a ``sparsity``, at the end of the window: σ(S) ≤ τ is hidden.
        rounds: Of the iterative schedule.
        interval: Steps between two choices of the weights that are hidden.
        prune_start: Share of the steps after which weights begin to be hidden; scores are learned from the first.
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
        schedule: Schedule = "gradual",
        mode: Literal["hard", "soft"] = "hard",
        scope: masks.Scope = "global",
        score_optimizer: Literal["adam", "sgd"] = "adam",
        score_learning_rate: float = 1e-2,
        penalty: float = 400.0,
        threshold: float = 0.1,
        rounds: int = 10,
        interval: int = 10,
        prune_start: float = 0.1,
        prune_fraction: float = 0.6,
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        if rounds < 1 or interval < 1:
            raise ValueError(f"model.rounds and model.interval must be positive, but got {rounds} and {interval}.")
        if score_learning_rate <= 0:
            raise ValueError(f"model.score_learning_rate must be positive, but got {score_learning_rate}.")
        if penalty < 0:
            raise ValueError(f"model.penalty must not be negative, but got {penalty}.")
        if not 0 < threshold < 1:
            raise ValueError(f"model.threshold is compared with σ(S) and must lie in (0, 1), but got {threshold}.")
        super().__init__(task, network, targets, sparsity, pattern, prune_start, prune_fraction, training, distillation)
        if self.sparsity is None and (mode == "hard" or self.pattern is not None):
            raise ValueError(
                "model.sparsity is null, which an N:M pattern or model.mode=soft with an unstructured pattern makes up "
                f"for, but not mode {mode} with pattern {pattern}; give a share in [0, 1)."
            )
        if mode == "hard":
            refuse_idle(MovementPruning, {"penalty": penalty}, "model.mode=hard")
        if self.sparsity is not None or self.pattern is not None:
            said = "model.pattern" if sparsity is None else "model.sparsity"
            refuse_idle(MovementPruning, {"threshold": threshold}, f"{said}, which says how much is hidden")
        if schedule != "iterative":
            refuse_idle(MovementPruning, {"rounds": rounds}, f"model.schedule={schedule}")
        if scope == "row":
            self.linear_layers("model.scope=row")
        self.pruning_schedule: Schedule = schedule
        self.mode = mode
        self.scope: masks.Scope = scope
        self.score_optimizer = score_optimizer
        self.score_learning_rate = score_learning_rate
        self.penalty = penalty
        self.threshold = threshold
        self.rounds = rounds
        self.interval = interval
        # No parameters of the module: DistributedDataParallel would wait for their gradients after they are given up.
        # Theirs follow from those of the weights, which it has averaged already.
        self.movement = {name: Parameter(torch.zeros_like(weight)) for name, weight in self.weights.items()}
        self.shown: dict[str, Tensor] = {}  # m: 1 where the weight is shown to the network, 0 where it is hidden.
        self._dense: dict[str, Tensor] = {}  # The weights themselves, while the network has masked ones.
        self._memory: dict[str, Tensor] = {}  # Masked weights, then the gradients of scores.

    checkpointed = WeightPruning.checkpointed | {"movement", "shown"}

    def schedule(self, optimizer: Any) -> LambdaLR:
        """The schedule of fine-tuning; with Adam the scores are trained under it, too."""
        if self.fixed:
            self._give_up(optimizer)
        for name, score in self.movement.items():
            score.data = score.data.to(self.weights[name].device)
        if self.score_optimizer == "adam":
            optimizer.add_param_group(
                {"params": list(self.movement.values()), "lr": self.score_learning_rate, "weight_decay": 0.0}
            )
        return super().schedule(optimizer)

    def to_weights(self) -> None:
        """Put scores and masks there, too."""
        super().to_weights()
        self.shown = {name: shown.to(self.weights[name].device) for name, shown in self.shown.items()}
        for name, score in self.movement.items():
            score.data = score.data.to(self.weights[name].device)
        self._memory = {}

    def on_train_batch_start(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Give the network the masked weights."""
        super().on_train_batch_start(batch, batch_idx)
        self._hide()

    def on_after_backward(self) -> None:
        """Take the weights back; what backward left in them is the gradient of the masked ones."""
        self._unhide()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Derive the gradients of the scores, and drop those of hidden weights."""
        super().on_before_optimizer_step(optimizer)
        if self.fixed:
            return
        with torch.no_grad():
            for name, weight in self.weights.items():
                if weight.grad is None:
                    continue
                gradient = movement_gradient(weight.grad, weight, out=self._room(name))
                if self.mode == "soft":
                    count = sum(score.numel() for score in self.movement.values())
                    gradient += score_penalty_gradient(self.movement[name], self.penalty * self._progress(), count)
                if name in self.shown:
                    weight.grad.mul_(self.shown[name])

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients of the weights, then train the scores by theirs, which are not clipped."""
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        if self.fixed:
            return
        rate = self.score_learning_rate * optimizer.param_groups[0]["lr"] / self.training_options.learning_rate
        for name, score in self.movement.items():
            if self.weights[name].grad is None:
                continue
            if self.score_optimizer == "adam":
                score.grad = self._room(name)
            else:
                score.data.sub_(self._room(name), alpha=rate)

    def on_validation_start(self) -> None:
        """Judge the masked network."""
        self._hide()

    def on_validation_epoch_end(self) -> None:
        """Log the scores, and take the weights back, before a checkpoint is written."""
        super().on_validation_epoch_end()
        self._unhide()

    def on_test_start(self) -> None:
        """Judge the masked network."""
        self._hide()

    def on_test_end(self) -> None:
        """Take the weights back."""
        self._unhide()

    def on_predict_start(self) -> None:
        """Ask the masked network."""
        self._hide()

    def on_predict_end(self) -> None:
        """Take the weights back."""
        self._unhide()

    def prune_step(self, optimizer: Optimizer, step: int) -> None:
        """Choose anew which weights are hidden."""
        start, end = self.window()
        if step < end and (step - start) % self.interval == 0:
            pruned = self._pattern((step - start) / (end - start))
            self.shown = {name: as_numbers(~dead, self.weights[name].dtype) for name, dead in pruned.items()}

    def final_pattern(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """The weights of the lowest scores; the scores are not needed any more."""
        pruned = self._pattern(1.0)
        self._give_up(optimizer)
        return pruned

    def _pattern(self, progress: float) -> dict[str, Tensor]:
        scores = self.without_pruned({name: score.detach() for name, score in self.movement.items()})
        wanted = self.threshold if self.sparsity is None else self.sparsity
        now = scheduled_sparsity(self.pruning_schedule, progress, wanted, self.rounds)
        if self.sparsity is None:
            return prune_below(scores, now)
        return prune_pattern(scores, now, self.pattern, self.scope)

    def _progress(self) -> float:
        """How much of its final strength the penalty has at the step that is being made."""
        start, end = self.window()
        return cubic_sparsity((self.trainer.global_step + 1 - start) / (end - start), 1.0)

    def _room(self, name: str) -> Tensor:
        if name not in self._memory:
            with torch.inference_mode(False):  # A validation may be the first to use it, and training goes on with it.
                self._memory[name] = torch.empty_like(self.weights[name], requires_grad=False)
        return self._memory[name]

    @torch.no_grad()
    def _hide(self) -> None:
        if self._dense:
            return
        for name, shown in self.shown.items():
            weight = self.weights[name]
            self._dense[name] = weight.data
            weight.data = torch.mul(weight.data, shown.to(weight.device), out=self._room(name))

    def _unhide(self) -> None:
        for name, dense in self._dense.items():
            self.weights[name].data = dense
        self._dense = {}

    def _give_up(self, optimizer: Optimizer) -> None:
        """Free the memory of scores and masks; the optimizer's groups stay as checkpoints know them."""
        for score in self.movement.values():
            optimizer.state.pop(score, None)
            score.grad = None
            score.data = score.data.new_empty(0)
        self.shown = {}
        self._memory = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put pattern, scores and masks into the checkpoint."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["pruning"] |= {
            "movement": {name: score.detach() for name, score in self.movement.items()},
            "shown": {name: shown.bool() for name, shown in self.shown.items()},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them out of the checkpoint."""
        super().on_load_checkpoint(checkpoint)
        state = checkpoint["pruning"]
        for name, score in self.movement.items():
            score.data = state["movement"][name]
        self.shown = {name: shown.to(self.weights[name].dtype) for name, shown in state["shown"].items()}
