r"""Minimisers of linear models on all rows at once: L-BFGS for smooth penalties, FISTA for those with a kink.

Parameters are one tensor (K, F + 1), the bias in the last column. Logits are linear in it, so those along a line are
known from two products: a step of L-BFGS costs one product with the features for the logits of its direction and one
for the gradient, whatever the line search tries, and FISTA's extrapolated point costs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_HISTORY = 20  # pairs that L-BFGS remembers; products with the features dominate its cost


class LinearLoss:
    r"""Mean loss of a linear model plus a squared penalty, with its derivatives.

    .. math::
        f(W, b) = \frac1R \sum_r \ell(W x_r + b, y_r) + \lambda_2 \sum_{kn} W_{kn}^2

    where :math:`\ell` is the softmax cross-entropy of a class, or the squared error of a value.

    Args:
        features: (R, F), float32 or float64.
        targets: (R,) class ids; or values, where ``num_classes`` is None.
        num_classes: C, or None for regression.
        l2: :math:`\lambda_2`.
    """

    def __init__(self, features: Tensor, targets: Tensor, num_classes: int | None, l2: float) -> None:
        self.features = features
        self.l2 = l2
        self.classes = num_classes is not None
        if num_classes is None:
            self.targets = targets.to(features.dtype)[:, None]
        else:
            self.targets = torch.nn.functional.one_hot(targets.long(), num_classes).to(features.dtype)

    def start(self) -> Tensor:
        """Zero weights, with the bias that is best for them (a class without rows counts as half a row); (K, F + 1)."""
        mean = self.targets.double().mean(0)
        if self.classes:
            mean = mean.clamp_min(0.5 / len(self.targets)).log()
            mean -= mean.mean()
        start = self.features.new_zeros(self.targets.shape[1], self.features.shape[1] + 1)
        start[:, -1] = mean.to(start.dtype)
        return start

    def logits(self, parameters: Tensor) -> Tensor:
        """Outputs (R, K) of parameters, or along a direction."""
        return torch.addmm(parameters[:, -1], self.features, parameters[:, :-1].T)

    def residual(self, logits: Tensor) -> Tensor:
        """Derivative of each row's loss by its outputs (R, K)."""
        return logits.softmax(1) - self.targets if self.classes else 2 * (logits - self.targets)

    def rounding(self, parameters: Tensor) -> float:
        """Size of a gradient that is nothing but rounding: as of constant features, which have nothing to teach."""
        sizes = self.residual(self.logits(parameters)).square().sum(1)
        return 4 * torch.finfo(sizes.dtype).eps * float(sizes.mean().sqrt())

    def gradient(self, parameters: Tensor, logits: Tensor) -> Tensor:
        """Gradient (K, F + 1)."""
        residual = self.residual(logits)
        residual /= len(residual)
        gradient = torch.cat([residual.T @ self.features, residual.sum(0)[:, None]], 1)
        gradient[:, :-1].add_(parameters[:, :-1], alpha=2 * self.l2)
        return gradient

    def derivatives(self, parameters: Tensor, logits: Tensor, direction: Tensor, slope: Tensor) -> tuple[float, float]:
        """First and second derivative of the objective along a direction, whose logits are ``slope`` (R, K)."""
        if self.classes:
            chance = logits.softmax(1)
            weighted = chance * slope
            mean = weighted.sum(1)
            first = float(mean.double().sum() - (slope * self.targets).double().sum())
            second = float(((weighted * slope).sum(1) - mean.square()).double().sum())
        else:
            first = float(2 * ((logits - self.targets) * slope).double().sum())
            second = float(2 * slope.double().square().sum())
        weight, step = parameters[:, :-1].double(), direction[:, :-1].double()
        first = first / len(logits) + 2 * self.l2 * float((weight * step).sum())
        return first, max(second / len(logits), 0.0) + 2 * self.l2 * float(step.square().sum())


@dataclass(frozen=True)
class Solution:
    """Where a minimiser stopped.

    Args:
        parameters: (K, F + 1), the bias in the last column.
        iterations: Steps taken.
        residual: Norm of the gradient (FISTA: of the gradient mapping), over that at zero weights.
    """

    parameters: Tensor
    iterations: int
    residual: float


