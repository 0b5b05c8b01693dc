"""Greedy Gaussian selection against determinants of covariances that are computed from scratch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from toolkit.probing.gaussian import rank_gaussian

ROWS, NEURONS, CLASSES = 500, 12, 3


def _rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (ROWS,), generator=generator)
    spread = 0.5 + torch.rand(CLASSES, NEURONS, generator=generator, dtype=torch.float64)
    mixing = torch.randn(NEURONS, NEURONS, generator=generator, dtype=torch.float64)
    means = torch.randn(CLASSES, NEURONS, generator=generator, dtype=torch.float64)
    noise = torch.randn(ROWS, NEURONS, generator=generator, dtype=torch.float64)
    return (means + 1)[labels] + (spread[labels] * noise) @ mixing, labels


def _literal(features: np.ndarray, labels: np.ndarray, kind: str, ridge: float, prior: float) -> list[int]:
    inputs = (features - features.mean(0)) / features.std(0)
    sizes = np.bincount(labels)
    of_class = [np.cov(inputs[labels == c].T, bias=True) for c in range(CLASSES)]
    within = sum(size * matrix for size, matrix in zip(sizes, of_class, strict=True)) / ROWS
    mixed = [(size * matrix + prior * within) / (size + prior) for size, matrix in zip(sizes, of_class, strict=True)]
    total = np.cov(inputs.T, bias=True)

    def log_determinant(matrix: np.ndarray, places: list[int]) -> float:
        part = matrix[np.ix_(places, places)] + ridge * np.eye(len(places))
        return float(np.linalg.slogdet(part)[1])

    def information(places: list[int]) -> float:
        if kind == "shared":
            return log_determinant(total, places) - log_determinant(within, places)
        parts = [float(size) * log_determinant(matrix, places) for size, matrix in zip(sizes, mixed, strict=True)]
        return log_determinant(total, places) - sum(parts) / ROWS

    chosen: list[int] = []
    while len(chosen) < features.shape[1]:
        free = [n for n in range(features.shape[1]) if n not in chosen]
        chosen.append(max(free, key=lambda n: information([*chosen, n])))
    return chosen


@pytest.mark.parametrize("kind", ["shared", "class"])
def test_greedy_choice_by_determinants(kind: str) -> None:
    features, labels = _rows()
    expected = _literal(features.numpy(), labels.numpy(), kind, ridge=0.01, prior=40.0)
    covariance = "shared" if kind == "shared" else "class"
    order = rank_gaussian(features, labels, CLASSES, covariance=covariance, ridge=0.01, prior=40.0)
    assert order.tolist() == expected
    shifted = rank_gaussian(features, 2 * labels, 2 * CLASSES, covariance=covariance, ridge=0.01, prior=40.0)
    assert torch.equal(order, shifted)  # classes without rows change nothing
    few = rank_gaussian(features, labels, CLASSES, covariance=covariance, ridge=0.01, prior=40.0, count=4)
    assert few[:4].tolist() == expected[:4]
    assert few.sort().values.tolist() == list(range(NEURONS))


def test_a_copy_comes_last() -> None:
    features, labels = _rows()
    best = int(rank_gaussian(features, labels, CLASSES)[0])
    order = rank_gaussian(torch.cat([features, features[:, best : best + 1]], 1), labels, CLASSES)
    assert int(order[0]) == best
    assert int(order[-1]) == NEURONS


def test_values_count_by_their_quantiles() -> None:
    features, _ = _rows()
    values = features[:, 3] + 0.1 * features[:, 5]
    assert int(rank_gaussian(features, values, None)[0]) == 3


def test_wrong_options_are_refused() -> None:
    features, labels = _rows()
    with pytest.raises(ValueError, match="ridge 0"):
        rank_gaussian(features, labels, CLASSES, ridge=0)
