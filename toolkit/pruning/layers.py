"""Decide which blocks of a network to keep and to train: plans from the scores of layers, independent of any model.

Blocks are counted from 0: block b reads layer b and writes layer b + 1; layer 0 is the output of the embeddings. A
network of B blocks has the layers 0 … B, and a score of layers is a sequence of B + 1 numbers.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Head = Literal["chosen", "top"]


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """What becomes of the blocks of a network.

    Args:
        num_blocks: Blocks of the network before.
        kept: Blocks that stay, ascending; the head reads the output of the last of them.
        trained: Blocks whose weights are trained, ascending; the others run without gradients as far as possible.

    Raises:
        ValueError: If no block is kept or trained, a block does not exist, or a trained one is not kept.

    Example:
        >>> plan = LayerPlan(num_blocks=6, kept=(0, 1, 2, 3), trained=(2, 3))
        >>> plan.head, plan.trains_embeddings
        (4, False)
    """

    num_blocks: int
    kept: tuple[int, ...]
    trained: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("kept", "trained"):
            blocks = getattr(self, name)
            if not blocks or list(blocks) != sorted({*blocks}) or not 0 <= blocks[0] <= blocks[-1] < self.num_blocks:
                raise ValueError(
                    f"The {name} blocks are {list(blocks)}; give at least one of the {self.num_blocks} blocks, by "
                    "their numbers from 0, ascending."
                )
        if lost := set(self.trained) - set(self.kept):
            raise ValueError(f"Block {min(lost)} is to be trained but not kept; keep it or leave it out of both.")

    @property
    def head(self) -> int:
        """Layer of the original network that the head reads."""
        return self.kept[-1] + 1

    @property
    def trains_embeddings(self) -> bool:
        """Whether the embeddings are trained: with all that is kept, as in plain fine-tuning."""
        return self.trained == self.kept


def best_layer(scores: Sequence[float], tolerance: float = 0.0) -> int:
    r"""Choose the layer of the lowest score, or the first that is nearly as low.

    .. math:: l^* = \min \{ l \ge 1 : s_l \le (1 + r) \min_{m \ge 1} s_m \}

    Args:
        scores: Of the layers 0 … B, not negative, lower is better; layer 0 is never chosen, as a network without
            blocks reads no context.
        tolerance: r; 0 takes the lowest, the first of equal ones.

    Returns:
        Number of the layer, from 1.

    Raises:
        ValueError: If there is no block, no finite score, a negative one, or the tolerance is negative.

    Example:
        >>> best_layer([9.0, 4.0, 2.1, 2.0, 3.0]), best_layer([9.0, 4.0, 2.1, 2.0, 3.0], tolerance=0.1)
        (3, 2)
    """
    if tolerance < 0:
        raise ValueError(f"The tolerance is {tolerance}, but must not be negative; 0.05 means within 5 %.")
    finite = [score for score in scores[1:] if math.isfinite(score)]
    if not finite or min(finite) < 0:
        raise ValueError(f"The scores {list(scores)} have no finite one above layer 0, or a negative one.")
    lowest = min(finite)
    return next(layer for layer, score in enumerate(scores) if layer and score <= (1 + tolerance) * lowest)


def select_triple(num_blocks: int, bottom: int, top: int, head: int) -> LayerPlan:
    """Train the layers ``bottom … top``, put the head on layer ``head``, drop everything above it.

    The search space of Xie et al. 2022 (https://arxiv.org/abs/2210.10041): blocks below ``bottom`` are frozen.

    Args:
        num_blocks: Blocks of the network.
        bottom: First layer that is trained, from 1.
        top: Last layer that is trained.
        head: Layer that the head reads.

    Raises:
        ValueError: Unless 1 ≤ bottom ≤ top ≤ head ≤ num_blocks.

    Example:
        >>> select_triple(12, bottom=7, top=8, head=9).kept[-1], select_triple(12, 7, 8, 9).trained
        (8, (6, 7))
    """
    if not 1 <= bottom <= top <= head <= num_blocks:
        raise ValueError(
            f"bottom, top and head are {bottom}, {top}, {head}; layers count from 1 and must not descend, up to "
            f"{num_blocks}."
        )
    return LayerPlan(num_blocks=num_blocks, kept=tuple(range(head)), trained=tuple(range(bottom - 1, top)))


def select_all(num_blocks: int) -> LayerPlan:
    """Keep and train everything: plain fine-tuning."""
    return select_triple(num_blocks, 1, num_blocks, num_blocks)


def select_truncated(num_blocks: int, layer: int) -> LayerPlan:
    """Put the head on a layer, drop what is above, train what is left."""
    return select_triple(num_blocks, 1, layer, layer)


def select_window(num_blocks: int, layer: int, size: int, head: Head = "chosen") -> LayerPlan:
    """Train only the ``size`` layers up to ``layer``.

    Args:
        num_blocks: Blocks of the network.
        layer: Last layer that is trained, from 1; the number of blocks gives the usual baseline, the top layers.
        size: Number of layers to train; fewer where there are fewer below ``layer``.
        head: ``chosen`` puts the head on ``layer`` and drops what is above; ``top`` drops nothing.

    Raises:
        ValueError: If a number is out of range.
    """
    if size < 1:
        raise ValueError(f"The window has {size} layers, but must have at least one.")
    return select_triple(num_blocks, max(1, layer - size + 1), layer, layer if head == "chosen" else num_blocks)


def select_top(num_blocks: int, keep: int) -> LayerPlan:
    """Keep the top blocks: the embeddings feed block ``num_blocks - keep``."""
    return _keep(num_blocks, range(num_blocks - _checked(keep, num_blocks), num_blocks))


def select_bottom(num_blocks: int, keep: int) -> LayerPlan:
    """Keep the bottom blocks, the usual truncation (Sajjad et al. 2023, https://arxiv.org/abs/2004.03844)."""
    return _keep(num_blocks, range(_checked(keep, num_blocks)))


def select_random(num_blocks: int, keep: int, seed: int = 0) -> LayerPlan:
    """Keep blocks drawn at random, in their order."""
    drawn = np.random.default_rng(seed).permutation(num_blocks)[: _checked(keep, num_blocks)]
    return _keep(num_blocks, drawn.tolist())


def select_alternate(num_blocks: int, keep: int) -> LayerPlan:
    """Keep blocks at equal distances, the first and the last among them.

    Example:
        >>> select_alternate(6, 3).kept, select_alternate(12, 6).kept, select_alternate(6, 1).kept
        ((0, 2, 5), (0, 2, 4, 7, 9, 11), (0,))
    """
    _checked(keep, num_blocks)
    places = [round(place * (num_blocks - 1) / max(1, keep - 1)) for place in range(keep)]
    return _keep(num_blocks, places)


def select_symmetric(num_blocks: int, keep: int) -> LayerPlan:
    """Keep the bottom and the top blocks, drop the middle; of an odd number one more below.

    Example:
        >>> select_symmetric(6, 3).kept
        (0, 1, 5)
    """
    below = math.ceil(_checked(keep, num_blocks) / 2)
    return _keep(num_blocks, [*range(below), *range(num_blocks - (keep - below), num_blocks)])


def select_highest(scores: Sequence[float], keep: int) -> LayerPlan:
    """Keep the blocks of the highest scores, such as block influence (Men et al. 2024, https://arxiv.org/abs/2403.03853).

    Args:
        scores: Of the blocks 0 … B - 1, higher is more important; of equal ones the lower block is kept.
        keep: Number of blocks.

    Raises:
        ValueError: If a score is NaN, or `keep` is out of range.

    Example:
        >>> select_highest([0.5, 0.1, 0.2, 0.4], keep=2).kept
        (0, 3)
    """
    if any(map(math.isnan, scores)):
        raise ValueError(f"The scores {list(scores)} have a NaN; they must be numbers.")
    order = sorted(range(len(scores)), key=lambda block: -scores[block])
    return _keep(len(scores), order[: _checked(keep, len(scores))])


def select_falling(scores: Sequence[float], keep: int) -> LayerPlan:
    r"""Keep the bottom block, and the blocks that lower a score of layers most.

    Block b contributes :math:`\log s_b - \log s_{b+1}`: what it does to class variability, or to any positive score of
    which lower is better. Where the score falls up to its lowest layer l* and rises above, ``keep = l*`` truncates
    there; fewer drop the blocks that contribute least, more keep those that harm least. The bottom block stays whatever
    the scores: it makes words in context of the embeddings, which other blocks were never trained to read.

    Args:
        scores: Of the layers 0 … B, positive; infinite where classes cannot be told apart.
        keep: Number of blocks.

    Raises:
        ValueError: If a score is not positive, none above layer 0 is finite, or `keep` is out of range.

    Example:
        >>> select_falling([4.0, 8.0, 3.9, 1.0, 2.0], keep=2).kept
        (0, 2)
    """
    if not all(score > 0 for score in scores):
        raise ValueError(f"The scores {list(scores)} must be positive.")
    if not any(map(math.isfinite, scores[1:])):
        raise ValueError(
            f"The scores {list(scores)} have no finite one above layer 0: of so few rows none tells the classes apart. "
            "Give more rows, or choose by another score."
        )
    # Of two infinite layers none is better: the block between them contributes nothing.
    gains = [
        0.0 if below == above else math.log(below) - math.log(above) for below, above in itertools.pairwise(scores)
    ]
    return select_highest([math.inf, *gains[1:]], keep)


def select_redundant(similarity: Sequence[Sequence[float]], keep: int) -> LayerPlan:
    """Drop, one after the other, the block whose output is most similar to the last kept layer before it.

    Args:
        similarity: Between the layers 0 … B, such as CKA, (B + 1, B + 1).
        keep: Number of blocks.

    Raises:
        ValueError: If the table is not square or has a NaN, or `keep` is out of range.

    Example:
        >>> select_redundant([[1, 0.9, 0.5], [0.9, 1, 0.6], [0.5, 0.6, 1]], keep=1).kept
        (1,)
    """
    table = _square(similarity)
    num_blocks = len(table) - 1
    _checked(keep, num_blocks)
    kept = list(range(num_blocks))
    while len(kept) > keep:
        before = [0, *(block + 1 for block in kept[:-1])]
        likeness = [table[layer, block + 1] for layer, block in zip(before, kept, strict=True)]
        del kept[int(np.argmax(likeness))]
    return _keep(num_blocks, kept)


def select_around_run(distances: Sequence[Sequence[float]], keep: int) -> LayerPlan:
    """Drop the run of successive blocks whose input and output differ least.

    Gromov et al. 2024 (https://arxiv.org/abs/2403.17887), with the angular distance between layers.

    Args:
        distances: Between the layers 0 … B, (B + 1, B + 1); of equal runs the uppermost is dropped.
        keep: Number of blocks.

    Raises:
        ValueError: If the table is not square or has a NaN, or `keep` is out of range.

    Example:
        >>> select_around_run([[0, 0.4, 0.5, 0.9], [0, 0, 0.1, 0.6], [0, 0, 0, 0.4], [0, 0, 0, 0]], keep=2).kept
        (0, 2)
    """
    table = _square(distances)
    num_blocks = len(table) - 1
    run = num_blocks - _checked(keep, num_blocks)
    start = min(range(keep + 1), key=lambda layer: (table[layer, layer + run], -layer))
    return _keep(num_blocks, [*range(start), *range(start + run, num_blocks)])


def _keep(num_blocks: int, blocks: Sequence[int]) -> LayerPlan:
    kept = tuple(sorted(blocks))
    return LayerPlan(num_blocks=num_blocks, kept=kept, trained=kept)


def _checked(keep: int, num_blocks: int) -> int:
    if not 1 <= keep <= num_blocks:
        raise ValueError(f"keep is {keep}, but the network has {num_blocks} blocks; keep 1 to {num_blocks} of them.")
    return keep


def _square(table: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    array = np.asarray(table, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or np.isnan(array).any():
        raise ValueError(f"The table has the shape {array.shape}; it must be square, layers by layers, without NaN.")
    return array