def minimize_smooth(loss: LinearLoss, start: Tensor | None, tolerance: float, max_iterations: int) -> Solution:
    r"""Minimise by L-BFGS (Nocedal & Wright 2006, algorithm 7.5) with a line search to a tenth of the slope.

    The line search is Newton's on the derivative, inside a bracket; values are not compared, as their differences
    drown in rounding near the minimum. Deterministic.

    Args:
        loss: The objective.
        start: (K, F + 1), or None for zero weights.
        tolerance: Stops once the gradient's norm is at most this part of that at zero weights.
        max_iterations: Most steps.
    """
    zero = loss.start()
    parameters = zero if start is None else start.clone()
    scale = float(loss.gradient(zero, loss.logits(zero)).norm())
    if scale <= loss.rounding(zero):
        return Solution(zero, 0, 0.0)
    logits = loss.logits(parameters)
    gradient = loss.gradient(parameters, logits)
    memory: list[tuple[Tensor, Tensor, float]] = []
    iteration = 0
    while (size := float(gradient.norm())) > tolerance * scale and iteration < max_iterations:
        direction = _quasi_newton(gradient, memory)
        slope = loss.logits(direction)
        length = _line_search(loss, parameters, logits, direction, slope)
        if length == 0:  # rounding leaves no descent
            break
        iteration += 1
        parameters.add_(direction, alpha=length)
        # Sums of many steps would drift from the parameters' own logits.
        logits = loss.logits(parameters) if iteration % 50 == 0 else logits.add_(slope, alpha=length)
        following = loss.gradient(parameters, logits)
        step, change = length * direction, following - gradient
        if (product := float((step * change).sum())) > 0:
            memory = [*memory, (step, change, product)][-_HISTORY:]
        gradient = following
    return Solution(parameters, iteration, size / scale)


def minimize_composite(
    loss: LinearLoss,
    proximal: Callable[[Tensor, float], Tensor],
    start: Tensor | None,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    r"""Minimise the objective plus a penalty on the weights by FISTA with restarts.

    .. math::
        x_{t+1} = \operatorname{prox}_{s}(y_t - s \nabla f(y_t)), \qquad
        y_{t+1} = x_{t+1} + \beta_t (x_{t+1} - x_t)

    (Beck & Teboulle 2009, eq. 4.1-4.3). Momentum starts anew where it points uphill (O'Donoghue & Candès 2015, eq. 13).
    The step size :math:`s` is the inverse of the largest curvature met along recent steps. Deterministic.

    Args:
        loss: The smooth part.
        proximal: ``proximal(weight (K, F), s)``, the proximal operator of s times the penalty.
        start: (K, F + 1), or None for zero weights.
        tolerance: Stops once :math:`\|y_t - x_{t+1}\| / s` is at most this part of the gradient's norm at zero weights.
        max_iterations: Most steps.
    """
    zero = loss.start()
    before = zero if start is None else start.clone()
    scale = float(loss.gradient(zero, loss.logits(zero)).norm())
    if scale <= loss.rounding(zero):
        return Solution(zero, 0, 0.0)
    logits_before = loss.logits(before)
    point, logits = before, logits_before
    momentum, curvature, residual = 1.0, 1.0, 0.0
    iteration = 0
    while iteration < max_iterations:
        gradient = loss.gradient(point, logits)
        while True:
            after = point - gradient / curvature
            after[:, :-1] = proximal(after[:, :-1], 1 / curvature)
            step = after - point
            length = float(step.double().square().sum())
            logits_after = loss.logits(after)
            slope = logits_after - logits
            bent = max(loss.derivatives(p, z, step, slope)[1] for p, z in ((point, logits), (after, logits_after)))
            if bent <= 1.001 * curvature * length or length == 0:
                break
            curvature = max(1.2 * curvature, bent / length)
        iteration += 1
        residual = curvature * length**0.5
        moved = after - before
        if residual <= tolerance * scale:
            before = after
            break
        if float((step * moved).sum()) < 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        weight = (momentum - 1) / following
        point, logits = after + weight * moved, logits_after + weight * (logits_after - logits_before)
        before, logits_before, momentum = after, logits_after, following
        curvature *= 0.98  # lets a step size recover that a steep start has made small
    return Solution(before, iteration, residual / scale)


def _quasi_newton(gradient: Tensor, memory: list[tuple[Tensor, Tensor, float]]) -> Tensor:
    direction = -gradient
    factors = []
    for step, change, product in reversed(memory):
        factors.append(float((step * direction).sum()) / product)
        direction.sub_(change, alpha=factors[-1])
    if memory:
        _, change, product = memory[-1]
        direction *= product / float(change.square().sum())
    for (step, change, product), factor in zip(memory, reversed(factors), strict=True):
        direction.add_(step, alpha=factor - float((change * direction).sum()) / product)
    return direction


def _line_search(loss: LinearLoss, parameters: Tensor, logits: Tensor, direction: Tensor, slope: Tensor) -> float:
    # The derivative of a convex function rises along the line: its zero is bracketed by the signs met.
    steepness = length = low = 0.0
    high = float("inf")
    for attempt in range(20):
        position = parameters + length * direction if length else parameters
        first, second = loss.derivatives(position, logits + length * slope if length else logits, direction, slope)
        if attempt == 0:
            if first >= 0 or second <= 0:
                return 0.0
            steepness = -first
        elif abs(first) <= 0.1 * steepness:
            break
        low, high = (length, high) if first < 0 else (low, length)
        length = length - first / second if second > 0 else 2 * length
        if not low < length < high:
            length = (low + high) / 2 if high < float("inf") else 2 * low
    return length
