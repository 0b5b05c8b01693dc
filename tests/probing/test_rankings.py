"""Rankings against literal loops of their definitions and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, mutual_info_score
from torch import Tensor

from toolkit.probing import rankings
from toolkit.probing.rankings import (
    mutual_information,
    rank_by_average_precision,
    rank_by_correlation_analysis,
    rank_by_mutual_information,
    rank_by_norm,
    rank_by_overlap,
    rank_probeless,
    rank_random,
)

ROWS, NEURONS, CLASSES = 400, 9, 4


def _rows(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([0.5, 0.3, 0.15, 0.05]), ROWS, replacement=True, generator=generator)
    means = torch.randn(CLASSES, NEURONS, generator=generator) * torch.linspace(0, 2, NEURONS)
    features = means[labels] + torch.randn(ROWS, NEURONS, generator=generator)
    return features[:, torch.randperm(NEURONS, generator=generator)], labels


def _sweep(weight: np.ndarray, stride: int) -> dict[int, int]:
    # The step of the published sweep over the mass in which each neuron enters.
    entered: dict[int, int] = {}
    for step in range(stride + 1):
        for row in np.abs(weight):
            mass, wanted = 0.0, step / stride * row.sum()
            for neuron in np.argsort(-row, kind="stable"):
                entered.setdefault(int(neuron), step)
                mass += row[neuron]
                if mass >= wanted:
                    break
    return entered


@pytest.mark.parametrize("classes", [1, 5])
def test_correlation_analysis_is_the_limit_of_the_papers_sweep(classes: int) -> None:
    weight = np.random.default_rng(0).normal(size=(classes, 60)) ** 3
    order = rank_by_correlation_analysis(torch.from_numpy(weight)).tolist()
    assert sorted(order) == list(range(60))
    for stride in (100, 1000):
        steps = _sweep(weight, stride)
        assert [steps[n] for n in order] == sorted(steps.values())
    assert len(set(_sweep(weight, 1000).values())) > 40  # few ties: the order is tested
    assert set(order[:classes]) == {int(n) for n in np.abs(weight).argmax(1)}


def test_correlation_analysis_of_ties_and_unused_neurons() -> None:
    weight = torch.tensor([[4.0, 3.0, 0.0, 2.0, 1.0], [0.0, 5.0, 0.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    # The firsts of both classes stand by their shares, 0.5 of neuron 1 and 0.4 of neuron 0, then 3 (behind 0.5 of
    # class 1), then 4 (behind 0.8), and last the neuron that nobody uses.
    assert rank_by_correlation_analysis(weight).tolist() == [1, 0, 3, 4, 2]
    assert rank_by_correlation_analysis(torch.ones(2, 4)).tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(rank_by_correlation_analysis(-7 * weight), rank_by_correlation_analysis(weight))


def test_correlation_analysis_of_a_regression_is_the_order_of_its_weights() -> None:
    weight = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
    expected = weight[0].abs().argsort(descending=True)
    assert torch.equal(rank_by_correlation_analysis(weight), expected)
    assert torch.equal(rank_by_norm(weight), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probeless_of_many_rows(dtype: torch.dtype) -> None:
    """Sums are taken in pieces; one class comes in the last piece alone."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (9000,), generator=generator)
    labels[-50:] = 3
    features = 100 + torch.randn(9000, 30, generator=generator, dtype=dtype)
    features += 0.3 * torch.randn(4, 30, generator=generator, dtype=dtype)[labels]
    means = np.stack([features[labels == label].double().mean(0).numpy() for label in range(4)])
    distances = sum(np.abs(means[one] - means[two]) for one in range(4) for two in range(one))
    assert np.diff(np.sort(distances)).min() > 1e-4  # apart, so that rounding changes no place
    assert rank_probeless(features, labels, 4).tolist() == np.argsort(-distances).tolist()


def test_norm() -> None:
    weight = np.random.default_rng(1).normal(size=(5, 40))
    assert rank_by_norm(torch.from_numpy(weight)).tolist() == np.argsort(-np.linalg.norm(weight, axis=0)).tolist()
    assert rank_by_norm(torch.ones(3, 4)).tolist() == [0, 1, 2, 3]


def test_probeless_sums_over_pairs_of_classes() -> None:
    features, labels = _rows()
    labels = labels + (labels > 1).long()  # class 2 has no rows
    means = [features[labels == c].double().numpy().mean(0) for c in (0, 1, 3, 4)]
    pairs = sum(np.abs(a - b) for i, a in enumerate(means) for b in means[:i])
    expected = np.argsort(-np.asarray(pairs))
    assert rank_probeless(features, labels, CLASSES + 1).tolist() == expected.tolist()


def test_probeless_of_values_is_correlation() -> None:
    features, _ = _rows()
    values = features @ torch.linspace(-1, 1, NEURONS) + 3
    expected = [-abs(np.corrcoef(column, values)[0, 1]) for column in features.T.numpy()]
    assert rank_probeless(features, values, None).tolist() == np.argsort(expected).tolist()


