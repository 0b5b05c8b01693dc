r"""Greedy selection of neurons by a Gaussian model of the classes (Torroba Hennigen et al. 2020).

Their probe (https://arxiv.org/abs/2010.02812) fits a Gaussian to every class and adds the neuron with the largest
gain. Here the gain is the mutual information of class and neurons where all of the rows count as Gaussian, too:

.. math:: I(S) = \tfrac12 \log |\Sigma_S| - \tfrac12 \sum_c \pi_c \log |\Sigma_{c,S}|

whose increase by a neuron is known from its conditional variances, :math:`\tfrac12 (\log \sigma^2_{n|S} - \sum_c \pi_c
\log \sigma^2_{c,n|S})`. Pivoted Cholesky factors give those for all of the neurons at once, and need only the columns
of the covariances that belong to chosen neurons: no neuron has to be left out for the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toolkit.probing.rows import check_rows, standardized


def rank_gaussian(
    features: Tensor,
    targets: Tensor,
    num_classes: int | None,
    *,
    count: int = 200,
    covariance: str = "shared",
    ridge: float = 1e-2,
    prior: float = 100.0,
    bins: int = 8,
) -> Tensor:
    r"""Rank neurons by greedy forward selection.

    Args:
        features: (R, F), raw.
        targets: (R,) class ids, or values, which are cut into quantiles.
        num_classes: C, or None for regression.
        count: Neurons to choose one by one; the others stand by their gain after these.
        covariance: ``shared`` by the classes, whose I(S) is that of Wilks' lambda and linear discriminants; or of
            every ``class``.
        ridge: Added to the variances of standardised features, against nearly equal neurons.
        prior: Rows for which the shared covariance counts in that of a class.
        bins: Quantiles of the values.

    Returns:
        (F,) neuron numbers, best first.

    Raises:
        ValueError: If the rows fit no probe, or an option is out of its range.
    """
    check_rows(features, targets, num_classes)
    if covariance not in ("shared", "class") or ridge <= 0 or count < 1:
        raise ValueError(
            f"covariance is {covariance!r}, ridge {ridge}, count {count}; give 'shared' or 'class', > 0, >= 1"
        )
    inputs, _, _ = standardized(features)
    if num_classes is None:
        cuts = targets.double().quantile(torch.arange(1, bins, dtype=torch.float64) / bins)
        targets = torch.searchsorted(cuts, targets.double(), right=True)
    # Rows in the order of their classes, every class centred by its own mean.
    order = targets.argsort(stable=True)
    sizes = [int(size) for size in torch.bincount(targets) if size > 0]
    total = inputs[order]
    within = torch.cat([rows - rows.mean(0) for rows in total.split(sizes)])
    groups = [within] if covariance == "shared" else [within, *within.split(sizes)]
    weights = torch.tensor([1.0] if covariance == "shared" else [0.0] + [size / len(total) for size in sizes])
    weights = weights.double()
    matrices = [total, *groups]

    def mixed(parts: list[Tensor]) -> Tensor:
        # (1 + G, F): the total's, the shared one's, and those of the classes, drawn towards the shared one.
        stacked = torch.stack(parts).double()
        for number, size in enumerate(sizes if covariance == "class" else [], start=2):
            stacked[number] = (size * stacked[number] + prior * stacked[1]) / (size + prior)
        return stacked

    variance = mixed([rows.square().mean(0) for rows in matrices]) + ridge
    num_neurons = inputs.shape[1]
    count = min(count, num_neurons)
    factors = variance.new_zeros(len(matrices), num_neurons, count)
    free = torch.ones(num_neurons, dtype=torch.bool)
    chosen: list[int] = []
    for step in range(count):
        gain = _gain(variance, weights).masked_fill(~free, -torch.inf)
        neuron = int(gain.argmax())
        chosen.append(neuron)
        free[neuron] = False
        column = mixed([rows.T @ rows[:, neuron] / len(rows) for rows in matrices])
        column -= (factors[:, :, :step] @ factors[:, neuron, :step, None])[:, :, 0]
        # Its own ridge touches a neuron alone, so no other's column has it.
        factors[:, :, step] = column / variance[:, neuron, None].sqrt()
        variance = (variance - factors[:, :, step].square()).clamp_min(ridge)
    rest = _gain(variance, weights).argsort(descending=True, stable=True)
    return torch.cat([torch.tensor(chosen), rest[free[rest]]])


def _gain(variance: Tensor, weights: Tensor) -> Tensor:
    logarithms = variance.log()
    return (logarithms[0] - weights @ logarithms[1:]) / 2
