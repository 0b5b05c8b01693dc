"""What heads, neurons and hidden channels matter: their scores, and the penalty that drives them to zero."""

from collections.abc import Iterable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolkit.models.structure import KINDS, Structure, along, groups_of
from toolkit.models.structure_groups import Groups
from toolkit.pruning.proximal import penalty_for_sparsity, resistance
from toolkit.pruning.structured import choose_kept, group_norms, keep_counts, shrink_factors, taylor_importance


class GroupImportance:
    """The scores of a network's groups, by which some are chosen to stay.

    Args:
        network: A network of one of the supported architectures.
        shares: Kind → share of the groups to remove in the end; kinds with 0 are passed over.
        multiples: Kind → of what the kept numbers are multiples.
        uniform: Whether all blocks keep equally many; else all blocks are compared.
        exponent: p of the reweighted group penalty.
        epsilon: ε of the penalty.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        shares: dict[str, float],
        multiples: dict[str, int],
        *,
        uniform: bool,
        exponent: float,
        epsilon: float,
    ) -> None:
        self.network = network
        self.shares = shares
        self.multiples = multiples
        self.uniform = uniform
        self.exponent = exponent
        self.epsilon = epsilon
        self.kinds = [kind for kind in KINDS if shares[kind]]
        self.sums: dict[str, list[Tensor]] = {}  # Of the first-order changes so far.

    def to(self, device: torch.device) -> None:
        """Put the sums beside the weights."""
        self.sums = {kind: [value.to(device) for value in values] for kind, values in self.sums.items()}

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Add up the first-order change of the loss, from the gradients of a batch."""
        for kind in self.kinds:
            changes = []
            for groups in groups_of(self.network, kind):
                parts = [(weight, weight.grad, dim) for _, weight, dim in groups.parts if weight.grad is not None]
                changes.append(taylor_importance(parts, groups.count))
            before = self.sums.get(kind)
            self.sums[kind] = changes if before is None else [a + b for a, b in zip(before, changes, strict=True)]

    @torch.no_grad()
    def shrink(self, rate: float, left: float) -> None:
        """One step of the group penalty, which is derived anew from the norms: there are few of them.

        A weight that is in groups of two kinds, a head's and a hidden channel's, is shrunk by each in turn.

        Args:
            rate: The learning rate of the step.
            left: Sum of the learning rates that are left to drive the shares to zero.
        """
        for kind in self.kinds:
            blocks = groups_of(self.network, kind)
            norms = [_norms(groups) for groups in blocks]
            resistances = [resistance(norm, self.exponent, self.epsilon) for norm in norms]
            compared = resistances if self.uniform else [torch.cat(resistances)] * len(blocks)
            # Where the learning rate is zero throughout, nothing shrinks, and the norms decide.
            penalties = [penalty_for_sparsity(values, self.shares[kind], left) if left else 0.0 for values in compared]
            for groups, norm, penalty in zip(blocks, norms, penalties, strict=True):
                factors = shrink_factors(norm, rate * penalty, self.exponent, self.epsilon)
                for _, weight, dim in groups.parts:
                    weight.mul_(along(factors.repeat_interleave(weight.shape[dim] // groups.count), weight, dim))

    def living_channels(self, structure: Structure) -> Structure:
        """Leave out the hidden channels that the penalty has driven to zero.

        Args:
            structure: What lived before.

        Returns:
            What lives now; the same where more channels are zero than are to go.
        """
        if "hidden" not in self.kinds:
            return structure
        (groups,), (own,) = groups_of(self.network, "hidden"), structure.kept("hidden")
        norms = _norms(groups).tolist()
        living = tuple(channel for channel in own if norms[channel] > 0)
        (wanted,) = keep_counts(
            [groups.count - round(self.shares["hidden"] * groups.count)], [groups.count], self.multiples["hidden"]
        )
        if len(living) < wanted:
            return structure
        return Structure(heads=structure.heads, neurons=structure.neurons, hidden=living)

    def choose(self, structure: Structure, shares: dict[str, float]) -> Structure:
        """Choose what stays: of what is still there, the groups of the highest scores.

        Args:
            structure: What is still there.
            shares: Kind → share to remove by now.
        """
        kept = {kind: structure.kept(kind) for kind in KINDS}
        for kind in self.kinds:
            blocks = groups_of(self.network, kind)
            scores = self.sums.get(kind) or [_norms(groups) for groups in blocks]
            living = [
                score.masked_fill(~groups.is_in(own, groups.count).to(score.device), -torch.inf)
                for groups, score, own in zip(blocks, scores, kept[kind], strict=True)
            ]
            chosen = choose_kept(living, shares[kind], uniform=self.uniform, multiple=self.multiples[kind])
            kept[kind] = tuple(map(tuple, chosen))
        return Structure.of(kept)

    def zeros(self) -> dict[str, float]:
        """Kind → share of its groups whose weights are all zero."""
        return {kind: _share_of_zeros(map(_norms, groups_of(self.network, kind))) for kind in self.kinds}


def _norms(groups: Groups) -> Tensor:
    return group_norms([(weight, dim) for _, weight, dim in groups.parts], groups.count)


def _share_of_zeros(norms: Iterable[Tensor]) -> float:
    return float((torch.cat(list(norms)) == 0).float().mean())