@pytest.mark.parametrize("bins", [2, 5, 16])
def test_mutual_information_equals_scikit_learns(bins: int) -> None:
    features, labels = _rows()
    features[:, 0] = features[:, 0].round()  # many equal values
    features[:, 1] = 1.5
    ours = mutual_information(features, labels, CLASSES, bins=bins)
    for neuron, column in enumerate(features.T.numpy()):
        edges = np.sort(column)[[ROWS * cut // bins for cut in range(1, bins)]]
        binned = np.searchsorted(edges, column, side="right")
        bias = (len(np.unique(binned)) - 1) * (CLASSES - 1) / (2 * ROWS)
        assert ours[neuron].item() == pytest.approx(mutual_info_score(binned, labels.numpy()) - bias, abs=1e-12)
    assert ours[1].item() == pytest.approx(0, abs=1e-12)
    order = rank_by_mutual_information(features, labels, CLASSES, bins=bins)
    assert torch.equal(order, ours.argsort(descending=True))


def test_mutual_information_of_noise_is_unbiased() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1000, 600, generator=generator)  # more than one piece
    labels = torch.randint(10, (1000,), generator=generator)
    information = mutual_information(noise, labels, 10, bins=8)
    bias = 7 * 9 / 2000
    assert abs(float(information.mean())) < 0.05 * bias
    values = mutual_information(noise, torch.randn(1000, generator=generator), None, bins=8)
    assert abs(float(values.mean())) < 0.05 * 49 / 2000
    assert int(rank_by_mutual_information(noise, noise[:, 500], None)[0]) == 500
    with pytest.raises(ValueError, match="bins is 1"):
        mutual_information(noise, labels, 10, bins=1)


@pytest.mark.parametrize("rounded", [False, True])
def test_average_precision_equals_scikit_learns(rounded: bool) -> None:
    features, labels = _rows()
    if rounded:
        features = features.round()
    expected = []
    for column in features.T.numpy():
        best = 0.0
        for label in range(CLASSES):
            chance = float((labels == label).float().mean())
            for sign in (1, -1):
                precision = average_precision_score((labels == label).numpy(), sign * column)
                best = max(best, (precision - chance) / (1 - chance))
        expected.append(best)
    ours = [float(rankings._detection(column, labels, CLASSES)[0]) for column in features.T]
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert rank_by_average_precision(features, labels, CLASSES).tolist() == np.argsort(-np.asarray(ours)).tolist()


def test_overlap_by_sets() -> None:
    features, labels = _rows()
    expected = []
    for column in features.T:
        best = 0.0
        for label in range(CLASSES):
            rows = set((labels == label).nonzero()[:, 0].tolist())
            for sign in (1, -1):
                fired = set((sign * column).argsort(descending=True)[: len(rows)].tolist())
                best = max(best, len(rows & fired) / len(rows | fired))
        expected.append(best)
    order = rank_by_overlap(features, labels, CLASSES).tolist()
    assert order == np.argsort(-np.asarray(expected), kind="stable").tolist()


def test_a_perfect_detector_comes_first() -> None:
    features, labels = _rows()
    features[:, 3] = -(labels == 3).float()  # the rarest class, by small values
    assert int(rank_by_average_precision(features, labels, CLASSES)[0]) == 3
    assert int(rank_by_overlap(features, labels, CLASSES)[0]) == 3


def test_random_is_a_seeded_permutation() -> None:
    assert torch.equal(rank_random(20, 0), rank_random(20, 0))
    assert not torch.equal(rank_random(20, 0), rank_random(20, 1))
    assert rank_random(20, 0).sort().values.tolist() == list(range(20))


def test_overlap_shares_a_threshold_among_equal_values() -> None:
    """A neuron that never changes detects nothing, in whatever order the rows stand."""
    labels = torch.tensor([0] * 50 + [1] * 50)
    good = labels.double()
    good[[3, 60]] = good[[60, 3]]  # two rows of a hundred are detected wrongly
    features = torch.stack([torch.zeros(100, dtype=torch.float64), good], 1)
    shuffled = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    for order in (torch.arange(100), shuffled):
        assert rank_by_overlap(features[order], labels[order], 2).tolist() == [1, 0]
    # Two of three equal values have room: 4/3 of class 0's two rows are expected inside, 4/3 / (4 - 4/3) = 1/2.
    for classes in ([0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 0, 1]):
        _, overlap = rankings._detection(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor(classes), 2)
        assert overlap == pytest.approx(0.5)


def test_half_precision_and_order_of_rows_do_not_matter() -> None:
    features, labels = _rows()
    features = features.half()
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    for rank in (rank_probeless, rank_by_mutual_information, rank_by_average_precision, rank_by_overlap):
        ranking = rank(features, labels, CLASSES)
        assert torch.equal(ranking, rank(features.float()[order], labels[order], CLASSES)), rank
