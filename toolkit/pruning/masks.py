"""Which weights are pruned: masks from scores, exactly at the wanted sparsity."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Scope = Literal["global", "layer", "row"]


def mask_smallest(scores: Tensor, count: int) -> Tensor:
    """Mark the ``count`` smallest scores as pruned, neither more nor fewer.

    Equal scores at the boundary are taken in the order of their position, so that the result is deterministic and the
    number of pruned weights exact.

    Args:
        scores: Any shape.
        count: From 0 to the number of scores.

    Returns:
        A boolean tensor of the shape of ``scores``, True where the weight is pruned.

    Raises:
        ValueError: If ``count`` is out of range.

    Example:
        >>> mask_smallest(torch.tensor([3.0, 0.0, 0.0, 0.0, 2.0]), 2)
        tensor([False,  True,  True, False, False])
    """
    if not 0 <= count <= scores.numel():
        raise ValueError(f"Expected to prune from 0 to {scores.numel()} weights, but got {count}.")
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    flat = scores.flatten()
    boundary = flat.kthvalue(count).values
    pruned = flat < boundary
    ties = (flat == boundary).nonzero().flatten()
    pruned[ties[: count - int(pruned.sum())]] = True
    return pruned.view(scores.shape)


def mask_smallest_per_row(scores: Tensor, count: int) -> Tensor:
    """Mark ``count`` of the scores as pruned, the smallest of each row, from each row as many.

    Where the rows do not divide the count, the first rows lose one more each: the count is exact, and no row loses
    fewer when it rises.

    Args:
        scores: ``(R, C)``.
        count: From 0 to the number of scores.

    Returns:
        A boolean tensor ``(R, C)``, True where the weight is pruned; of equal scores in a row the first are.

    Example:
        >>> mask_smallest_per_row(torch.tensor([[3.0, 1.0, 1.0], [0.0, 2.0, 5.0]]), 3)
        tensor([[False,  True,  True],
                [ True, False, False]])
    """
    rows, columns = scores.shape
    each, more = divmod(count, rows)
    counts = each + (torch.arange(rows, device=scores.device) < more).long()
    ranks = torch.arange(columns, device=scores.device)
    order = scores.argsort(dim=1, stable=True)
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, ranks < counts[:, None])


def prune_smallest(scores: Mapping[str, Tensor], sparsity: float, scope: Scope = "global") -> dict[str, Tensor]:
    """Prune the share ``sparsity`` of the weights that score least.

    Args:
        scores: Name of a weight → its scores, of the weight's shape.
        sparsity: The share to prune, in [0, 1].
        scope: ``global`` compares the scores of all weights, ``layer`` those within each weight matrix, ``row`` those
            of each row of a matrix, that is of one output (:func:`mask_smallest_per_row`).

    Returns:
        Name of a weight → boolean tensor of its shape, True where it is pruned.
    """
    if scope == "row":
        return {name: mask_smallest_per_row(score, round(sparsity * score.numel())) for name, score in scores.items()}
    if scope == "layer":
        return {name: mask_smallest(score, round(sparsity * score.numel())) for name, score in scores.items()}
    flat = torch.cat([score.flatten() for score in scores.values()])
    pruned = mask_smallest(flat, round(sparsity * flat.numel())).split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), pruned, strict=True)}


def zeros(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mark the weights that are exactly zero, as :func:`prune_smallest` does."""
    return {name: weight.detach() == 0 for name, weight in weights.items()}


def sparsity(weights: Mapping[str, Tensor]) -> float:
    """Share of exact zeros over all ``weights`` together.

    Raises:
        ValueError: If there are no weights.

    Example:
        >>> sparsity({"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([0.0, 0.0])})
        0.75
    """
    total = sum(weight.numel() for weight in weights.values())
    if total == 0:
        raise ValueError("Sparsity of no weights at all; give at least one that has entries.")
    return sum(weight.numel() - int(weight.count_nonzero()) for weight in weights.values()) / total
