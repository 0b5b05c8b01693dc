"""Minibatch training of a linear model by Adam, as Dalvi et al. 2020 train their probes."""

from __future__ import annotations

import torch
from torch import Tensor

from toolkit.probing.solvers import LinearLoss


def adam(
    inputs: Tensor,
    targets: Tensor,
    num_classes: int | None,
    penalty: tuple[float, float, str],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    shuffle: bool,
    seed: int,
) -> tuple[Tensor, int]:
    """Train a linear model from PyTorch's initial weights.

    Args:
        inputs: (R, F), float32 or float64.
        targets: (R,) class ids, or values.
        num_classes: C, or None for regression.
        penalty: Those of single weights and of their squares, and ``frobenius`` where the latter is that of the norm.
        epochs: Passes over the rows.
        batch_size: Rows of a step.
        learning_rate: Of Adam.
        shuffle: Whether every epoch has an order of its own, or that of the rows.
        seed: Seed of the first weights and of the orders.

    Returns:
        Parameters (K, F + 1), the bias in the last column, and the number of steps.
    """
    l1, l2, norm = penalty
    generator = torch.Generator().manual_seed(seed)
    width = inputs.shape[1]
    # torch.nn.Linear's initial distribution, of weights and bias.
    parameters = torch.rand(num_classes or 1, width + 1, generator=generator).mul_(2).sub_(1).div_(width**0.5)
    parameters = parameters.to(inputs)
    optimizer = torch.optim.Adam([parameters], lr=learning_rate, fused=True)
    weight = parameters[:, :-1]
    steps = 0
    for _ in range(epochs):
        order = torch.randperm(len(inputs), generator=generator) if shuffle else None
        for start in range(0, len(inputs), batch_size):
            # Without an order of their own, rows are read where they lie.
            batch = slice(start, start + batch_size) if order is None else order[start : start + batch_size]
            loss = LinearLoss(inputs[batch], targets[batch], num_classes, l2 if norm == "squared" else 0.0)
            gradient = loss.gradient(parameters, loss.logits(parameters))
            gradient[:, :-1].add_(weight.sign(), alpha=l1)
            if norm == "frobenius":
                gradient[:, :-1].add_(weight, alpha=l2 / float(weight.norm().clamp_min(1e-12)))
            parameters.grad = gradient
            optimizer.step()
            steps += 1
    return parameters, steps
