"""Reweighted proximal pruning (Guo et al. 2019, https://arxiv.org/abs/1909.12486) while fine-tuning."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from toolkit.modules.distillation import Distillation
from toolkit.modules.training import Training
from toolkit.modules.weight_pruning import WeightPruning, second_moment
from toolkit.modules.window import HORIZON, rates_left
from toolkit.options.idle import refuse_idle
from toolkit.pruning import masks
from toolkit.pruning.curvature import adam_metric
from toolkit.pruning.patterns import Blocks, Grouped, in_blocks, parse_pattern, prune_pattern
from toolkit.pruning.proximal import block_sizes, penalty_for_sparsity, resistance, reweight, shrink_, shrink_blocks_
from toolkit.tasks import Task

CONTROL_STEPS = 20  # Steps between two derivations of the penalty from the weights as they are.
CHECKPOINTED = ("gamma", "typical", "pending", "importances")


class ProximalPruning(WeightPruning):
    r"""Shrink every weight by a reweighted threshold after each optimizer step, then keep the zeros.

    After the AdamW step with learning rate :math:`\lambda`, every target becomes

    .. math:: w_i \leftarrow \operatorname{sign}(w_i) \max(|w_i| - \lambda \gamma \alpha_i / d_i, 0), \qquad
              \alpha_i = \frac{1}{|w_i|^p + \varepsilon}

    With ``metric="euclidean"`` (:math:`d = 1`) and a ``penalty`` this is the paper's algorithm, and the sparsity is
    its result. With a ``sparsity``, :math:`\gamma` is derived so that the remaining steps of the window shrink the
    wanted share of the weights to zero (:func:`toolkit.pruning.proximal.penalty_for_sparsity`), and derived anew from
    the weights as they have become every few steps; what is then missing, the score in use settles: :math:`|w|`, or
    :math:`w^2 d` in Adam's metric.

    With ``regularizer="loss"``, the baseline that the paper argues against, AdamW minimises
    :math:`f + \gamma \sum_i \alpha_i |w_i|`, with :math:`\alpha` constant in the gradient. Its :math:`\gamma` is given,
    not derived: what counts there is :math:`\gamma\alpha` beside the gradient of :math:`f`, whose common scale AdamW
    undoes, while the derivation is of steps :math:`\lambda\gamma\alpha`. Weights become small, not zero, and the
    pattern takes the smallest.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        targets: Regular expression, searched in the names of the weight matrices of the transformer blocks: what may be
            pruned. Embeddings, normalisations, biases, pooler and head never are.
        sparsity: Share of the targets that is zero at the end, in [0, 1); null where ``penalty`` is given to proximal
            steps or ``pattern`` is N:M.
        pattern: How the zeros lie: ``unstructured``, blocks of outputs and inputs such as ``8x8``, which shrink by the
            group soft-threshold (:func:`toolkit.pruning.proximal.shrink_blocks_`), or N:M such as ``2:4``: weights then
            shrink one by one, and the pattern is fixed by the score in use.
        penalty: γ of the paper; null to derive it from ``sparsity``. With ``regularizer=loss`` the coefficient in the
            loss, which is always given, beside ``sparsity``, and is smaller by orders of magnitude: MiniLM on SST-2 had
            its best dev score at 1e-5.
        metric: ``adam`` takes the threshold in Adam's own metric, ``euclidean`` is the paper's.
        exponent: p; ``rising`` makes it the number of the outer iteration (``reweight_interval`` steps).
        epsilon: ε, which bounds the penalty of a weight that is zero.
        floor: Least value of Adam's metric, whose median is 1.
        regularizer: ``proximal``, or ``loss`` for the ablation that the paper argues against: the penalty is added to
            the loss, goes through clipping and the optimizer's moments, and leaves no zeros until the pattern is fixed
            at ``sparsity`` by :math:`|w|`.
        interval: Steps from one proximal step to the next, which then has the learning rates of them all.
        reweight_interval: Steps of an outer iteration, over which α stays as it was at its start.
        prune_start: Share of the steps after which pruning begins.
        prune_fraction: Share of the steps after which the pattern is fixed.
        training: How the weights are trained.
        distillation: What is learned from a teacher beside the labels.

    Raises:
        ValueError: If an option is out of range, ``targets`` matches nothing, the pattern does not fit the targets,
            not just one of ``penalty`` and ``sparsity`` is given, or not both of them with ``regularizer=loss``.
    """

    def __init__(
        self,
        task: Task,
        network: str = "minilm",
        targets: str = ".*",
        sparsity: float | None = 0.8,
        pattern: str = "unstructured",
        penalty: float | None = None,
        metric: Literal["adam", "euclidean"] = "adam",
        exponent: float | Literal["rising"] = 1.0,
        epsilon: float = 1e-3,
        floor: float = 0.05,
        regularizer: Literal["proximal", "loss"] = "proximal",
        interval: int = 2,
        reweight_interval: int = 1,
        prune_start: float = 0.1,
        prune_fraction: float = 0.6,
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        said_by_pattern = isinstance(parse_pattern(pattern), Grouped)
        if regularizer == "loss":
            if metric != "euclidean":
                raise ValueError(
                    "model.regularizer=loss knows no metric but the Euclidean; add model.metric=euclidean."
                )
            if penalty is None or (sparsity is None and not said_by_pattern):
                raise ValueError(
                    "model.regularizer=loss needs model.penalty, the coefficient in the loss, such as 1e-5, and "
                    "model.sparsity, such as 0.8: it makes weights small, not zero, and the smallest go at the end of "
                    f"the window. Got penalty {penalty} and sparsity {sparsity}."
                )
        elif (penalty is None) == (sparsity is None) and not (said_by_pattern and penalty is None):
            raise ValueError(
                "The sparsity is either wanted (model.sparsity=0.8 model.penalty=null) or the result of a penalty "
                f"(model.penalty=0.01 model.sparsity=null), but got sparsity {sparsity} and penalty {penalty}."
            )
        for name, value in {
            "penalty": penalty,
            "exponent": exponent,
            "epsilon": epsilon,
            "floor": floor,
        }.items():
            if isinstance(value, int | float) and value <= 0:
                raise ValueError(f"model.{name} must be positive, but got {value}.")
        if interval < 1 or reweight_interval < 1:
            raise ValueError(
                "model.interval and model.reweight_interval must be positive, "
                f"but got {interval} and {reweight_interval}."
            )
        if exponent == "rising" and reweight_interval == 1:
            raise ValueError(
                "model.exponent=rising is the number of the outer iteration, but model.reweight_interval=1 begins one "
                "at every step: the exponent would soon make all weights alike. Give model.reweight_interval=50 or so."
            )
        if metric == "euclidean":
            refuse_idle(ProximalPruning, {"floor": floor}, "model.metric=euclidean")
        super().__init__(task, network, targets, sparsity, pattern, prune_start, prune_fraction, training, distillation)
        self.metric = metric
        self.exponent = exponent
        self.epsilon = epsilon
        self.floor = floor
        self.regularizer = regularizer
        self.interval = interval
        self.reweight_interval = reweight_interval
        self.penalty = penalty
        self.gamma = penalty or 0.0  # In use: the given one, or the one derived last.
        self.typical = 1.0  # Median of √v̂, where Adam's metric is 1.
        self.pending = 0.0  # Sum of the learning rates since the last proximal step.
        self.importances: dict[str, Tensor] = {}  # α of the outer iteration, if it is longer than one step.
        self._scratch: Tensor | None = None
        self._left: list[float] = []  # Sum of the learning rates from each step to the end of the window.

    checkpointed = WeightPruning.checkpointed | {*CHECKPOINTED}

    def schedule(self, optimizer: Any) -> LambdaLR:
        """The schedule of fine-tuning, whose sums the penalty is derived from."""
        scheduler = super().schedule(optimizer)
        self._left = rates_left(scheduler, self.window()[1])
        return scheduler

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of fine-tuning; with ``regularizer="loss"`` and within the window plus the reweighted L1 norm."""
        loss = super().loss(batch)
        if (
            self.regularizer == "loss"
            and self.training
            and self.window()[0] <= self.trainer.global_step < self.window()[1]
        ):
            exponent = self._exponent(self.trainer.global_step + 1)
            norms = []
            for name, weight in self.weights.items():
                sizes = self._sizes(weight)
                importance = self.importances.get(name)
                if importance is None:
                    importance = reweight(sizes.detach(), exponent, self.epsilon)
                norms.append((importance * sizes).sum() * (weight.numel() // sizes.numel()))
            loss = loss + self.gamma * torch.stack(norms).sum()
        return loss

    def prune_step(self, optimizer: Optimizer, step: int) -> None:
        """One proximal step, after what it needs was refreshed."""
        start, end = self.window()
        done = step - start - 1
        outer = self.reweight_interval > 1 and done % self.reweight_interval == 0
        if outer or done % CONTROL_STEPS == 0:
            self._control(optimizer, step)
        if outer:
            self.importances = {
                name: reweight(self._sizes(weight), self._exponent(step), self.epsilon)
                for name, weight in self.weights.items()
            }
        self.pending += optimizer.param_groups[0]["lr"]
        if self.regularizer == "proximal" and (step % self.interval == 0 or step == end):
            for name, weight in self.weights.items():
                memory = self._memory(weight)
                metric = self._metric(second_moment(optimizer, weight), memory[2]) if self.metric == "adam" else None
                shared: dict[str, Any] = {
                    "importance": self.importances.get(name),
                    "exponent": self._exponent(step),
                    "epsilon": self.epsilon,
                }
                if isinstance(self.pattern, Blocks):
                    metric = None if metric is None else in_blocks(metric, self.pattern).mean((1, 3))
                    shrink_blocks_(weight, self.pending * self.gamma, self.pattern, metric=metric, **shared)
                else:
                    shrink_(weight, self.pending * self.gamma, metric=metric, scratch=memory, **shared)
            self.pending = 0.0

    def final_pattern(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """The zeros as they are (paper), or settled on the wanted number by the score in use."""
        self.importances = {}
        if self.sparsity is None:
            pruned = masks.zeros(self.weights)
            if not any(dead.any() for dead in pruned.values()):
                rank_zero_warn(f"No weight is zero under model.penalty={self.penalty}: nothing is pruned. Raise it.")
            return pruned
        return prune_pattern(self.scores(optimizer, self.metric == "adam", self.floor), self.sparsity, self.pattern)

    def _control(self, optimizer: Optimizer, step: int) -> None:
        """Measure Adam's metric, and derive the penalty that prunes the wanted share in the rest of the window."""
        if self.metric == "adam":
            self.typical = self.typical_gradient(optimizer)
        if self.penalty is None and self.sparsity is not None:
            start, _ = self.window()
            # Also the steps that were made and wait for the next proximal one are shrunk by the new penalty.
            left = max(self._left[step - 1] + self.pending, HORIZON * self._left[start])
            # Where the learning rate is zero throughout, nothing shrinks, and the settling prunes.
            self.gamma = penalty_for_sparsity(self._resistances(optimizer, step), self.sparsity, left) if left else 0.0

    def _resistances(self, optimizer: Optimizer, step: int) -> Tensor:
        per_block = self.pattern.rows * self.pattern.columns if isinstance(self.pattern, Blocks) else 1
        stride = max(1, self._stride() // per_block)
        parts = []
        for weight in self.weights.values():
            part = resistance(self._sizes(weight).flatten()[::stride], self._exponent(step), self.epsilon)
            if self.metric == "adam":
                moment = second_moment(optimizer, weight)
                if isinstance(self.pattern, Blocks):
                    metric = in_blocks(self._metric(moment), self.pattern).mean((1, 3)).flatten()[::stride]
                else:
                    metric = self._metric(moment.flatten()[::stride])
                part *= metric
            parts.append(part)
        return torch.cat(parts)

    def _sizes(self, weight: Tensor) -> Tensor:
        """What shrinks: the weights, or the root mean squares of blocks of them."""
        return block_sizes(weight, self.pattern) if isinstance(self.pattern, Blocks) else weight.abs()

    def _metric(self, moment: Tensor, memory: Tensor | None = None) -> Tensor:
        out = None if memory is None else memory[: moment.numel()].view(moment.shape)
        return adam_metric(moment, self.typical, self.floor, out=out)

    def _memory(self, weight: Tensor) -> Tensor:
        """Three rows of memory that every weight uses in turn."""
        if self._scratch is None or self._scratch.device != weight.device:
            self._scratch = weight.new_empty(3, max(weight.numel() for weight in self.weights.values()))
        return self._scratch

    def _exponent(self, step: int) -> float:
        if self.exponent == "rising":
            start, _ = self.window()
            return 1.0 + max(0, step - start - 1) // self.reweight_interval
        return self.exponent

    def results(self) -> dict[str, Any]:
        """The last penalty, and the natural sparsity: before the pattern was settled on the wanted number."""
        return super().results() | {"natural_sparsity": self.natural_sparsity, "penalty": self.gamma}

    def to_weights(self) -> None:
        """Put the importances there, too."""
        super().to_weights()
        self.importances = {name: value.to(self.weights[name].device) for name, value in self.importances.items()}
        self._scratch = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put pattern, penalty, metric and importances into the checkpoint."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["pruning"] |= {name: getattr(self, name) for name in CHECKPOINTED}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them out of the checkpoint."""
        super().on_load_checkpoint(checkpoint)
        for name in CHECKPOINTED:
            setattr(self, name, checkpoint["pruning"][name])
