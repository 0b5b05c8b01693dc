"""CKA in one pass, compared with its definition on the Gram matrices of all rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from toolkit.statistics.similarity import LayerSimilarity


def layers(rows: int = 40, size: int = 6, offset: float = 0.5, seed: int = 0) -> Tensor:
    """Four layers, each a mixture of the one before and of something new."""
    draw = torch.Generator().manual_seed(seed)
    states = [torch.randn(rows, size, generator=draw)]
    for _ in range(3):
        mixed = states[-1] @ torch.randn(size, size, generator=draw) / size**0.5
        states.append(mixed + 0.5 * torch.randn(rows, size, generator=draw))
    return torch.stack(states) + offset * torch.randn(4, 1, size, generator=draw)


def similarity(rows: Tensor, *sizes: int, debiased: bool = True) -> Tensor:
    metric = LayerSimilarity(len(rows), rows.shape[2], debiased=debiased)
    for part in rows.split(list(sizes) or rows.shape[1], dim=1):
        metric.update(part)
    result: Tensor = metric.compute()
    return result


def hsic(k: np.ndarray, g: np.ndarray, debiased: bool) -> float:
    n = len(k)
    if not debiased:
        centring = np.eye(n) - 1 / n
        return float(np.trace(k @ centring @ g @ centring)) / (n - 1) ** 2
    k, g = k - np.diag(np.diag(k)), g - np.diag(np.diag(g))
    one = np.ones(n)
    both = np.trace(k @ g) + (one @ k @ one) * (one @ g @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ g @ one)
    return float(both) / (n * (n - 3))


def definition(rows: Tensor, debiased: bool) -> np.ndarray:
    grams = [layer @ layer.T for layer in rows.double().numpy()]
    table = np.array([[hsic(k, g, debiased) for g in grams] for k in grams])
    return np.asarray(table / np.sqrt(np.outer(np.diag(table), np.diag(table))))


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("rows", "size"), [(40, 6), (5, 9), (4, 3), (30, 70)])  # 4 · 70 columns are more than a block
def test_equals_the_definition_by_gram_matrices(rows: int, size: int, debiased: bool) -> None:
    states = layers(rows, size)
    expected = definition(states, debiased)
    if np.isnan(expected).any():
        pytest.fail("the case has a negative HSIC of a layer with itself; choose another")
    np.testing.assert_allclose(similarity(states, debiased=debiased).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("debiased", [True, False])
def test_rotated_scaled_and_moved_layers_are_the_same(debiased: bool) -> None:
    x = layers(size=6)[0].double()
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).double())[0]
    result = similarity(torch.stack([x, x, x @ rotation * 30 + 2, -x]), debiased=debiased)
    torch.testing.assert_close(result, torch.ones(4, 4).double(), atol=1e-9, rtol=0)


def test_a_linear_map_is_not_the_same() -> None:
    x = layers(rows=200)[0]
    result = similarity(torch.stack([x, x * torch.tensor([10.0, 1, 1, 1, 1, 1])]))
    assert 0.2 < result[0, 1] < 0.9


def test_unrelated_layers_are_told_so_only_without_the_bias() -> None:
    found = []
    for seed in range(10):
        x = torch.randn(2, 32, 384, generator=torch.Generator().manual_seed(seed))
        assert similarity(x, debiased=False)[0, 1] > 0.9
        found.append(similarity(x)[0, 1].item())
    assert abs(np.mean(found)) < 0.02
    assert np.abs(found).max() < 0.1


@pytest.mark.parametrize(("offset", "error"), [(30.0, 1e-9), (100.0, 1e-7)])
@pytest.mark.parametrize("debiased", [True, False])
def test_keeps_its_digits_far_from_zero(offset: float, error: float, debiased: bool) -> None:
    rows = (layers(100, 40, offset=0.0) * 1024).round() / 1024  # so that adding the offset rounds nothing
    moved = rows + offset
    assert torch.equal(moved - offset, rows)
    result = similarity(moved, 50, 50, debiased=debiased)
    torch.testing.assert_close(result, similarity(rows, debiased=debiased), atol=error, rtol=0)


@pytest.mark.parametrize("debiased", [True, False])
def test_does_not_depend_on_the_batches_nor_their_order(debiased: bool) -> None:
    states = layers()
    expected = similarity(states, debiased=debiased)
    for sizes in ([20, 20], [1] * 40, [39, 0, 1]):
        result = similarity(states.flip(1), *sizes, debiased=debiased)
        torch.testing.assert_close(result, expected, atol=1e-11, rtol=0)


def test_merges_with_another() -> None:
    states = layers()
    first, second = LayerSimilarity(4, 6), LayerSimilarity(4, 6)
    first.update(states[:, :11])
    second.update(states[:, 11:])
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), similarity(states))


@pytest.mark.parametrize("debiased", [True, False])
def test_a_layer_that_does_not_vary_is_like_no_other(debiased: bool) -> None:
    states = layers()
    states[1], states[3] = 0.1, 0
    result = similarity(states, *[3] * 13, 1, debiased=debiased)
    expected = torch.eye(4, dtype=torch.float64)
    expected[0, 2] = expected[2, 0] = float(definition(states[[0, 2]], debiased)[0, 1])
    torch.testing.assert_close(result, expected, atol=1e-9, rtol=0)


def test_observes_the_sentences_of_a_batch() -> None:
    metric = LayerSimilarity(4, 6)
    metric.observe(SimpleNamespace(sentences=layers()))  # type: ignore[arg-type]
    torch.testing.assert_close(metric.compute(), similarity(layers()))


def test_wrong_use_is_an_error() -> None:
    with pytest.raises(ValueError, match="not 2 and 0"):
        LayerSimilarity(2, 0)
    metric = LayerSimilarity(4, 6)
    with pytest.raises(ValueError, match=r"shape \(4, R, 6\), not \(4, 40, 5\)"):
        metric.update(layers(size=5))
    with pytest.raises(ValueError, match="debiased CKA needs at least 4 rows, not 3"):
        similarity(layers(rows=3))
    with pytest.raises(ValueError, match="CKA needs at least 2 rows, not 1"):
        similarity(layers(rows=1), debiased=False)
    metric.to(torch.bfloat16)
    with pytest.raises(TypeError, match=r"cast to torch\.bfloat16"):
        metric.update(layers())
