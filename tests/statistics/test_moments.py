"""Covariance and correlation in one pass, compared with numpy's of all rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from toolkit.statistics.moments import Moments


def correlated(rows: int, neurons: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, neurons, generator=draw) @ torch.randn(neurons, neurons, generator=draw) + 0.5


def observed(rows: Tensor, sizes: list[int], **options: int) -> Moments:
    moments = Moments(rows.shape[1], **options)
    for part in rows.split(sizes):
        moments.update(part)
    return moments


@pytest.mark.parametrize("neurons", [1, 5, 128, 401])  # one block, a full one, some and a part
@pytest.mark.parametrize("correction", [0, 1])
def test_equals_numpy(neurons: int, correction: int) -> None:
    rows = correlated(50, neurons)
    moments = observed(rows, [1, 20, 0, 29], correction=correction)
    expected = np.cov(rows.double().numpy().T, ddof=correction)
    np.testing.assert_allclose(moments.compute().numpy(), expected, atol=1e-11)
    np.testing.assert_allclose(moments.variance().numpy(), rows.double().numpy().var(0, ddof=correction), atol=1e-11)
    np.testing.assert_allclose(moments.correlation().squeeze().numpy(), np.corrcoef(rows.numpy().T), atol=1e-5)
    assert moments.correlation().shape == (neurons, neurons)


@pytest.mark.parametrize(("offset", "error"), [(10.0, 1e-11), (1e3, 1e-8)])
def test_keeps_its_digits_far_from_zero(offset: float, error: float) -> None:
    rows = torch.randn(2000, 6, generator=torch.Generator().manual_seed(1)) + offset
    expected = torch.cov(rows.double().T, correction=0)
    torch.testing.assert_close(observed(rows, [100] * 20).compute(), expected, atol=error, rtol=0)


def test_does_not_depend_on_the_batches_nor_their_order() -> None:
    rows = correlated(64, 7)
    expected = observed(rows, [64]).compute()
    for sizes in ([32, 32], [1] * 64, [63, 1]):
        torch.testing.assert_close(observed(rows.flip(0), sizes).compute(), expected, atol=1e-12, rtol=0)


def test_merges_with_another_and_starts_again() -> None:
    rows = correlated(40, 4)
    first, second = observed(rows[:13], [13]), observed(rows[13:], [27])
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), torch.cov(rows.double().T, correction=0))
    first.reset()
    first.update(rows[:5])
    torch.testing.assert_close(first.compute(), torch.cov(rows[:5].double().T, correction=0))


def test_a_constant_neuron_is_correlated_with_itself_alone() -> None:
    rows = correlated(300, 24)
    rows[:, 1:-1] = torch.linspace(0.1, 9.9, 22)  # whose sums round, some up and some down
    rows[:, 2] = 0
    correlation = observed(rows, [7] * 42 + [6]).correlation()
    expected = torch.eye(24, dtype=torch.float64)
    expected[0, -1] = expected[-1, 0] = float(np.corrcoef(rows[:, 0].numpy(), rows[:, -1].numpy())[0, 1])
    torch.testing.assert_close(correlation, expected, atol=1e-6, rtol=0)


def test_neurons_that_are_equal_or_opposite_have_correlation_one() -> None:
    x = torch.randn(30, generator=torch.Generator().manual_seed(2))
    correlation = observed(torch.stack([x, 3 * x + 5, -x], 1), [30]).correlation()
    expected = torch.tensor([[1.0, 1, -1], [1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    torch.testing.assert_close(correlation, expected, atol=1e-6, rtol=0)
    assert correlation.abs().max() == 1


def test_a_batch_is_laid_out_layer_by_layer() -> None:
    rows = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(3))  # (L, R, D)
    moments = Moments(15)
    moments.observe(SimpleNamespace(rows=rows))  # type: ignore[arg-type]
    expected = np.cov(np.concatenate(list(rows.double().numpy()), axis=1).T, ddof=0)
    np.testing.assert_allclose(moments.compute().numpy(), expected, atol=1e-12)


def test_wrong_use_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one neuron"):
        Moments(0)
    moments = Moments(3, correction=1)
    with pytest.raises(ValueError, match=r"shape \(R, 3\), not \(2, 4\)"):
        moments.update(torch.zeros(2, 4))
    moments.update(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="needs more rows than that, not 1"):
        moments.compute()
    moments.to(torch.bfloat16)
    with pytest.raises(TypeError, match=r"cast to torch\.bfloat16"):
        moments.update(torch.zeros(1, 3))
