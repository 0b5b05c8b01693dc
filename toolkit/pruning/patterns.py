r"""How pruned weights lie in their matrices: anywhere, N of every M along a row, or in blocks.

A pattern decides which sets of weights may be pruned together; the scores decide among them. Matrices are those of
linear layers, (outputs, inputs): a row holds the weights of one output.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.pruning.masks import Scope, mask_smallest_per_row, prune_smallest


@dataclass(frozen=True)
class Grouped:
    """N of every M consecutive inputs of a row are kept, such as the 2:4 of Mishra et al. 2021.

    Source: https://arxiv.org/abs/2104.08378, section 3.

    Args:
        kept: N.
        size: M.
    """

    kept: int
    size: int

    @property
    def sparsity(self) -> float:
        """Share of zeros that the pattern makes."""
        return 1 - self.kept / self.size


@dataclass(frozen=True)
class Blocks:
    """Blocks of adjacent weights are pruned together.

    Args:
        rows: Outputs of a block.
        columns: Inputs of a block.
    """

    rows: int
    columns: int


Pattern = Grouped | Blocks | None  # None: unstructured.


def parse_pattern(text: str) -> Pattern:
    """Read a pattern from an option.

    Args:
        text: ``unstructured``, ``N:M`` such as ``2:4`` (two of every four are kept), or ``RxC`` such as ``8x8``.

    Returns:
        The pattern; None for ``unstructured``.

    Raises:
        ValueError: If it is none of these, or N is not below M.

    Example:
        >>> parse_pattern("2:4"), parse_pattern("8x16"), parse_pattern("unstructured")
        (Grouped(kept=2, size=4), Blocks(rows=8, columns=16), None)
    """
    if text == "unstructured":
        return None
    if (found := re.fullmatch(r"(\d+):(\d+)", text)) and 0 < int(found[1]) < int(found[2]):
        return Grouped(int(found[1]), int(found[2]))
    if (found := re.fullmatch(r"(\d+)x(\d+)", text)) and int(found[1]) > 0 and int(found[2]) > 0:
        return Blocks(int(found[1]), int(found[2]))
    raise ValueError(
        f'model.pattern is {text!r}; give unstructured, N:M with 0 < N < M such as "2:4" (in quotation marks in a YAML '
        "file), or blocks of rows and columns such as 8x8."
    )


def pattern_text(pattern: Pattern) -> str:
    """Write a pattern as the option that `parse_pattern` reads.

    Args:
        pattern: The pattern; None is ``unstructured``.

    Example:
        >>> [pattern_text(pattern) for pattern in (Grouped(2, 4), Blocks(8, 16), None)]
        ['2:4', '8x16', 'unstructured']
    """
    match pattern:
        case Grouped(kept=kept, size=size):
            return f"{kept}:{size}"
        case Blocks(rows=rows, columns=columns):
            return f"{rows}x{columns}"
    return "unstructured"


def check_pattern(pattern: Pattern, weights: Mapping[str, Tensor]) -> None:
    """Refuse matrices that a pattern does not divide.

    Raises:
        ValueError: With the name and the shape of the first one.
    """
    for name, weight in weights.items():
        shape = tuple(weight.shape)
        match pattern:
            case Grouped(size=size) if len(shape) != 2 or shape[1] % size:
                raise ValueError(
                    f"The rows of {name}, shaped {shape}, cannot be cut into groups of {size}; "
                    "choose another model.pattern, or leave it out by model.targets."
                )
            case Blocks(rows=rows, columns=columns) if len(shape) != 2 or shape[0] % rows or shape[1] % columns:
                raise ValueError(
                    f"{name}, shaped {shape}, cannot be cut into blocks of {rows}x{columns}; "
                    "choose another model.pattern, or leave it out by model.targets."
                )


def share_beside_pattern(weights: Mapping[str, Tensor], pattern: Pattern) -> float:
    """How much of some weights contradicts a pattern.

    Of N:M these are the weights beyond N in a group that are not zero, of blocks the zeros in blocks that are not zero
    as a whole. Nothing contradicts an unstructured pattern.

    Args:
        weights: Name → a matrix that the pattern divides (`check_pattern`).
        pattern: How the zeros should lie.

    Returns:
        Their share of all weights, 0 where the pattern is obeyed.

    Example:
        >>> share_beside_pattern({"w": torch.tensor([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])}, Grouped(2, 4))
        0.125
    """
    beside = 0
    for weight in weights.values():
        match pattern:
            case Grouped(kept=kept, size=size):
                living = (weight != 0).reshape(-1, size).sum(1)
                beside += int((living - kept).clamp(min=0).sum())
            case Blocks():
                zeros = in_blocks(weight == 0, pattern)
                beside += int((zeros & ~zeros.all(3, keepdim=True).all(1, keepdim=True)).count_nonzero())
    return beside / sum(weight.numel() for weight in weights.values())


def in_blocks(matrix: Tensor, blocks: Blocks) -> Tensor:
    """View a matrix by its blocks.

    Args:
        matrix: (R, C).
        blocks: r x c, which divide it.

    Returns:
        A view (R / r, r, C / c, c): block (i, j) is ``[i, :, j, :]``.
    """
    height, width = matrix.shape
    return matrix.view(height // blocks.rows, blocks.rows, width // blocks.columns, blocks.columns)


def block_scores(scores: Tensor, blocks: Blocks) -> Tensor:
    r"""Score of a block: the sum of the scores of its weights.

    .. math:: S_B = \sum_{i \in B} s_i

    Weights that score -inf, as those that are pruned already do, add nothing; a block that has no others scores -inf.

    Args:
        scores: (R, C).
        blocks: r x c.

    Returns:
        (R / r, C / c).
    """
    parts = in_blocks(scores, blocks)
    dead = parts.isneginf()
    return parts.masked_fill(dead, 0).sum((1, 3)).masked_fill(dead.all(3).all(1), -torch.inf)


def spread_blocks(values: Tensor, blocks: Blocks) -> Tensor:
    """Give every weight the value of its block.

    Args:
        values: (R / r, C / c).
        blocks: r x c.

    Returns:
        (R, C).
    """
    return values.repeat_interleave(blocks.rows, 0).repeat_interleave(blocks.columns, 1)


_FEW = 8  # Scores of a group that are compared with each other, two by two.


def mask_groups(scores: Tensor, pattern: Grouped) -> Tensor:
    """Mark the M - N smallest scores of every M consecutive inputs.

    Args:
        scores: (R, C), C divisible by M.
        pattern: N:M.

    Returns:
        A boolean tensor (R, C), True where the weight is pruned; of equal scores the first.

    Example:
        >>> mask_groups(torch.tensor([[3.0, 0.0, 0.0, 1.0]]), Grouped(2, 4))
        tensor([[False,  True,  True, False]])
    """
    groups = scores.reshape(-1, pattern.size)
    if pattern.size > _FEW:
        return mask_smallest_per_row(groups, len(groups) * (pattern.size - pattern.kept)).view(scores.shape)
    # The rank of a score is the number of those that are smaller: less than half of the time of sorting each group.
    columns = groups.T.contiguous()  # (M, G)
    ranks = torch.zeros(columns.shape, dtype=torch.int8, device=scores.device)
    for later in range(1, pattern.size):
        for earlier in range(later):
            first = columns[earlier] <= columns[later]  # of equal scores the first
            ranks[later] += first
            ranks[earlier] += ~first
    return (ranks < pattern.size - pattern.kept).T.reshape(scores.shape)


def prune_pattern(
    scores: Mapping[str, Tensor], sparsity: float, pattern: Pattern = None, scope: Scope = "global"
) -> dict[str, Tensor]:
    """Prune the share ``sparsity`` of the weights that score least, as the pattern allows.

    Blocks are pruned by :func:`block_scores`, and the share is exact to one block in each unit of the scope. Of N:M,
    a share below that of the pattern prunes the smallest of those that the full pattern would prune, so that a
    gradual schedule ends with it.

    Zeros that are there already, and lie in no blocks or not evenly over the scope, count as well: only so much is
    pruned beside them that all together make the share, unless they alone are more.

    Args:
        scores: Name of a weight → its scores, (outputs, inputs); -inf where it is pruned already.
        sparsity: The share to prune, in [0, 1]; at most that of an N:M pattern.
        pattern: How the pruned weights lie.
        scope: What is compared with what (:func:`toolkit.pruning.masks.prune_smallest`).

    Returns:
        Name of a weight → boolean tensor of its shape, True where it is pruned.
    """
    if isinstance(pattern, Grouped) or (pattern is None and scope == "global"):
        return _pruned(scores, sparsity, pattern, scope)
    total = sum(score.numel() for score in scores.values())
    dead = {name: score.isneginf() for name, score in scores.items()}
    per_unit = pattern.rows * pattern.columns if pattern is not None else 1
    rounding = per_unit * len(scores) / total

    def attempt(share: float) -> tuple[dict[str, Tensor], bool]:
        pruned = _pruned(scores, share, pattern, scope)
        together = sum(int((mask | dead[name]).count_nonzero()) for name, mask in pruned.items())
        return pruned, together > (sparsity + rounding) * total

    pruned, too_many = attempt(sparsity)
    if not too_many:
        return pruned
    low, high = 0.0, sparsity
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if attempt(middle)[1] else (middle, high)
    return attempt(low)[0]


_HALVINGS = 14  # Of the range of shares: to 0.01 % of the weights.


def _pruned(scores: Mapping[str, Tensor], sparsity: float, pattern: Pattern, scope: Scope) -> dict[str, Tensor]:
    match pattern:
        case None:
            return prune_smallest(scores, sparsity, scope)
        case Blocks():
            sums = {name: block_scores(score, pattern) for name, score in scores.items()}
            pruned = prune_smallest(sums, sparsity, scope)
            return {name: spread_blocks(mask, pattern) for name, mask in pruned.items()}
        case Grouped():
            full = {name: mask_groups(score, pattern) for name, score in scores.items()}
            if sparsity >= pattern.sparsity:
                return full
            allowed = {name: score.masked_fill(~full[name], torch.inf) for name, score in scores.items()}
            return prune_smallest(allowed, sparsity, scope)
