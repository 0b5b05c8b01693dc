"""Structured pruning: attention heads, neurons of the feed-forward layers and hidden channels are removed."""

from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from toolkit.evaluation.mode import evaluation_mode
from toolkit.models.structure import KINDS, Structure, keep_structure, mask_structure, whole_structure
from toolkit.modules.distillation import Distillation
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.group_importance import GroupImportance
from toolkit.modules.held_groups import HeldGroups
from toolkit.modules.removal_shares import check_options, shares_of_network
from toolkit.modules.training import Training
from toolkit.modules.window import HORIZON, check_window, rates_left, window_steps
from toolkit.options.idle import refuse_idle
from toolkit.pruning.schedules import cubic_sparsity
from toolkit.tasks import Task

TOLERANCE = 1e-5  # Of outputs, relative to the largest where that is more than 1: sums are taken in another order.


class StructuredPruning(FineTuning):
    r"""Drive whole attention heads, neurons and hidden channels to zero while fine-tuning, then cut them out.

    Of the run's S optimizer steps, groups of weights are zeroed in the window (S * prune_start, S * prune_fraction];
    the rest is the recovery. Through the training they are zeros, so that a resumed run ends with the same bits; at its
    end the network is sliced, and has to compute what it did before. LayerNorms leave removed hidden channels out of
    mean and variance from the step on that removes them, so that what is trained is what is sliced.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        heads: Share of the attention heads to remove, in [0, 1); without the same share of hidden channels it needs
            ``uniform=false``, as no config says it.
        neurons: Share of the neurons of the feed-forward layers to remove, in [0, 1).
        hidden: Share of the hidden channels (the hidden size) to remove, in [0, 1), from embeddings, blocks and head at
            once; without the same share of heads it needs ``uniform=false``.
        importance: What decides: ``taylor`` the change of the loss to first order, summed over the batches of the
            window; ``magnitude`` the norm of a group's weights; ``proximal`` the norm, after a reweighted group penalty
            has driven groups to zero (the proximal pruning of Guo et al. 2019 with groups for weights).
        uniform: Whether all blocks keep equally many, so that plain `transformers` loads the network; the kept heads
            fill the hidden size. Else all blocks are compared, and ``toolkit.load`` loads it.
        multiple: Each block keeps a multiple of so many neurons, as fast kernels want; and the network one of so many
            hidden channels, where the heads do not say how many.
        interval: Steps between two prunings by ``taylor`` or ``magnitude``.
        exponent: p of the reweighted group penalty; 1 is that of single weights. Where norms hardly differ, as those of
            heads and of hidden channels, what stays is shrunk to a fraction; the larger p, the less.
        epsilon: ε of the penalty; small against the norms to the power of p.
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
        hidden: float = 0.0,
        importance: Literal["taylor", "magnitude", "proximal"] = "taylor",
        uniform: bool = True,
        multiple: int = 8,
        interval: int = 10,
        exponent: float = 1.0,
        epsilon: float = 1e-3,
        prune_start: float = 0.1,
        prune_fraction: float = 0.6,
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        shares = {"heads": heads, "neurons": neurons, "hidden": hidden}
        check_options(shares, uniform=uniform)
        if multiple < 1 or interval < 1 or epsilon <= 0 or exponent <= 0:
            raise ValueError(
                "model.multiple, model.interval, model.exponent and model.epsilon must be positive, but got "
                f"{multiple}, {interval}, {exponent} and {epsilon}."
            )
        check_window(prune_start, prune_fraction)
        if importance != "proximal":
            unread = {"exponent": exponent, "epsilon": epsilon}
            refuse_idle(StructuredPruning, unread, f"model.importance={importance}")
        super().__init__(task, network, training, distillation)
        multiples = {"heads": 1, "neurons": multiple, "hidden": 1 if uniform else multiple}
        self.removed = shares_of_network(self.network, shares, multiples, uniform=uniform)
        self.importance = importance
        self.interval = interval
        self.prune_start = prune_start
        self.prune_fraction = prune_fraction
        self.groups = GroupImportance(
            self.network, self.removed, multiples, uniform=uniform, exponent=exponent, epsilon=epsilon
        )
        self.dead = HeldGroups(self.network)
        self.original: Structure = whole_structure(self.network)
        self.structure: Structure = self.original  # What is held at zero is not in it.
        self.fixed = False
        self.sliced = False
        self.natural: dict[str, float] = {}  # Share that the penalty alone drove to zero.
        self._left: list[float] = []  # Sum of the learning rates from each step to the end of the window.

    def window(self) -> tuple[int, int]:
        """First step after which nothing is pruned yet, and the step after which the structure is fixed."""
        return window_steps(self.prune_start, self.prune_fraction, self.num_steps)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer of fine-tuning, with a hook after its step."""
        configured: Any = super().configure_optimizers()
        configured["optimizer"].register_step_post_hook(self._after_step)
        return configured  # type: ignore[no-any-return]

    def schedule(self, optimizer: Any) -> LambdaLR:
        """The schedule of fine-tuning, whose sums the penalty is derived from."""
        scheduler = super().schedule(optimizer)
        self._left = rates_left(scheduler, self.window()[1])
        return scheduler

    def to_weights(self) -> None:
        """Put the groups' sums and what is dead there, too."""
        super().to_weights()
        self.groups.to(self.device)
        if not self.sliced:
            self.dead.note(self.structure)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Add up what the groups matter to this batch, and drop the gradients of dead ones.

        Every process has the mean gradient of all of them here.
        """
        super().on_before_optimizer_step(optimizer)
        start, end = self.window()
        if self.importance == "taylor" and not self.fixed and start <= self.trainer.global_step < end:
            self.groups.add_gradients()
        self.dead.drop_gradients()

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.fixed:
            return
        step = self.trainer.global_step + 1
        start, end = self.window()
        if start < step <= end and self.importance == "proximal":
            left = max(self._left[step - 1], HORIZON * self._left[start])
            self.groups.shrink(optimizer.param_groups[0]["lr"], left)
            living = self.groups.living_channels(self.structure)
            if living != self.structure:  # What a zero channel leaves behind in mean and variance would be trained on.
                self._hold(living, optimizer)
        elif start < step < end and (step - start) % self.interval == 0:
            self._hold(self._choose((step - start) / (end - start)), optimizer)
        if step >= end:
            self._fix(optimizer)

    def _choose(self, progress: float) -> Structure:
        """Choose what stays when a share ``progress`` of the window is over."""
        shares = {kind: cubic_sparsity(progress, share) for kind, share in self.removed.items()}
        return self.groups.choose(self.structure, shares)

    def _fix(self, optimizer: Optimizer) -> None:
        if self.importance == "proximal":
            self.natural = self.groups.zeros()
        self._hold(self._choose(1.0), optimizer)
        self.fixed = True

    def _hold(self, structure: Structure, optimizer: Optimizer) -> None:
        self.structure = structure
        self.dead.hold(structure, optimizer)

    def on_train_epoch_end(self) -> None:
        """Log how much is kept.

        Raises:
            RuntimeError: If the optimizer moved a dead weight.
        """
        super().on_train_epoch_end()
        self.dead.check(self.trainer.optimizers[0])
        for kind in self.groups.kinds:
            kept, total = self._count(kind)
            self.log(f"{kind}_kept", kept / total, prog_bar=True)

    def on_train_end(self) -> None:
        """Fix the structure also where training was stopped before its time."""
        self._fix_early()

    def _fix_early(self) -> None:
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
        if not self.fixed:  # A run was resumed that may not go on, as of trainer.max_time: no training ended.
            self.to_weights()
            self._fix_early()
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
        keep_structure(self.network, self.structure)
        self.sliced = True

    @torch.no_grad()
    def _probe(self) -> Tensor:
        ids = torch.linspace(0, self.network.config.vocab_size - 1, 16, device=self.network.device).long()[None]
        with evaluation_mode(self.network), torch.autocast(self.network.device.type, enabled=False):
            logits: Tensor = self.network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        return logits

    def _count(self, kind: str) -> tuple[int, int]:
        kept, total = (sum(map(len, structure.kept(kind))) for structure in (self.structure, self.original))
        return kept, total

    def results(self) -> dict[str, Any]:
        """How many heads, neurons and hidden channels are kept, in all and in each block."""
        counts = {f"{kind}_kept": "{} of {}".format(*self._count(kind)) for kind in KINDS}
        blocks = {kind: [len(own) for own in self.structure.kept(kind)] for kind in KINDS}
        natural = {f"natural_share_of_{kind}": share for kind, share in self.natural.items()}
        return counts | {"structure": blocks} | natural

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put what was decided, and what the decision rests on, into the checkpoint."""
        checkpoint["structure"] = {
            "kept": {kind: [list(own) for own in self.structure.kept(kind)] for kind in KINDS},
            "fixed": self.fixed,
            "sliced": self.sliced,
            "sums": self.groups.sums,
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
        self.structure = Structure.of(state["kept"])
        self.fixed = state["fixed"]
        self.groups.sums = state["sums"]
        self.natural = state["natural"]
        if state["sliced"]:
            self._slice()
        else:
            mask_structure(self.network, self.structure)  # The weights follow; norms leave out what is dead.
