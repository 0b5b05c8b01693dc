r"""What each layer knows about a task, and how many lower layers are enough.

The score of a probe on one layer says where the information is; that of a probe on layers :math:`0 \ldots \ell` says
how deep a network must be. The LayerSelector keeps the smallest :math:`\ell` that loses less than a part
:math:`\delta` of the oracle, the probe on all layers (Dalvi et al. 2020, https://arxiv.org/abs/2004.04010,
section 7, step "LS").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toolkit.probing.linear import Score, fit_probe, probe_score


class LayerStates(Protocol):
    """Labelled hidden states of a split, in memory or on disk."""

    @property
    def states(self) -> Any:
        """``(R, L, D)``: anything with a shape."""

    @property
    def labels(self) -> NDArray[Any]:
        """``(R,)`` class ids, or values of a regression."""

    def matrix(self, layers: Sequence[int] | None = None) -> Tensor:
        """``(R, len(layers)·D)`` float32, layer by layer; all layers for None."""


@runtime_checkable
class WithSentences(Protocol):
    """Rows that know which sentence they are of."""

    @property
    def sentences(self) -> NDArray[np.int64]:
        """``(R,)``, rows of a sentence beside each other."""


@dataclass(frozen=True, eq=False)
class ArrayStates:
    """Labelled hidden states from an array.

    Args:
        states: ``(R, L, D)``: a tensor, an array or a memory map, of any floating type.
        labels: ``(R,)``.

    Raises:
        ValueError: If the shapes do not fit.
    """

    states: Tensor | NDArray[Any]
    labels: NDArray[Any]

    def __post_init__(self) -> None:
        if self.states.ndim != 3 or len(self.states) != len(self.labels):
            raise ValueError(
                f"states has shape {tuple(self.states.shape)} and there are {len(self.labels)} labels; "
                "expected (R, L, D) and R."
            )

    def matrix(self, layers: Sequence[int] | None = None) -> Tensor:
        """``(R, len(layers)·D)`` float32, layer by layer; all layers for None."""
        chosen = list(range(self.states.shape[1]) if layers is None else layers)
        return torch.as_tensor(np.asarray(self.states[:, chosen])).flatten(1).float()


class LayerScores(NamedTuple):
    """Scores of probes on layers.

    Args:
        independent: Of a probe on each layer alone.
        cumulative: Of a probe on each layer and all below it; the last is the oracle.
    """

    independent: list[float]
    cumulative: list[float]


def layer_scores(
    train: LayerStates, dev: LayerStates, *, num_classes: int | None, score: Score, **options: Any
) -> LayerScores:
    """Train a probe on each layer, and one on each layer with all below it; score them on dev.

    Args:
        train: What the probes are trained on.
        dev: What they are scored on.
        num_classes: Number of classes C; None for a regression.
        score: Gives the score of logits ``(R, C)``, or of values ``(R, 1)``, and targets ``(R,)``.
        options: Of :func:`toolkit.probing.linear.fit_probe`, the same for every probe.

    Raises:
        ValueError: If the two splits have different layers or hidden sizes.
    """
    check_same_layers(train, dev)
    targets, dev_targets = torch.as_tensor(train.labels), torch.as_tensor(dev.labels)

    def probed(layers: Sequence[int]) -> float:
        probe = fit_probe(train.matrix(layers), targets, num_classes=num_classes, **options)
        return probe_score(probe, dev.matrix(layers), dev_targets, score)

    numbers = range(train.states.shape[1])
    independent = [probed([layer]) for layer in numbers]
    return LayerScores(independent, [independent[0], *(probed(range(layer + 1)) for layer in numbers[1:])])


def select_layer(cumulative: Sequence[float] | Tensor, oracle: float, delta: float) -> int:
    r"""The LayerSelector: the lowest layer that is enough together with all below it.

    .. math:: \min \{\ell : s_{0 \ldots \ell} > s - \delta |s|\}

    with the oracle :math:`s`, that is :math:`s (1 - \delta)` for a score that is not negative; the last layer if there
    is none, as for an oracle of 0.

    Args:
        cumulative: Dev scores of the probes on layers 0 to :math:`\ell`, for each :math:`\ell`.
        oracle: Dev score of the probe on all layers.
        delta: Part of the oracle that may be lost, in [0, 1).

    Returns:
        The number of the layer; layer 0 is the output of the embeddings.

    Raises:
        ValueError: If there is no layer, or `delta` is out of range.

    Example:
        >>> select_layer([0.70, 0.89, 0.94, 0.95], oracle=0.95, delta=0.03)
        2
    """
    if not len(cumulative):
        raise ValueError("cumulative is empty, expected the score of at least one layer.")
    for layer, score in enumerate(cumulative):
        if float(score) > lowest_score(oracle, delta):
            return layer
    return len(cumulative) - 1


def lowest_score(oracle: float, delta: float) -> float:
    r"""The score that loses a part :math:`\delta` of the oracle: :math:`s - \delta |s|`.

    Args:
        oracle: :math:`s`, of any sign.
        delta: In [0, 1).

    Raises:
        ValueError: If `delta` is out of range.
    """
    if not 0 <= delta < 1:
        raise ValueError(f"delta is {delta}, expected a part of the oracle in [0, 1), such as 0.03 for 3 %.")
    return oracle - delta * abs(oracle)


def check_same_layers(train: LayerStates, *others: LayerStates) -> None:
    """Check that all splits have the layers and the hidden size of the first.

    Raises:
        ValueError: If they have not.
    """
    for other in others:
        if other.states.shape[1:] != train.states.shape[1:]:
            raise ValueError(
                f"the splits have {tuple(train.states.shape[1:])} and {tuple(other.states.shape[1:])} "
                "(layers, hidden size); extract both with the same network."
            )
