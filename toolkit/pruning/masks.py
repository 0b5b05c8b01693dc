"""Which weights are pruned: masks from scores, exactly at the wanted sparsity."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

Scope = Literal["global", "layer", "row"]

# One score in so many is in the sample that says where the boundary lies. It is prime, so that the sample goes through
# all columns of a matrix, whose width is hardly a multiple of it.
STRIDE = 251
FEW = 2**16  # Scores that are not worth a sample.


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
    return _mask_smallest([scores], count)[0]


def _mask_smallest(scores: Sequence[Tensor], count: int) -> list[Tensor]:
    """Mark the ``count`` smallest of several tensors' scores together, of equal ones those that come first.

    The boundary is bracketed by two quantiles of a sample, so that most scores are compared with two numbers only, and
    those between them are few enough to be ordered: the algorithm of Floyd and Rivest (1975,
    https://doi.org/10.1145/360680.360691). The result is exact; where the sample misleads, all scores are ordered.
    """
    flat = [part.flatten() for part in scores]
    lengths = [len(part) for part in flat]
    total = sum(lengths)
    if not 0 <= count <= total:
        raise ValueError(f"Expected to prune from 0 to {total} weights, but got {count}.")
    if total > FEW:
        sample = torch.cat([part[::STRIDE] for part in flat]).sort().values
        flat = [part.to(sample) for part in flat]  # Only where their types differ.
        share = count / total
        # Five standard deviations of a quantile's rank to each side; a sample of rows in order has hardly more.
        margin = 5 * math.sqrt(share * (1 - share) * len(sample)) + 1
        low, high = (
            sample[min(max(round(share * len(sample) + side), 0), len(sample) - 1)] for side in (-margin, margin)
        )
        pruned = [part <= low for part in flat]
        open_ = [((part <= high) & ~below).nonzero().squeeze(1) for part, below in zip(flat, pruned, strict=True)]
        missing = count - sum(int(below.count_nonzero()) for below in pruned)
        if 0 <= missing <= sum(map(len, open_)):
            between = torch.cat([part[places] for part, places in zip(flat, open_, strict=True)])
            chosen = _order(between, missing).split([len(places) for places in open_])
            for below, places, some in zip(pruned, open_, chosen, strict=True):
                below[places] = some
            return [below.view(part.shape) for below, part in zip(pruned, scores, strict=True)]
    pruned = list(_order(torch.cat(flat), count).split(lengths))
    return [mask.view(part.shape) for mask, part in zip(pruned, scores, strict=True)]


def _order(scores: Tensor, count: int) -> Tensor:
    """Mark the ``count`` smallest of ``scores``, one dimension, by the exact boundary."""
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    boundary = smallest(scores, count)
    pruned = scores < boundary
    ties = (scores == boundary).nonzero().flatten()
    pruned[ties[: count - int(pruned.count_nonzero())]] = True
    return pruned


def smallest(values: Tensor, count: int) -> Tensor:
    """The ``count``-th smallest value, a scalar.

    ``Tensor.kthvalue`` gives the same, but PyTorch's deterministic mode refuses it on GPUs.

    Args:
        values: ``(N,)``.
        count: From 1 to N.

    Example:
        >>> smallest(torch.tensor([3.0, 1.0, 2.0]), 2)
        tensor(2.)
    """
    return values.topk(count, largest=False, sorted=False).values.max()


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
    total = sum(score.numel() for score in scores.values())
    return dict(zip(scores, _mask_smallest(list(scores.values()), round(sparsity * total)), strict=True))


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
