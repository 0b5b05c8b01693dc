r"""Redundant neurons: average-linkage clustering by absolute correlation.

Neurons whose outputs rise and fall together, or against each other, tell a linear probe the same. Their distance is

.. math:: d(i, j) = 1 - |\rho_{ij}|

with Pearson's correlation :math:`\rho` over the rows; neurons are merged bottom-up by the mean distance between
clusters until no two clusters are closer than a threshold, and one neuron of each cluster is kept (Dalvi et al. 2020,
https://arxiv.org/abs/2004.04010, section 4.2 and step "CC" of section 7). No labels are used.

The authors' code keeps a neuron that never changes as a cluster of its own, and draws the neuron that is kept from
an unseeded generator; here such neurons are dropped and counted, and the medoid is kept by default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from toolkit.statistics.accumulation import CONSTANT

Representative = Literal["medoid", "random"]

_ACCURACY = 1e-6  # of a correlation from products in float32: a smaller distance, or difference of means, is none


@dataclass(frozen=True, eq=False, kw_only=True)
class Clusters:
    """Clusters of neurons at one threshold, numbered by their first neurons.

    Args:
        threshold: Largest mean distance at which two clusters were merged.
        assignment: ``(F,)`` int64: the cluster of each neuron; -1 for a neuron that never changes.
        representatives: ``(clusters,)`` int64: the neuron that each cluster keeps.
    """

    threshold: float
    assignment: Tensor
    representatives: Tensor

    @property
    def num_constant(self) -> int:
        """How many neurons never change; they are in no cluster."""
        return int((self.assignment < 0).sum())

    @property
    def redundant(self) -> float:
        """Share of all neurons that are not kept."""
        return 1 - len(self.representatives) / len(self.assignment)

    @property
    def sizes(self) -> Tensor:
        """``(clusters,)`` int64: neurons of each cluster."""
        return torch.bincount(self.assignment[self.assignment >= 0], minlength=len(self.representatives))

    def windows(self, layers: Tensor) -> Tensor:
        r"""Over how many layers each cluster reaches: :math:`\max_{i} \ell_i - \min_{i} \ell_i + 1` (section 4.2).

        Args:
            layers: ``(F,)`` the layer :math:`\ell` of each neuron; ``torch.arange(F) // D`` for columns by layer.

        Returns:
            ``(clusters,)`` int64; 1 where all neurons of a cluster are of one layer.

        Raises:
            ValueError: If there is not one layer for each neuron.
        """
        if layers.shape != self.assignment.shape:
            raise ValueError(f"layers has shape {tuple(layers.shape)}, expected {tuple(self.assignment.shape)}.")
        inside = self.assignment >= 0
        places, values = self.assignment[inside], layers[inside].long()
        empty = torch.zeros(len(self.representatives), dtype=torch.long)
        highest = empty.scatter_reduce(0, places, values, "amax", include_self=False)
        lowest = empty.scatter_reduce(0, places, values, "amin", include_self=False)
        return highest - lowest + 1


class ClusterTree:
    """All clusterings of the neurons at once: built once, cut at as many thresholds as wanted.

    For F neurons the memory is about 16 F² bytes beside the features: the sums of products in float64 with a copy in
    float32, later the correlations in float32, and half a matrix of distances with SciPy's copy of it in float64.

    Args:
        features: ``(R, F)`` outputs of F neurons on R rows, of any floating type.

    Raises:
        ValueError: If there are fewer than two rows or no neurons, or a value is not finite.

    Example:
        >>> wave = torch.linspace(0, 6.28, 50).sin()
        >>> ramp = torch.linspace(-1, 1, 50) ** 2
        >>> tree = ClusterTree(torch.stack([wave, ramp, -3 * wave + 1, torch.ones(50)], dim=1))
        >>> tree.cut(0.3).assignment
        tensor([ 0,  1,  0, -1])
        >>> tree.cut(1.0).representatives
        tensor([0])
    """

    def __init__(self, features: Tensor) -> None:
        self.num_neurons = features.shape[-1]
        self._correlation, self._varying = pearson(features)
        self._merges: NDArray[np.float64] | None = None
        if len(self._varying) > 1:
            self._merges = linkage(_condensed_distance(self._correlation), method="average")

    def cut(self, threshold: float, *, representative: Representative = "medoid", seed: int = 0) -> Clusters:
        """Merge clusters up to a threshold of their mean distance.

        Args:
            threshold: In [0, 1]: 0 merges neurons that are equal up to scale, sign and shift, 1 merges all. A distance
                below the accuracy of a correlation, 1e-6, counts as 0.
            representative: Neuron that a cluster keeps: ``medoid``, the one with the greatest mean absolute
                correlation to all of the cluster, the first of equal ones; or ``random``, as in the paper.
            seed: Of the random choice.

        Raises:
            ValueError: If the threshold is not in [0, 1], or the representative is unknown.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}, expected a distance 1 - |r| between 0 and 1.")
        if representative not in get_args(Representative):
            raise ValueError(f"representative is {representative!r}, expected one of {get_args(Representative)}.")
        members = self._members(threshold)
        generator = torch.Generator().manual_seed(seed)
        assignment = torch.full((self.num_neurons,), -1)
        kept: list[Tensor] = []
        for number, places in enumerate(members):  # of the neurons that vary
            assignment[self._varying[places]] = number
            if len(places) == 1:
                chosen = 0
            elif representative == "random":
                chosen = int(torch.randint(len(places), (), generator=generator))
            else:
                closeness = self._correlation[places][:, places].abs().mean(1, dtype=torch.float64)
                chosen = int((closeness >= closeness.max() - _ACCURACY).nonzero()[0])
            kept.append(self._varying[places[chosen]])
        representatives = torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)
        return Clusters(threshold=threshold, assignment=assignment, representatives=representatives)

    def _members(self, threshold: float) -> list[Tensor]:
        """The places of each cluster's neurons, ascending, the clusters ordered by their first neurons."""
        if self._merges is None:
            return [torch.tensor([place]) for place in range(len(self._varying))]
        numbers = torch.from_numpy(fcluster(self._merges, t=threshold, criterion="distance").astype(np.int64))
        order = numbers.argsort(stable=True)
        groups = order.split(torch.bincount(numbers)[1:].tolist())  # fcluster counts from 1
        return sorted(groups, key=lambda group: int(group[0]))


