"""Weights that are held at exactly zero while everything else is trained."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer


def as_numbers(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where a mask is true, 0 elsewhere; by way of bytes, which takes a tenth of the time.

    Args:
        mask: Of any shape.
        dtype: Of the numbers.
    """
    return mask.view(torch.uint8).to(dtype)


class HeldZeros:
    """Some entries of some weights, kept at zero: their gradients are dropped, and the optimizer forgets them.

    It is no module, and the pattern no buffer: DistributedDataParallel sends every buffer around at every step.

    Args:
        weights: Name → the weights of which entries may be held.
        pruned: Name → boolean tensor of the weight's shape, True where it is zero already and shall stay so.
    """

    def __init__(self, weights: Mapping[str, Parameter], pruned: Mapping[str, Tensor] | None = None) -> None:
        self.weights = dict(weights)
        self.pruned = dict(pruned or {})
        self._living: dict[str, Tensor] = {}  # 0 where the weight is held, 1 where it is not.

    def to_weights(self) -> None:
        """Put the pattern beside the weights."""
        self.pruned = {name: pruned.to(self.weights[name].device) for name, pruned in self.pruned.items()}
        self._living = {}

    @torch.no_grad()
    def hold(self, pruned: Mapping[str, Tensor], optimizer: Optimizer) -> None:
        """Zero these weights and what the optimizer remembers of them, and keep them zero from now on.

        Momentum would revive them otherwise. Weights that ``pruned`` does not name stay held as they are.
        """
        self.pruned |= pruned
        for name in pruned:
            self._living.pop(name, None)
            weight, living = self.weights[name], self.living(name)
            weight.mul_(living).add_(0.0)  # Also of negative weights 0, not -0, which is stored as a value.
            for value in optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(living)

    def drop_gradients(self) -> None:
        """Drop the gradients of dead weights.

        Without them, and with nothing remembered, the optimizer leaves a weight that is zero where it is; nor do they
        count in the gradient's norm. Multiplying by numbers takes a seventh of the time of filling by a mask.
        """
        for name in self.pruned:
            gradient = self.weights[name].grad
            if gradient is not None:
                gradient.mul_(self.living(name))

    def living(self, name: str) -> Tensor:
        """0 where the weight is held, 1 where it is not, in the weight's type.

        Args:
            name: Of a weight that ``pruned`` has.
        """
        if name not in self._living:
            self._living[name] = as_numbers(~self.pruned[name], self.weights[name].dtype)
        return self._living[name]

    def check(self, optimizer: Optimizer) -> None:
        """Make sure that all of them are zero.

        Raises:
            RuntimeError: If the optimizer moved a dead weight.
        """
        for name, pruned in self.pruned.items():
            if self.weights[name][pruned].count_nonzero():
                raise RuntimeError(
                    f"{type(optimizer).__name__} moved pruned weights of {name}, whose gradients are zero; use AdamW."
                )
