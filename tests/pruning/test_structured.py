"""Groups of weights: sums, importance, the group penalty, and which groups stay."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from toolkit.pruning.structured import (
    choose_kept,
    group_norms,
    group_sums,
    keep_counts,
    shrink_factors,
    taylor_importance,
)


@pytest.mark.parametrize(("shape", "dim"), [((6, 5), 0), ((5, 6), 1), ((6,), 0)])
def test_sums_equal_a_plain_loop(shape: tuple[int, ...], dim: int) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rows = values.movedim(dim, 0)
    expected = [sum(float(rows[2 * group + place].sum()) for place in range(2)) for group in range(3)]
    assert group_sums(values, dim, 3).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("groups", [0, 4])
def test_what_cannot_be_divided_is_refused(groups: int) -> None:
    with pytest.raises(ValueError, match=f"6 entries can't be divided into {groups}"):
        group_sums(torch.ones(6), 0, groups)


def test_norms_are_those_of_all_parts_of_a_group() -> None:
    rng = np.random.default_rng(0)
    up, bias, down = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(3, 4))
    parts = [(torch.tensor(up), 0), (torch.tensor(bias), 0), (torch.tensor(down), 1)]
    expected = [np.linalg.norm(np.concatenate([up[n], bias[n : n + 1], down[:, n]])) for n in range(4)]
    np.testing.assert_allclose(group_norms(parts, 4), expected)


def test_importance_is_the_change_of_the_loss_to_first_order() -> None:
    """Compared with the difference quotient of a network whose group is scaled by 1 - h."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.GELU(), torch.nn.Linear(4, 2)).double()
    inputs, labels = torch.randn(7, 5).double(), torch.randint(2, (7,))
    first, last = network[0], network[2]
    assert isinstance(first, torch.nn.Linear)
    assert isinstance(last, torch.nn.Linear)

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(network(inputs), labels)

    owned = [(first.weight, 0), (first.bias, 0), (last.weight, 1)]
    gradients = torch.autograd.grad(loss(), [weight for weight, _ in owned])
    parts = [(weight.detach(), gradient, dim) for (weight, dim), gradient in zip(owned, gradients, strict=True)]
    found = taylor_importance(parts, 4)
    for neuron in range(4):
        with torch.no_grad():
            changes = []
            for h in (1e-6, -1e-6):
                before = [weight.clone() for weight, _ in owned]
                for weight, dim in owned:
                    weight.select(dim, neuron).mul_(1 - h)
                changes.append(float(loss()))
                for (weight, _), old in zip(owned, before, strict=True):
                    weight.copy_(old)
        assert float(found[neuron]) == pytest.approx(abs(changes[0] - changes[1]) / 2e-6, rel=1e-4, abs=1e-9)


def test_shrinking_solves_the_penalised_problem() -> None:
    """The factor times w minimises ½‖v - w‖² + t‖v‖, as a general solver finds it."""
    rng = np.random.default_rng(1)
    for size, scale in ((0.5, 0.1), (1.0, 0.3), (0.3, 0.2)):
        weight = rng.normal(size=6) * size
        norm = torch.tensor([np.linalg.norm(weight)])
        threshold = scale / (float(norm) + 1e-3)

        def cost(v: np.ndarray, weight: np.ndarray = weight, threshold: float = threshold) -> float:
            return float(0.5 * np.sum((v - weight) ** 2) + threshold * np.linalg.norm(v))

        best = minimize(
            cost, weight * 0.5, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 9999}
        )
        found = float(shrink_factors(norm, scale)[0]) * weight
        assert cost(found) <= best.fun + 1e-9
        np.testing.assert_allclose(found, best.x, atol=1e-3)


def test_a_group_at_its_threshold_is_exactly_zero_and_no_factor_is_negative() -> None:
    factors = shrink_factors(torch.tensor([0.0, 0.1, 0.4, 2.0]), 0.1)
    assert factors[:2].tolist() == [0.0, 0.0]
    assert 0 < factors[2] < factors[3] < 1


@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_counts_are_multiples_near_the_wanted_ones(multiple: int) -> None:
    rng = np.random.default_rng(multiple)
    for _ in range(50):
        sizes = [64] * 5
        wanted = rng.integers(multiple, 64, size=5).tolist()
        counts = keep_counts(wanted, sizes, multiple)
        assert all(count % multiple == 0 and multiple <= count <= 64 for count in counts)
        assert all(abs(count - want) < multiple for count, want in zip(counts, wanted, strict=True))
        assert abs(sum(counts) - sum(wanted)) <= multiple / 2


def test_a_block_keeps_all_of_its_groups_or_at_least_one_multiple() -> None:
    assert keep_counts([61, 40, 5], [61, 64, 5], 8) == [61, 40, 5]
    with pytest.raises(ValueError, match="multiples of 0"):
        keep_counts([1], [2], 0)


def test_blocks_that_keep_more_than_wanted_take_it_from_others() -> None:
    assert keep_counts([61, 0, 0], [61, 64, 5], 8) == [48, 8, 5]
    kept = choose_kept(
        [torch.arange(32), torch.arange(32) + 100, torch.arange(32) + 200], 0.6667, uniform=False, multiple=8
    )
    assert [len(own) for own in kept] == [8, 8, 16]
    assert sum(map(len, choose_kept([torch.arange(8), torch.arange(8) + 100], 0.5, uniform=False))) == 8


def test_the_highest_scores_stay() -> None:
    scores = [torch.tensor([4.0, 1.0, 3.0, 2.0]), torch.tensor([8.0, 7.0, 6.0, 5.0])]
    assert choose_kept(scores, 0.5, uniform=True) == [[0, 2], [0, 1]]
    assert choose_kept(scores, 0.375, uniform=False) == [[0], [0, 1, 2, 3]]
    assert choose_kept(scores, 0.0, uniform=False, multiple=3) == [[0, 1, 2, 3]] * 2
    assert choose_kept(scores, 0.99, uniform=False) == [[0], [0]]


def test_what_was_removed_is_not_kept_to_fill_up_a_multiple() -> None:
    gone = -torch.inf
    scores = [torch.tensor([gone, gone, gone, 5.0, 6.0, 7.0, 8.0, 9.0]), torch.arange(8) / 10]
    kept = choose_kept(scores, 0.4, uniform=False, multiple=4)
    assert kept[0] == [4, 5, 6, 7]
    assert len(kept[1]) == 4


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share of groups"):
        choose_kept([torch.ones(2)], share, uniform=True)


def test_scores_must_be_numbers() -> None:
    with pytest.raises(ValueError, match="Block 1 has a score that is NaN"):
        choose_kept([torch.ones(2), torch.tensor([1.0, torch.nan])], 0.5, uniform=True)
