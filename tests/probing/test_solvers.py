"""The loss against autograd, and the minimisers against SciPy and against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from toolkit.probing.solvers import LinearLoss, minimize_composite, minimize_smooth

ROWS, FEATURES, CLASSES = 200, 6, 3


def _loss(num_classes: int | None, l2: float = 0.01) -> LinearLoss:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(ROWS, FEATURES, generator=generator, dtype=torch.float64)
    outputs = features @ torch.randn(FEATURES, CLASSES, generator=generator, dtype=torch.float64)
    outputs += torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    return LinearLoss(features, outputs.argmax(1) if num_classes else outputs[:, 0], num_classes, l2)


def _objective(loss: LinearLoss, parameters: Tensor) -> Tensor:
    outputs = loss.features @ parameters[:, :-1].T + parameters[:, -1]
    if loss.classes:
        value = torch.nn.functional.cross_entropy(outputs, loss.targets)  # of one-hot targets
    else:
        value = torch.nn.functional.mse_loss(outputs, loss.targets)
    return value + loss.l2 * parameters[:, :-1].square().sum()


@pytest.mark.parametrize("num_classes", [CLASSES, None])
def test_derivatives_are_those_of_autograd(num_classes: int | None) -> None:
    loss = _loss(num_classes)
    generator = torch.Generator().manual_seed(1)
    point, direction = torch.randn(2, num_classes or 1, FEATURES + 1, generator=generator, dtype=torch.float64)
    logits = loss.logits(point)
    length = torch.zeros((), dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad(_objective(loss, point + length * direction), length, create_graph=True)[0]
    second = torch.autograd.grad(first, length)[0]
    assert loss.derivatives(point, logits, direction, loss.logits(direction)) == pytest.approx(
        (first.item(), second.item()), rel=1e-9
    )
    point.requires_grad_()
    expected = torch.autograd.grad(_objective(loss, point), point)[0]
    torch.testing.assert_close(loss.gradient(point.detach(), logits), expected)


@pytest.mark.parametrize("num_classes", [CLASSES, None])
def test_smooth_minimum_is_scipys(num_classes: int | None) -> None:
    loss = _loss(num_classes)
    shape = (num_classes or 1, FEATURES + 1)
    best = minimize(
        lambda x: float(_objective(loss, torch.from_numpy(x).view(shape))), np.zeros(shape).ravel(), tol=1e-9
    )
    solution = minimize_smooth(loss, None, 1e-9, 500)
    assert float(_objective(loss, solution.parameters)) == pytest.approx(best.fun, abs=1e-9)
    assert solution.residual <= 1e-9
    assert solution.iterations < 100
    # Without a penalty the composite minimiser has the same minimum.
    composite = minimize_composite(loss, lambda weight, _: weight, None, 1e-8, 5000)
    torch.testing.assert_close(composite.parameters, solution.parameters, atol=1e-5, rtol=0)


@pytest.mark.parametrize("far", [1e-3, 30.0])
def test_any_start_leads_to_the_minimum(far: float) -> None:
    loss = _loss(CLASSES)
    generator = torch.Generator().manual_seed(2)
    start = far * torch.randn(CLASSES, FEATURES + 1, generator=generator, dtype=torch.float64)
    start[:, -1] -= start[:, -1].mean()
    kept = start.clone()
    expected = minimize_smooth(loss, None, 1e-9, 500).parameters
    torch.testing.assert_close(minimize_smooth(loss, start, 1e-9, 500).parameters, expected, atol=1e-6, rtol=0)
    composite = minimize_composite(loss, lambda weight, _: weight, start, 1e-8, 5000)
    torch.testing.assert_close(composite.parameters, expected, atol=1e-5, rtol=0)
    assert torch.equal(start, kept)


@pytest.mark.parametrize("num_classes", [CLASSES, None])
def test_of_constant_features_nothing_is_learned_at_once(num_classes: int | None) -> None:
    targets = torch.arange(ROWS) % CLASSES
    loss = LinearLoss(torch.zeros(ROWS, FEATURES), targets if num_classes else 0.1 * targets, num_classes, 0.01)
    for solution in (
        minimize_smooth(loss, None, 1e-6, 1000),
        minimize_composite(loss, lambda weight, _: weight, None, 1e-6, 1000),
    ):
        assert solution.iterations == 0
        assert torch.equal(solution.parameters, loss.start())


def test_a_minimiser_tells_how_far_it_came() -> None:
    loss = _loss(CLASSES)
    stopped = minimize_smooth(loss, None, 1e-9, 3)
    assert stopped.iterations == 3
    zero = loss.start()
    gradient = loss.gradient(stopped.parameters, loss.logits(stopped.parameters)).norm()
    scale = loss.gradient(zero, loss.logits(zero)).norm()
    assert stopped.residual == pytest.approx(float(gradient / scale))
    assert minimize_composite(loss, lambda weight, _: weight, None, 1e-9, 3).residual > 1e-9
