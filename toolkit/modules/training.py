"""How weights are trained: the options that every method shares, and the groups of weights that AdamW takes."""

from dataclasses import dataclass
from typing import Any

from torch.nn import Parameter
from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights are trained: AdamW, linear warm-up, linear decay to zero.

    Args:
        learning_rate: At the end of the warm-up.
        weight_decay: Decoupled; matrices only, not biases and normalisations.
        warmup_fraction: Share of the optimizer steps over which the learning rate rises.
        dropout: Replaces every dropout probability of the network; null leaves them.
        hold_zeros: Whether the weights of the transformer blocks that are exactly zero at the start stay zero: the
            pattern of a network that was pruned before.
    """

    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    dropout: float | None = None
    hold_zeros: bool = False

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"model.training.learning_rate must be positive, but got {self.learning_rate}.")
        if self.weight_decay < 0:
            raise ValueError(f"model.training.weight_decay must not be negative, but got {self.weight_decay}.")
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"model.training.warmup_fraction must lie in [0, 1), but got {self.warmup_fraction}.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"model.training.dropout must lie in [0, 1), but got {self.dropout}.")


def decay_groups(network: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    """Split the weights into those that decay and those that don't: biases and normalisations.

    All of these have one dimension, but XLNet's biases of the queries, which have one row for each head.
    """
    decayed: list[Parameter] = []
    spared: list[Parameter] = []
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            (spared if weight.ndim <= 1 or name.endswith("bias") else decayed).append(weight)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
