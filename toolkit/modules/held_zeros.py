"""Weights that are held at exactly zero while everything else is trained."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer


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
        self._living = {}
        for name, dead in pruned.items():
            weight = self.weights[name]
            weight.masked_fill_(dead, 0)
            for value in optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.masked_fill_(dead, 0)

    def drop_gradients(self) -> None:
        """Drop the gradients of dead weights.

        Without them, and with nothing remembered, the optimizer leaves a weight that is zero where it is; nor do they
        count in the gradient's norm. Multiplying by numbers takes a seventh of the time of filling by a mask.
        """
        for name, pruned in self.pruned.items():
            if name not in self._living:
                self._living[name] = (~pruned).to(self.weights[name].dtype)
            gradient = self.weights[name].grad
            if gradient is not None:
                gradient.mul_(self._living[name])

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
