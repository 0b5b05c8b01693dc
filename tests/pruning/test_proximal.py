"""Proximal operator, reweighting and the derived penalty, against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from toolkit.pruning.proximal import penalty_for_sparsity, resistance, reweight, shrink_, soft_threshold


@settings(max_examples=50)
@given(st.floats(-3, 3), st.floats(0, 2))
def test_soft_threshold_minimises_the_proximal_problem(weight: float, threshold: float) -> None:
    def objective(x: float) -> float:
        return threshold * abs(x) + (x - weight) ** 2 / 2

    best = minimize_scalar(objective, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9}).x
    ours = soft_threshold(torch.tensor(weight, dtype=torch.float64), threshold).item()
    assert objective(ours) <= objective(best) + 1e-12
    assert ours == pytest.approx(best, abs=1e-4)


def test_soft_threshold_of_zero_by_zero_is_zero_and_no_nan() -> None:
    assert soft_threshold(torch.zeros(3), 0.0).tolist() == [0, 0, 0]


def test_reweight_against_numpy() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 5))
    ours = reweight(torch.from_numpy(weight), exponent=2.0, epsilon=0.1).numpy()
    np.testing.assert_allclose(ours, 1 / (np.abs(weight) ** 2 + 0.1), rtol=1e-12)


@pytest.mark.parametrize("exponent", [1.0, 2.0])
@pytest.mark.parametrize("with_metric", [False, True])
@pytest.mark.parametrize("with_importance", [False, True])
def test_shrink_in_place_equals_the_pure_functions(exponent: float, with_metric: bool, with_importance: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 11, generator=generator) * 0.05
    weight[0, 0] = 0
    metric = torch.rand(7, 11, generator=generator) + 0.05 if with_metric else None
    importance = reweight(torch.randn(7, 11, generator=generator)) if with_importance else None
    alpha = reweight(weight, exponent, 1e-3) if importance is None else importance
    expected = soft_threshold(weight, 2e-4 * alpha / (1 if metric is None else metric))
    scratch = torch.empty(3, 100)
    given = weight.clone()
    result = shrink_(given, 2e-4, importance=importance, metric=metric, exponent=exponent, scratch=scratch)
    assert result is given
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-9)
    assert torch.equal(result == 0, expected == 0)
    assert 0 < int((result == 0).sum()) < result.numel()


def test_shrink_of_bfloat16_sized_thresholds_needs_float32() -> None:
    weight = torch.tensor([0.5])
    assert shrink_(weight.clone(), 1e-6).item() < 0.5
    assert (weight.bfloat16() - 1e-6 / 0.501).item() == 0.5


@pytest.mark.parametrize("exponent", [1.0, 2.0])
@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_penalty_prunes_the_wanted_share_when_nothing_pulls_back(exponent: float, sparsity: float) -> None:
    weight = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * 0.04
    rates = np.linspace(1e-4, 0, 2000, endpoint=False)
    gamma = penalty_for_sparsity(resistance(weight, exponent), sparsity, float(rates.sum()))
    for rate in rates:
        shrink_(weight, rate * gamma, exponent=exponent)
    assert (weight == 0).float().mean().item() == pytest.approx(sparsity, abs=0.01)


def test_resistance_for_exponent_one_is_the_closed_form() -> None:
    weight = torch.tensor([-0.2, 0.0, 0.1])
    torch.testing.assert_close(resistance(weight, 1.0, 1e-3), weight**2 / 2 + 1e-3 * weight.abs())


def test_penalty_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 weights"):
        penalty_for_sparsity(torch.empty(0), 0.5, 1.0)
    with pytest.raises(ValueError, match="positive sum"):
        penalty_for_sparsity(torch.ones(3), 0.5, 0.0)
    assert penalty_for_sparsity(torch.ones(3), 0.0, 1.0) == 0