def cluster_neurons(
    features: Tensor, threshold: float, *, representative: Representative = "medoid", seed: int = 0
) -> Clusters:
    """Cluster neurons at one threshold: :class:`ClusterTree`, cut once; see there for arguments and errors.

    Args:
        features: ``(R, F)``.
        threshold: Of the mean distance between clusters, in [0, 1]; the paper's is 0.3.
        representative: ``medoid`` or ``random``.
        seed: Of the random choice.
    """
    return ClusterTree(features).cut(threshold, representative=representative, seed=seed)


@torch.no_grad()
def pearson(features: Tensor, block_rows: int = 2048, block_neurons: int = 512) -> tuple[Tensor, Tensor]:
    r"""Pearson's correlation of the neurons that vary, without a second copy of the features.

    .. math:: \rho_{ij} = \frac1R \sum_r z_{ri} z_{rj}, \qquad z_{ri} = \frac{x_{ri} - \bar x_i}{s_i}

    A neuron counts as constant if its standard deviation is below 1e-6 of the size of its values, where the rounding
    of float32 begins. Moments and standardised values are computed in float64, the products of a block of rows in
    float32, and their sum over the blocks in float64: the error is that of float32, whatever the number of rows, the
    shift and the scale.

    Args:
        features: ``(R, F)``, of any floating type.
        block_rows: Rows of one product.
        block_neurons: Neurons of one product.

    Returns:
        The correlations of the V neurons that vary, ``(V, V)`` float32, exactly symmetric with ones on the diagonal,
        and the numbers of these neurons, ``(V,)`` int64, ascending.

    Raises:
        ValueError: If there are fewer than two rows or no neurons, or a value is not finite.
    """
    if features.ndim != 2 or len(features) < 2 or features.shape[1] == 0:
        raise ValueError(f"features has shape {tuple(features.shape)}, expected (R, F), at least two rows, one neuron.")
    blocks = features.split(block_rows)
    mean, variance = _moments(blocks)
    if not bool(variance.isfinite().all()):
        wrong = int((~variance.isfinite()).nonzero()[0])
        raise ValueError(f"neuron {wrong} has a value that is not finite; remove such rows or extract in float32.")
    varying = (variance > CONSTANT * (variance + mean.square())).nonzero().flatten()
    mean, scale = mean[varying], variance[varying].sqrt()
    total = torch.zeros(len(varying), len(varying), dtype=torch.float64)
    for block in blocks:
        standard = ((block[:, varying].double() - mean) / scale).float()
        for start in range(0, len(varying), block_neurons):  # the triangle above, but for its blocks
            stop = start + block_neurons
            total[start:stop, start:] += standard[:, start:stop].T @ standard[:, start:]
    correlation = (total.div_(len(features)).clamp_(-1, 1)).float()
    del total
    correlation.triu_(1)
    correlation += correlation.T.clone()
    return correlation.fill_diagonal_(1), varying


def _moments(blocks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance of each column, ``(F,)`` float64, in two passes: they differ in size without limit."""
    num_rows = sum(len(block) for block in blocks)
    total, squares = (torch.zeros(blocks[0].shape[1], dtype=torch.float64) for _ in range(2))
    for block in blocks:
        total += block.sum(0, dtype=torch.float64)
    mean = total / num_rows
    for block in blocks:
        squares += (block.double() - mean).square_().sum(0)
    return mean, squares / num_rows


def _condensed_distance(correlation: Tensor) -> NDArray[np.float64]:
    """The upper triangle of 1 - abs(r), row by row, ``(V (V - 1) / 2,)`` float64: SciPy's condensed form."""
    size = len(correlation)
    distance = np.empty(size * (size - 1) // 2)
    start = 0
    for place in range(size - 1):
        row: NDArray[Any] = 1 - correlation[place, place + 1 :].abs().double().numpy()
        row[row < _ACCURACY] = 0
        distance[start : start + len(row)] = row
        start += len(row)
    return distance
