"""Where numbers stop being finite: said once something has gone wrong, not looked for at every step."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def first_weight(network: nn.Module) -> str | None:
    """Name of the first weight that is not finite.

    Args:
        network: Any.
    """
    return next((name for name, weight in network.named_parameters() if not torch.isfinite(weight).all()), None)


def check_weights(network: nn.Module, name: str) -> None:
    """Refuse a network that computes nothing: its scores would be those of chance.

    Args:
        network: Any.
        name: For the error.

    Raises:
        FloatingPointError: If a weight is not finite.
    """
    weight = first_weight(network)
    if weight is not None:
        raise FloatingPointError(
            f"{name}: the weight {weight} has NaN or infinite entries, so it is not judged and not stored; if it was "
            "just trained, lower model.training.learning_rate or set trainer.gradient_clip_val, else take another "
            "network."
        )


@torch.no_grad()
def first_states(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> int | None:
    """First layer whose hidden states are not finite: 0 is the output of the embeddings, l that of block l.

    Args:
        network: Of `transformers`.
        inputs: What it takes, (B, T) each.
    """
    states = network(**inputs, output_hidden_states=True).hidden_states  # (B, T, D) each
    return next((layer for layer, state in enumerate(states) if not torch.isfinite(state).all()), None)


def origin(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> str:
    """Where in a network the numbers of a batch stop being finite, in words.

    Args:
        network: Of `transformers`.
        inputs: What it takes, (B, T) each.
    """
    weight = first_weight(network)
    if weight is not None:
        return f"the weight {weight} is not finite since the step before"
    layer = first_states(network, inputs)
    if layer is not None:
        return f"the hidden states of layer {layer} are not finite" + " (the embeddings)" * (layer == 0)
    return "weights and hidden states are finite"
