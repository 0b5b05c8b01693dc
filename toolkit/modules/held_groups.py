"""Groups of weights that are dead, and held at exactly zero while everything else is trained."""

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from transformers import PreTrainedModel

from toolkit.models.structure import KINDS, Structure, along, groups_of, mask_structure, whole_structure


class HeldGroups:
    """The weights of a network that belong to no kept group: their gradients are dropped, the optimizer forgets them.

    Args:
        network: A network of one of the supported architectures.
    """

    def __init__(self, network: PreTrainedModel) -> None:
        self.network = network
        self.whole = whole_structure(network)
        self._living: list[tuple[Parameter, Tensor]] = []  # 1 where a weight lives and 0 where it is dead

    def note(self, structure: Structure) -> None:
        """Note which weights are dead, beside the weights.

        Args:
            structure: What lives.
        """
        self._living = []
        for kind in KINDS:
            if structure.kept(kind) == self.whole.kept(kind):
                continue
            for groups, own in zip(groups_of(self.network, kind), structure.kept(kind), strict=True):
                for _, weight, dim in groups.parts if len(own) < groups.count else ():
                    self._living.append((weight, along(groups.is_in(own, weight.shape[dim]).to(weight), weight, dim)))

    def hold(self, structure: Structure, optimizer: Optimizer) -> None:
        """Zero what is not kept and what the optimizer remembers of it: momentum would revive it otherwise.

        Args:
            structure: What lives from now on.
            optimizer: That of the training.
        """
        mask_structure(self.network, structure)
        self.note(structure)
        for weight, living in self._living:
            for value in optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(living)

    def drop_gradients(self) -> None:
        """Drop the gradients of dead weights."""
        for weight, living in self._living:
            if weight.grad is not None:
                weight.grad.mul_(living)

    @torch.no_grad()
    def check(self, optimizer: Optimizer) -> None:
        """Make sure that all of them are zero.

        Raises:
            RuntimeError: If the optimizer moved a dead weight.
        """
        for weight, living in self._living:
            if (weight * (1 - living)).count_nonzero():
                raise RuntimeError(
                    f"{type(optimizer).__name__} moved removed weights, whose gradients are zero; use AdamW."
                )
