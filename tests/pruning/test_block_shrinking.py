"""The group soft-threshold of blocks, against the problem that it solves and the single weights that it generalises."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from toolkit.pruning.patterns import Blocks, spread_blocks
from toolkit.pruning.proximal import block_sizes, penalty_for_sparsity, resistance, reweight, shrink_, shrink_blocks_


@pytest.mark.parametrize("scale", [0.005, 0.5, 50.0])
def test_group_soft_threshold_minimises_the_proximal_problem(scale: float) -> None:
    weight = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha, metric = 0.7, 1.6
    ours = shrink_blocks_(
        weight.clone(),
        scale,
        Blocks(2, 3),
        importance=torch.tensor([[alpha]], dtype=torch.float64),
        metric=torch.tensor([[metric]], dtype=torch.float64),
    )

    def objective(x: np.ndarray) -> float:  # type: ignore[type-arg]
        distance = metric * ((x - weight.numpy().ravel()) ** 2).sum() / 2
        return float(scale * alpha * np.sqrt(6) * np.linalg.norm(x) + distance)

    tight = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000}
    found = minimize(objective, weight.numpy().ravel() * 0.5, method="Nelder-Mead", options=tight)
    best = min(objective(found.x), objective(np.zeros(6)))
    assert objective(ours.numpy().ravel()) <= best + 1e-9
    assert (scale < 50) == bool(ours.count_nonzero())


@pytest.mark.parametrize("with_metric", [False, True])
@pytest.mark.parametrize("with_importance", [False, True])
def test_blocks_of_one_weight_shrink_as_weights_do(with_metric: bool, with_importance: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 11, generator=generator) * 0.05
    weight[0, 0] = 0
    metric = torch.rand(7, 11, generator=generator) + 0.05 if with_metric else None
    importance = reweight(torch.randn(7, 11, generator=generator)) if with_importance else None
    expected = shrink_(weight.clone(), 2e-4, importance=importance, metric=metric)
    found = shrink_blocks_(weight.clone(), 2e-4, Blocks(1, 1), importance=importance, metric=metric)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)
    assert torch.equal(found == 0, expected == 0)
    assert 0 < int((found == 0).sum()) < found.numel()


def test_blocks_die_whole_keep_their_direction_and_lose_the_threshold() -> None:
    weight = torch.randn(8, 12, generator=torch.Generator().manual_seed(1)) * 0.05
    blocks = Blocks(4, 3)
    sizes = block_sizes(weight, blocks)
    for i in range(2):
        for j in range(4):
            part = weight[4 * i : 4 * i + 4, 3 * j : 3 * j + 3]
            assert sizes[i, j].item() == pytest.approx(part.square().mean().sqrt().item())
    scale = float((sizes * (sizes + 1e-3)).median())  # Kills the smaller half.
    shrunk = shrink_blocks_(weight.clone(), scale, blocks)
    expected = (sizes - scale / (sizes + 1e-3)).clamp_min(0)
    torch.testing.assert_close(block_sizes(shrunk, blocks), expected, rtol=1e-4, atol=1e-7)
    assert 0 < int((expected == 0).sum()) < 8
    alive = shrunk[:4, :3] if expected[0, 0] > 0 else shrunk[4:, :3]
    before = weight[:4, :3] if expected[0, 0] > 0 else weight[4:, :3]
    if alive.count_nonzero():
        torch.testing.assert_close(alive / alive.norm(), before / before.norm())


@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_derived_penalty_prunes_the_wanted_share_of_blocks(sparsity: float) -> None:
    generator = torch.Generator().manual_seed(0)
    blocks = Blocks(4, 2)
    weight = torch.randn(200, 160, generator=generator)
    weight *= spread_blocks(torch.rand(50, 80, generator=generator), blocks) * 0.04
    rates = np.linspace(1e-4, 0, 1000, endpoint=False)
    gamma = penalty_for_sparsity(resistance(block_sizes(weight, blocks)), sparsity, float(rates.sum()))
    for rate in rates:
        shrink_blocks_(weight, rate * gamma, blocks)
    assert (weight == 0).float().mean().item() == pytest.approx(sparsity, abs=0.01)


def test_block_of_zeros_stays_and_its_norm_has_no_infinite_gradient() -> None:
    weight = torch.zeros(4, 4, requires_grad=True)
    assert shrink_blocks_(weight.detach().clone(), 0.0, Blocks(2, 2)).tolist() == [[0.0] * 4] * 4
    block_sizes(weight, Blocks(2, 2)).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.isfinite().all()
