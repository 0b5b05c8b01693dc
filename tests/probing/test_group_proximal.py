"""The group proximal operator against a minimiser, and the path of neurons that die."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from toolkit.probing.group_proximal import rank_by_group_proximal, shrink_groups


def _signals(rows: int = 2000) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    signals = torch.randn(rows, 4, generator=generator)
    return signals + 0.01 * torch.randn(rows, 4, generator=generator), signals


@pytest.mark.parametrize("threshold", [0.0, 0.5, 5.0])
def test_shrink_groups_minimises_the_proximal_problem(threshold: float) -> None:
    weight = np.random.default_rng(0).normal(size=3)

    def objective(x: np.ndarray) -> float:
        return float(threshold * np.linalg.norm(x) + np.square(x - weight).sum() / 2)

    ours = shrink_groups(torch.from_numpy(weight)[:, None], threshold)[:, 0].numpy()
    best = minimize(objective, weight, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).x
    assert objective(ours) <= objective(best) + 1e-12
    np.testing.assert_allclose(ours, best, atol=1e-4)


def test_shrink_groups_has_a_threshold_for_every_column() -> None:
    weight = torch.tensor([[3.0, 3.0, 0.0], [4.0, 4.0, 0.0]])
    shrunk = shrink_groups(weight, torch.tensor([1.0, 5.0, 0.0]))
    torch.testing.assert_close(shrunk, torch.tensor([[2.4, 0.0, 0.0], [3.2, 0.0, 0.0]]))


def test_orthogonal_neurons_die_in_the_order_of_their_use() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.linalg.qr(torch.randn(200, 6, generator=generator, dtype=torch.float64)).Q
    features = features - features.mean(0)
    values = features @ torch.tensor([1.0, 5.0, -3.0, 0.3, 7.0, -2.0], dtype=torch.float64)
    order = rank_by_group_proximal(features, values, num_classes=None, l2=1e-4)
    assert order.tolist() == [4, 1, 2, 5, 0, 3]


def test_noise_dies_before_signals() -> None:
    features, signals = _signals()
    labels = torch.stack([signals[:, 0], signals[:, 1], -signals[:, 0], signals[:, 2]], 1).argmax(1)
    noise = torch.randn(2000, 8, generator=torch.Generator().manual_seed(1))
    order = rank_by_group_proximal(torch.cat([noise, features[:, :3]], 1), labels, num_classes=4).tolist()
    assert set(order[:3]) == {8, 9, 10}


def test_every_neuron_is_ranked_once_and_runs_agree() -> None:
    features, signals = _signals()
    features = torch.cat([features, torch.full((2000, 1), 3.0)], 1)
    labels = 2 * (signals[:, 0] > 0).long()
    order = rank_by_group_proximal(features.half(), labels, num_classes=3)  # class 1 has no rows
    assert order.sort().values.tolist() == list(range(5))
    assert int(order[0]) == 0
    assert torch.equal(order, rank_by_group_proximal(features.half(), labels, num_classes=3))


def test_targets_that_nothing_explains_end() -> None:
    order = rank_by_group_proximal(torch.ones(6, 3), torch.tensor([0, 1, 0, 1, 0, 1]), num_classes=2)
    assert order.sort().values.tolist() == [0, 1, 2]


def test_wrong_options_are_refused() -> None:
    features, signals = _signals()
    with pytest.raises(ValueError, match="growth is 1"):
        rank_by_group_proximal(features, signals[:, 0], num_classes=None, growth=1)
