"""The head of a masked language model, computed where tokens are masked alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel


@contextmanager
def masked_positions(network: PreTrainedModel, masked: Tensor) -> Iterator[None]:
    """Let the head see the masked positions only: it may cost as much as the encoder, mostly for what nobody asks.

    Logits are then ``(N, V)``, of the N masked tokens in their order; or ``(B, T, V)`` as ever, where the architecture
    has its head not beside its encoder.

    Args:
        network: With a masked language model head.
        masked: True at the masked tokens ``(B, T)``.
    """
    places = masked.flatten().nonzero()[:, 0]

    def select(module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if not arguments or not isinstance(arguments[0], Tensor) or arguments[0].shape[:2] != masked.shape:
            return arguments
        return arguments[0].flatten(0, 1).index_select(0, places), *arguments[1:]

    heads = [part for part in network.children() if part is not network.base_model]
    handles = [part.register_forward_pre_hook(select) for part in heads]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
