"""Recursive elimination of neurons: train a probe, drop the neurons that it uses least, and go on with the rest.

A ranking by one probe's weights cannot see that neurons stand in for each other: of two copies both look weak, and both
go. Here the probe is trained again after every cut, and what lost its copy becomes strong.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from toolkit.probing.rows import check_rows, standardized
from toolkit.probing.solvers import LinearLoss, minimize_smooth


def rank_by_elimination(
    features: Tensor,
    targets: Tensor,
    *,
    num_classes: int | None,
    l2: float = 1e-3,
    drop: float = 1 / 3,
    weakness: Literal["norm", "largest"] = "norm",
    tolerance: float = 3e-3,
    max_iterations: int = 60,
) -> Tensor:
    r"""Rank neurons by when recursive elimination drops them.

    Every round starts from the last round's weights. The weakest are those with the smallest
    :math:`\sum_k W_{kn}^2`, or :math:`\max_k |W_{kn}|`, of standardised features.

    Args:
        features: (R, F), raw.
        targets: (R,) class ids, or values.
        num_classes: C, or None for regression.
        l2: Penalty of the probes, as in `fit_probe`.
        drop: Part of the neurons that a round drops, at least one.
        weakness: What the weakest neurons have little of.
        tolerance: Of the probes' solver; a round needs an order, not digits.
        max_iterations: Of the probes' solver.

    Returns:
        (F,) neuron numbers, the last survivor first. Neurons dropped in one round stand by their strength in it.

    Raises:
        ValueError: If the rows fit no probe, or ``drop`` is not between 0 and 1.
    """
    check_rows(features, targets, num_classes)
    if not 0 < drop < 1:
        raise ValueError(f"drop is {drop}, but must lie between 0 and 1")
    inputs, _, _ = standardized(features)
    neurons = torch.arange(inputs.shape[1])
    parameters: Tensor | None = None
    dropped: list[Tensor] = []
    while len(neurons) > 1:
        loss = LinearLoss(inputs, targets, num_classes, l2)
        parameters = minimize_smooth(loss, parameters, tolerance, max_iterations).parameters
        weight = parameters[:, :-1]
        strength = weight.square().sum(0) if weakness == "norm" else weight.abs().amax(0)
        order = strength.argsort(descending=True, stable=True)
        kept = len(neurons) - max(int(drop * len(neurons)), 1)
        dropped.append(neurons[order[kept:]])
        survivors = order[:kept].sort().values
        inputs, neurons = inputs.index_select(1, survivors), neurons[survivors]
        parameters = torch.cat([weight[:, survivors], parameters[:, -1:]], 1)
    return torch.cat([neurons, *reversed(dropped)])
