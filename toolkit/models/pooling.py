"""One vector for a sentence from those of its tokens."""

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "first", "last"]
"""How token vectors become a sentence's: their mean, or that of the first or last token ([CLS], by architecture)."""


def pool(states: Tensor, present: Tensor, special: Tensor, pooling: Pooling) -> Tensor:
    """Pool token vectors into one vector for each sentence; the side of the padding makes no difference.

    The mean is over valid tokens, neither padding nor special; where a sentence has none, over all that are no
    padding. The first and the last token are those of the whole sequence without its padding, special ones included.

    Args:
        states: Token vectors ``(…, B, T, F)``.
        present: True at tokens, false at padding ``(B, T)``.
        special: True at tokens that the tokenizer added around the text ``(B, T)``; what it says of padding is ignored.
        pooling: ``mean``, ``first`` or ``last``.

    Returns:
        The sentences' vectors ``(…, B, F)``.

    Example:
        >>> states = torch.tensor([[[1.0], [2.0], [4.0], [8.0], [9.0]]])  # [CLS] two words [SEP] [PAD]
        >>> present, special = torch.tensor([[1, 1, 1, 1, 0]]) > 0, torch.tensor([[1, 0, 0, 1, 1]]) > 0
        >>> [pool(states, present, special, pooling).item() for pooling in ("mean", "first", "last")]
        [3.0, 1.0, 8.0]
    """
    if pooling != "mean":
        positions = torch.arange(present.shape[1], device=present.device)
        if pooling == "first":
            chosen = torch.where(present, positions, present.shape[1] - 1).amin(1)
        else:
            chosen = torch.where(present, positions, 0).amax(1)
        return states[..., torch.arange(len(chosen), device=present.device), chosen, :]
    valid = present & ~special
    valid = torch.where(valid.any(1, keepdim=True), valid, present)[..., None]  # (B, T, 1)
    return states.masked_fill(~valid, 0).sum(-2) / valid.sum(-2).clamp(min=1)
