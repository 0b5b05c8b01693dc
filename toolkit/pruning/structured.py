r"""Which groups of weights are pruned together: attention heads, neurons of feed-forward layers, hidden channels.

Removing head :math:`g` removes its rows of the query, key and value matrices with their biases, and its columns of the
output matrix; removing a neuron its row and bias of the first matrix of the feed-forward layer, and its column of the
second; removing a hidden channel its slice of whatever writes, normalises or reads the hidden states, from the
embeddings through all blocks to the head. All of these are the group's weights :math:`w_g`. Functions here see a group
as slices of tensors: number :math:`g` of a part owns the entries :math:`[g k, (g + 1) k)` along one of its dimensions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from toolkit.pruning.proximal import reweight


def group_sums(values: Tensor, dim: int, groups: int) -> Tensor:
    """Sum a tensor over everything but its groups.

    Args:
        values: Any shape.
        dim: Dimension that the groups divide.
        groups: Number of groups G.

    Returns:
        One sum for each group, ``(G,)``.

    Raises:
        ValueError: If the dimension can't be divided into so many equal groups.

    Example:
        >>> group_sums(torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]), 1, 2)
        tensor([14., 22.])
    """
    size = values.shape[dim]
    if groups < 1 or size % groups:
        raise ValueError(f"A dimension of {size} entries can't be divided into {groups} equal groups.")
    others = tuple(other for other in range(values.ndim) if other != dim)
    sums = values.sum(others) if others else values
    return sums.view(groups, -1).sum(1)


def group_norms(parts: Sequence[tuple[Tensor, int]], groups: int) -> Tensor:
    r"""Euclidean norm of each group over all its parts: the importance by magnitude.

    .. math:: \|w_g\| = \sqrt{\sum_{i \in g} w_i^2}

    Args:
        parts: Tensors and the dimension in which each is divided into groups.
        groups: Number of groups G.

    Returns:
        ``(G,)``.
    """
    return torch.stack([group_sums(weight.square(), dim, groups) for weight, dim in parts]).sum(0).sqrt()


def taylor_importance(parts: Sequence[tuple[Tensor, Tensor, int]], groups: int) -> Tensor:
    r"""How much the loss of a batch would change without a group, to first order.

    .. math:: s_g = \Big| \sum_{i \in g} w_i \frac{\partial f}{\partial w_i} \Big|

    Summed over batches it ranks groups (Michel et al. 2019, https://arxiv.org/abs/1905.10650, section 4.1, for heads;
    Molchanov et al. 2019, https://arxiv.org/abs/1906.10771, section 3.1, for the sum over weights).

    Args:
        parts: Weights, their gradients, and the dimension in which both are divided into groups.
        groups: Number of groups G.

    Returns:
        ``(G,)``, not negative.
    """
    return torch.stack([group_sums(weight * gradient, dim, groups) for weight, gradient, dim in parts]).sum(0).abs()


def shrink_factors(norms: Tensor, scale: float, exponent: float = 1.0, epsilon: float = 1e-3) -> Tensor:
    r"""The proximal operator of the reweighted group norm, as a factor of each group's weights.

    .. math:: \operatorname{prox}(w_g) = w_g \max\Big(0,\, 1 - \frac{\lambda\gamma\alpha_g}{\|w_g\|}\Big), \qquad
              \alpha_g = \frac{1}{\|w_g\|^p + \varepsilon}

    Groups take the place of the single weights of reweighted proximal pruning; the operator is that of the group lasso
    (Yuan and Lin 2006; Deleu and Bengio 2021, https://arxiv.org/abs/2102.03869, for adaptive optimizers).

    Args:
        norms: :math:`\|w_g\|`, ``(G,)``.
        scale: :math:`\lambda\gamma`, learning rate times penalty.
        exponent: :math:`p`.
        epsilon: :math:`\varepsilon`.

    Returns:
        Factors in [0, 1], ``(G,)``; exactly 0 where the threshold is not below the norm.

    Example:
        >>> shrink_factors(torch.tensor([0.0, 1.0, 4.0]), 2.0, epsilon=1e-9)
        tensor([0.0000, 0.0000, 0.8750])
    """
    thresholds = scale * reweight(norms, exponent, epsilon)
    return torch.where(norms > thresholds, 1 - thresholds / norms, 0.0)


def keep_counts(wanted: Sequence[int], sizes: Sequence[int], multiple: int) -> list[int]:
    """Round how many groups each block keeps to a multiple.

    Their sum stays as near to the wanted one as that allows: the blocks that lose most by rounding down are rounded up
    first, and where blocks keep more than wanted, because none keeps less than ``multiple`` (as far as it has so many),
    others keep less: first those that were rounded up most, then the largest. A block that is to keep all of its groups
    does, whatever their number, unless it must make room.

    Args:
        wanted: How many groups each block is to keep.
        sizes: How many it has.
        multiple: Of what the counts are multiples.

    Returns:
        How many groups each block keeps.

    Raises:
        ValueError: If ``multiple`` is not positive.

    Example:
        >>> keep_counts([61, 65, 59], [128, 128, 128], 8)
        [64, 64, 56]
        >>> keep_counts([0, 8], [8, 8], 1)  # The first one keeps a group, so that the other has to give one up.
        [1, 7]
    """
    if multiple < 1:
        raise ValueError(f"Counts can't be multiples of {multiple}; give 1 or more.")
    counts = [
        size if want >= size else max(min(multiple, size), want // multiple * multiple)
        for want, size in zip(wanted, sizes, strict=True)
    ]
    lacking = round((sum(wanted) - sum(counts)) / multiple)
    by_loss = sorted(range(len(counts)), key=lambda block: counts[block] - wanted[block])
    for block in by_loss:
        if lacking > 0 and counts[block] < wanted[block] and counts[block] + multiple <= sizes[block]:
            counts[block] += multiple
            lacking -= 1
    while (surplus := sum(counts) - sum(wanted)) > 0:
        lower = [
            max(min(multiple, size), (count - 1) // multiple * multiple)
            for size, count in zip(sizes, counts, strict=True)
        ]
        nearer = [block for block, count in enumerate(counts) if 0 < count - lower[block] < 2 * surplus]
        if not nearer:
            break
        block = max(nearer, key=lambda block: (counts[block] - wanted[block], counts[block]))
        counts[block] = lower[block]
    return counts


def choose_kept(scores: Sequence[Tensor], share: float, *, uniform: bool, multiple: int = 1) -> list[list[int]]:
    """Choose the groups that stay: those of the highest scores.

    Args:
        scores: Of the groups of each block, ``(G,)``; of equal ones the later is kept. Minus infinity: removed already,
            and never kept where others will do.
        share: Share of the groups to remove, in [0, 1); 0 keeps all.
        uniform: Whether every block keeps the same share of its own groups; else all blocks' groups are compared.
        multiple: Each block keeps a multiple of so many groups (:func:`keep_counts`).

    Returns:
        For each block the numbers of its kept groups, ascending; at least one.

    Raises:
        ValueError: If the share is out of range, or a score is NaN.

    Example:
        >>> choose_kept([torch.tensor([3.0, 1.0]), torch.tensor([0.5, 2.0])], 0.5, uniform=True)
        [[0], [1]]
    """
    if not 0 <= share < 1:
        raise ValueError(f"The share of groups to remove is {share}; give one in [0, 1).")
    for block, score in enumerate(scores):
        if score.isnan().any():
            raise ValueError(f"Block {block} has a score that is NaN; its groups can't be compared.")
    sizes = [score.numel() for score in scores]
    if uniform:
        counts = [keep_counts([size - round(share * size)], [size], multiple)[0] for size in sizes]
    else:
        ranked = torch.cat([score.flatten() for score in scores])
        removed = torch.zeros_like(ranked, dtype=torch.bool)
        removed[ranked.argsort(stable=True)[: round(share * ranked.numel())]] = True
        wanted = [part.numel() - int(part.sum()) for part in removed.split(sizes)]
        living = [int((score > -torch.inf).sum()) for score in scores]
        limits = [
            size if alive == size else max(min(multiple, size), alive // multiple * multiple)
            for size, alive in zip(sizes, living, strict=True)
        ]
        counts = keep_counts(wanted, limits, multiple)
    return [
        sorted(score.argsort(stable=True)[score.numel() - count :].tolist())
        for score, count in zip(scores, counts, strict=True)
    ]
