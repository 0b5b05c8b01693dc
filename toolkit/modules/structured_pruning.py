"""Structured pruning: attention heads and neurons of the feed-forward layers are removed while fine-tuning."""

from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from toolkit.models.structure import (
    Groups,
    Structure,
    block_groups,
    keep_structure,
    mask_structure,
    whole_structure,
)
from toolkit.modules.distillation import Distillation
from toolkit.modules.fine_tuning import FineTuning, Training
from toolkit.modules.proximal_pruning import HORIZON
from toolkit.pruning.proximal import penalty_for_sparsity, resistance
from toolkit.pruning.schedules import cubic_sparsity
from toolkit.pruning.structured import choose_kept, group_norms, shrink_factors, taylor_importance
from toolkit.tasks import Task

KINDS = ("heads", "neurons")
TOLERANCE = 1e-5  # Of outputs, relative to the largest where that is more than 1: sums are taken in another order.


class StructuredPruning(FineTuning):
    r"""Drive whole attention heads and neurons to zero while fine-tuning, then cut them out.

    Of the run's S optimizer steps, groups of weights are zeroed in the window (S * prune_start, S * prune_fraction];
    the rest is the recovery. Through the training they are zeros, so that a resumed run ends with the same bits; at its
    end the network is sliced, and has to compute what it did before.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        heads: Share of the attention heads to remove, in [0, 1); needs ``uniform=false``, as no config says it.
        neurons: Share of the neurons of the feed-forward layers to remove, in [0, 1).
        importance: What decides: ``taylor`` the change of the loss to first order, summed over the batches of the
            window; ``magnitude`` the norm of a group's weights; ``proximal`` the norm, after a reweighted group penalty
            has driven groups to zero (the proximal pruning of Guo et al. 2019 with groups for weights).
        uniform: Whether all blocks keep equally many, so that plain `transformers` loads the network. Else all blocks
            are compared, and ``toolkit.load`` loads it.
        multiple: Each block keeps a multiple of so many neurons, as fast kernels want.
        interval: Steps between two prunings by ``taylor`` or ``magnitude``.
        epsilon: ε of the reweighted group penalty.
        prune_start: Share of the steps after which pruning begins.
        prune_fraction: Share of the steps after which the structure is fixed.
        training: How the weights are trained.
        distillation: What is learned from a teacher beside the labels.

    Raises:
        ValueError: If an option is out of range, the architecture is not supported, or nothing is to be removed.
    """

    def __init__(
        self,
        task: Task,
        network: str = "minilm",
        heads: float = 0.0,
        neurons: float = 0.5,
        importance: Literal["taylor", "magnitude", "proximal"] = "taylor",
        uniform: bool = True,
        multiple: int = 8,
        interval: int = 10,
        epsilon: float = 1e-3,
        prune_start: float = 0.1,
        prune_fraction: float = 0.6,
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        for name, share in (("heads", heads), ("neurons", neurons)):
            if not 0 <= share < 1:
                raise ValueError(f"model.{name} must lie in [0, 1), the share to remove, but got {share}.")
        if heads == neurons == 0:
            raise ValueError("Nothing is to be removed; give model.neurons, model.heads or both, such as 0.5.")
        if heads and uniform:
            raise ValueError(
                f"model.heads={heads} leaves a shape that no config.json can say, so plain transformers would not load "
                "it; add model.uniform=false, and load the network with toolkit.load, or set model.heads=0."
            )
        if multiple < 1 or interval < 1 or epsilon <= 0:
            raise ValueError(
                f"model.multiple, model.interval and model.epsilon must be positive, but got {multiple}, {interval} "
                f"and {epsilon}."
            )
        if not 0 <= prune_start < prune_fraction <= 1:
            raise ValueError(
                "model.prune_start and model.prune_fraction are shares of the steps, the first below the second, "
                f"but got {prune_start} and {prune_fraction}."
            )
        super().__init__(task, network, training, distillation)
        self.shares = {"heads": heads, "neurons": neurons}
        self.importance = importance
        self.uniform = uniform
        self.multiples = {"heads": 1, "neurons": multiple}
        self.interval = interval
        self.epsilon = epsilon
        self.prune_start = prune_start
        self.prune_fraction = prune_fraction
        self.original: Structure = whole_structure(self.network)
        self.structure: Structure = self.original  # What is held at zero is not in it.
        self.fixed = False
        self.sliced = False
        self.sums: dict[str, list[Tensor]] = {}  # Of the first-order changes so far.
        self.natural: dict[str, float] = {}  # Share that the penalty alone drove to zero.
        self._living: list[tuple[torch.nn.Parameter, Tensor]] = []
        self._left: list[float] = []  # Sum of the learning rates from each step to the end of the window.

    def window(self) -> tuple[int, int]:
        """First step after which nothing is pruned yet, and the step after which the structure is fixed."""
        end = max(1, round(self.prune_fraction * self.num_steps))
        return min(round(self.prune_start * self.num_steps), end - 1), end

    def groups(self, kind: str) -> list[Groups]:
        """The heads, or the neurons, of every block."""
        return [getattr(block, kind) for block in block_groups(self.network)]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer of fine-tuning, with a hook after its step."""
        configured: Any = super().configure_optimizers()
        configured["optimizer"].register_step_post_hook(self._after_step)
        return configured  # type: ignore[no-any-return]

    def schedule(self, optimizer: Any) -> LambdaLR:
        """The schedule of fine-tuning, whose sums the penalty is derived from."""
        scheduler = super().schedule(optimizer)
        rates = [
            self.training_options.learning_rate * scheduler.lr_lambdas[0](step) for step in range(self.window()[1])
        ]
        self._left = torch.tensor(rates, dtype=torch.float64).flip(0).cumsum(0).flip(0).tolist()
        return scheduler

    def on_fit_start(self) -> None:
        """Put the state of a resumed run beside the weights."""
        super().on_fit_start()
        self.sums = {kind: [value.to(self.device) for value in values] for kind, values in self.sums.items()}
        self._living = []
        if not self.sliced:
            self._note_living()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Add up what the groups matter to this batch, and drop the gradients of dead ones.

        Every process has the mean gradient of all of them here.
        """
        start, end = self.window()
        if self.importance == "taylor" and not self.fixed and start <= self.trainer.global_step < end:
            self._add_importance()
        for weight, living in self._living:
            if weight.grad is not None:
                weight.grad.mul_(living)

    @torch.no_grad()
    def _add_importance(self) -> None:
        for kind in self._pruned_kinds():
            changes = []
            for groups in self.groups(kind):
                parts = [(weight, weight.grad, dim) for _, weight, dim in groups.parts if weight.grad is not None]
                changes.append(taylor_importance(parts, groups.count))
            before = self.sums.get(kind)
            self.sums[kind] = changes if before is None else [a + b for a, b in zip(before, changes, strict=True)]

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.fixed:
            return
        step = self.trainer.global_step + 1
        start, end = self.window()
        if start < step <= end and self.importance == "proximal":
            self._shrink(optimizer, step)
        elif start < step < end and (step - start) % self.interval == 0:
            self._hold(self._choose((step - start) / (end - start)), optimizer)
        if step >= end:
            self._fix(optimizer)

    def _shrink(self, optimizer: Optimizer, step: int) -> None:
        """One step of the group penalty, which is derived anew from the norms: there are few of them."""
        start, _ = self.window()
        for kind in self._pruned_kinds():
            blocks = self.groups(kind)
            norms = [self._norms(groups) for groups in blocks]
            left = max(self._left[step - 1], HORIZON * self._left[start])
            resistances = [resistance(norm, epsilon=self.epsilon) for norm in norms]
            compared = resistances if self.uniform else [torch.cat(resistances)] * len(blocks)
            # Where the learning rate is zero throughout, nothing shrinks, and the norms decide.
            penalties = [penalty_for_sparsity(values, self.shares[kind], left) if left else 0.0 for values in compared]
            rate = optimizer.param_groups[0]["lr"]
            for groups, norm, penalty in zip(blocks, norms, penalties, strict=True):
                factors = shrink_factors(norm, rate * penalty, epsilon=self.epsilon)
                for _, weight, dim in groups.parts:
                    weight.mul_(along(factors.repeat_interleave(weight.shape[dim] // groups.count), weight, dim))

    def _norms(self, groups: Groups) -> Tensor:
        return group_norms([(weight, dim) for _, weight, dim in groups.parts], groups.count)

    def _choose(self, progress: float) -> Structure:
        """Choose what stays when a share ``progress`` of the window is over."""
        kept: dict[str, Any] = {kind: getattr(self.structure, kind) for kind in KINDS}
        for kind in self._pruned_kinds():
            blocks = self.groups(kind)
            scores = self.sums.get(kind) or [self._norms(groups) for groups in blocks]
            living = [
                score.masked_fill(~groups.is_in(own, groups.count).to(score.device), -torch.inf)
                for groups, score, own in zip(blocks, scores, kept[kind], strict=True)
            ]
            share = cubic_sparsity(progress, self.shares[kind])
            chosen = choose_kept(living, share, uniform=self.uniform, multiple=self.multiples[kind])
            kept[kind] = tuple(map(tuple, chosen))
        return Structure(**kept)

    def _fix(self, optimizer: Optimizer) -> None:
        if self.importance == "proximal":
            norms = {kind: torch.cat([self._norms(groups) for groups in self.groups(kind)]) for kind in KINDS}
            self.natural = {kind: float((norms[kind] == 0).float().mean()) for kind in self._pruned_kinds()}
        self._hold(self._choose(1.0), optimizer)
        self.fixed = True

    def _hold(self, structure: Structure, optimizer: Optimizer) -> None:
        """Zero what is not kept and what the optimizer remembers of it: momentum would revive it otherwise."""
        self.structure = structure
        mask_structure(self.network, structure)
        self._note_living()
        for weight, living in self._living:
            for value in optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(living)

    def _note_living(self) -> None:
        """Note, for each weight that has dead groups, 1 where it lives and 0 where it is dead."""
        self._living = []
        for kind in KINDS:
            for groups, own in zip(self.groups(kind), getattr(self.structure, kind), strict=True):
                if len(own) < groups.count:
                    for _, weight, dim in groups.parts:
                        living = groups.is_in(own, weight.shape[dim]).to(weight)
                        self._living.append((weight, along(living, weight, dim)))

    def _pruned_kinds(self) -> list[str]:
        return [kind for kind in KINDS if self.shares[kind] > 0]

    def on_train_epoch_end(self) -> None:
        """Log how much is kept.

        Raises:
            RuntimeError: If the optimizer moved a dead weight.
        """
        for weight, living in self._living:
            if (weight.detach() * (1 - living)).count_nonzero():
                optimizer = type(self.trainer.optimizers[0]).__name__
                raise RuntimeError(f"{optimizer} moved removed weights, whose gradients are zero; use AdamW.")
        for kind in self._pruned_kinds():
            kept, total = self._count(kind)
            self.log(f"{kind}_kept", kept / total, prog_bar=True)

    def on_train_end(self) -> None:
        """Fix the structure also where training was stopped before its time."""
        if not self.fixed and self.trainer.optimizers:
            rank_zero_warn(
                f"Training ended at step {self.trainer.global_step}, before the structure was to be fixed at step "
                f"{self.window()[1]}: it is fixed now, without recovery."
            )
            with torch.no_grad():
                self._fix(self.trainer.optimizers[0])

    def on_fit_end(self) -> None:
        """Slice the network, after the last checkpoint: they hold the whole one.

        Raises:
            RuntimeError: If the sliced network computes something else.
        """
        if not self.fixed or self.sliced:
            return
        expected = self._probe()
        self._slice()
        difference = (self._probe() - expected).abs().max().item()
        if not difference <= TOLERANCE * max(1.0, expected.abs().max().item()):
            raise RuntimeError(
                f"Outputs differ by up to {difference:.3g} after the removal of weights that are zero; report the "
                f"network {self.network_name}."
            )

    def _slice(self) -> None:
        self._living = []
        keep_structure(self.network, self.structure)
        self.sliced = True

    @torch.no_grad()
    def _probe(self) -> Tensor:
        training = self.network.training
        self.network.train(False)
        ids = torch.linspace(0, self.network.config.vocab_size - 1, 16, device=self.network.device).long()[None]
        with torch.autocast(self.network.device.type, enabled=False):
            logits: Tensor = self.network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        self.network.train(training)
        return logits

    def _count(self, kind: str) -> tuple[int, int]:
        kept, total = (sum(map(len, getattr(structure, kind))) for structure in (self.structure, self.original))
        return kept, total

    def results(self) -> dict[str, Any]:
        """How many heads and neurons are kept, in all and in each block."""
        counts = {f"{kind}_kept": "{} of {}".format(*self._count(kind)) for kind in KINDS}
        blocks = {kind: [len(own) for own in getattr(self.structure, kind)] for kind in KINDS}
        natural = {f"natural_share_of_{kind}": share for kind, share in self.natural.items()}
        return counts | {"structure": blocks} | natural

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put what was decided, and what the decision rests on, into the checkpoint."""
        checkpoint["structure"] = {
            "kept": {kind: [list(own) for own in getattr(self.structure, kind)] for kind in KINDS},
            "fixed": self.fixed,
            "sliced": self.sliced,
            "sums": self.sums,
            "natural": self.natural,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it out of the checkpoint; slice the network first if the checkpoint is of a sliced one.

        Raises:
            ValueError: If the checkpoint is of no structured pruning, or this network was sliced already.
        """
        state = checkpoint.get("structure")
        if state is None or self.sliced:
            problem = "This network was sliced already" if self.sliced else "The checkpoint says nothing of a structure"
            raise ValueError(f"{problem}; load a checkpoint of a structured pruning into a new module.")
        super().on_load_checkpoint(checkpoint)
        self.structure = Structure(**{kind: tuple(map(tuple, state["kept"][kind])) for kind in KINDS})
        self.fixed = state["fixed"]
        self.sums = state["sums"]
        self.natural = state["natural"]
        if state["sliced"]:
            self._slice()


def along(values: Tensor, weight: Tensor, dim: int) -> Tensor:
    """Shape one value for each entry of a dimension so that it multiplies a weight."""
    return values[:, None] if weight.ndim == 2 and dim == 0 else values
