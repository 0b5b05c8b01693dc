r"""Reweighted group-proximal selection of neurons: reweighted proximal pruning on the columns of a probe.

.. math::
    \min_{W, b} f(W, b) + \gamma \sum_n \alpha_n \|W_{:n}\|_2, \qquad \alpha_n = \frac{1}{\|W_{:n}\|_2 + \varepsilon}

with the probe's loss f. Reweighted proximal pruning (Guo et al. 2019, https://arxiv.org/abs/1909.12486) has single
weights where this has a neuron's weights for all of the outputs. As there, :math:`\alpha` is refreshed, so that
strong neurons are shrunk little and weak ones die; :math:`\gamma` grows until all have.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toolkit.probing.rows import check_rows, standardized
from toolkit.probing.solvers import LinearLoss, minimize_composite, minimize_smooth


def shrink_groups(weight: Tensor, threshold: Tensor | float) -> Tensor:
    r"""Proximal operator of the weighted sum of the columns' norms.

    .. math:: \operatorname{prox}(W)_{:n} = \max\left(1 - \frac{t_n}{\|W_{:n}\|_2}, 0\right) W_{:n}

    Args:
        weight: (K, F).
        threshold: :math:`t`, (F,) or a number; not negative.

    Example:
        >>> shrink_groups(torch.tensor([[3.0, 0.3], [4.0, 0.4]]), 1.0)
        tensor([[2.4000, 0.0000],
                [3.2000, 0.0000]])
    """
    norm = weight.norm(dim=0)
    kept = torch.where(norm > threshold, norm - threshold, 0.0)
    shrunk: Tensor = weight * (kept / norm.clamp_min(torch.finfo(weight.dtype).tiny))
    return shrunk


def rank_by_group_proximal(
    features: Tensor,
    targets: Tensor,
    *,
    num_classes: int | None,
    l2: float = 3e-4,
    growth: float = 1.5,
    epsilon: float = 1e-3,
    refreshes: int = 2,
    tolerance: float = 1e-2,
    max_iterations: int = 30,
) -> Tensor:
    r"""Rank neurons by the penalty that they survive.

    The path starts from the probe without the penalty, and at the :math:`\gamma` that shrinks the weakest hundredth of
    its neurons to zero within one unit step of the proximal operator. Every :math:`\gamma` starts from the weights
    of the last; dead neurons stay dead and cost nothing any more. For k neurons, :math:`\gamma` is where k are left.

    Args:
        features: (R, F), raw.
        targets: (R,) class ids, or values.
        num_classes: C, or None for regression.
        l2: Penalty of the loss, as in `fit_probe`.
        growth: Factor from one :math:`\gamma` to the next.
        epsilon: :math:`\varepsilon`, relative to the root mean square of the norms at the start.
        refreshes: How often :math:`\alpha` is computed for every :math:`\gamma`.
        tolerance: Of the solver for one :math:`\alpha`.
        max_iterations: Of the solver for one :math:`\alpha`.

    Returns:
        (F,) neuron numbers, the last to die first. Those that die at the same :math:`\gamma` stand by the norm that
        they had before.

    Raises:
        ValueError: If the rows fit no probe, or an option is out of its range.
    """
    check_rows(features, targets, num_classes)
    if growth <= 1 or epsilon <= 0 or refreshes < 1:
        raise ValueError(f"growth is {growth}, epsilon {epsilon}, refreshes {refreshes}; give > 1, > 0 and >= 1")
    inputs, _, _ = standardized(features)
    neurons = torch.arange(inputs.shape[1])
    loss = LinearLoss(inputs, targets, num_classes, l2)
    parameters = minimize_smooth(loss, None, 3e-3, 100).parameters
    norms = parameters[:, :-1].norm(dim=0)
    floor = max(epsilon * float(norms.square().mean().sqrt()), torch.finfo(norms.dtype).tiny)
    # A neuron dies in one step if γ α > norm, which is to say γ > norm (norm + ε).
    weakest = float(norms[norms > 0].quantile(0.01)) if bool((norms > 0).any()) else 1.0
    penalty = weakest * (weakest + floor)
    died: list[Tensor] = []
    while len(neurons):
        before = parameters[:, :-1].norm(dim=0)
        for _ in range(refreshes):
            importance = penalty / (parameters[:, :-1].norm(dim=0) + floor)

            def proximal(weight: Tensor, step: float, importance: Tensor = importance) -> Tensor:
                return shrink_groups(weight, step * importance)

            parameters = minimize_composite(loss, proximal, parameters, tolerance, max_iterations).parameters
        alive = parameters[:, :-1].abs().amax(0) > 0
        if not bool(alive.all()):
            order = before.argsort(descending=True, stable=True)
            died.append(neurons[order[~alive[order]]])
            inputs, neurons = inputs.index_select(1, alive.nonzero()[:, 0]), neurons[alive]
            parameters = torch.cat([parameters[:, :-1][:, alive], parameters[:, -1:]], 1)
            loss = LinearLoss(inputs, targets, num_classes, l2)
        penalty *= growth
    return torch.cat(died[::-1])
