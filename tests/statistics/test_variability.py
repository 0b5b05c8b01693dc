"""Variability ν, compared with its formula on covariances and a pseudo-inverse, and with closed forms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from toolkit.statistics.variability import ClassVariability


def examples(counts: list[int], size: int = 12, layers: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows (L, R, D) around a mean of each class, in no order, and their labels."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=draw)]
    means = torch.randn(layers, len(counts), size, generator=draw)
    shape = torch.rand(layers, len(counts), size, generator=draw)  # of the covariance of each class
    rows = means[:, labels] + shape[:, labels] * torch.randn(layers, len(labels), size, generator=draw)
    return rows, labels


def variability(rows: Tensor, labels: Tensor, classes: int, *sizes: int, **options: Any) -> Tensor:
    metric = ClassVariability(rows.shape[0], rows.shape[2], classes, **options)
    lengths = list(sizes) or [len(labels)]
    for part, part_labels in zip(rows.split(lengths, dim=1), labels.split(lengths), strict=True):
        metric.update(part, part_labels)
    result: Tensor = metric.compute()
    return result


def formula(rows: Tensor, labels: Tensor, within: str = "balanced", mean: str = "balanced") -> list[float]:
    present = [int(label) for label in labels.unique()]
    values = []
    for layer in rows.double():
        groups = [layer[labels == label] for label in present]
        centre = layer.mean(0) if mean == "weighted" else torch.stack([group.mean(0) for group in groups]).mean(0)
        size = layer.shape[1]
        inner, between = torch.zeros(size, size).double(), torch.zeros(size, size).double()
        for group in groups:
            covariance = torch.cov(group.T, correction=0) if len(group) > 1 else torch.zeros(size, size).double()
            inner += covariance * (len(group) / len(layer) if within == "weighted" else 1 / len(groups))
            between += torch.outer(group.mean(0) - centre, group.mean(0) - centre) / len(groups)
        values.append((torch.trace(inner @ torch.linalg.pinv(between)) / len(groups)).item())
    return values


@pytest.mark.parametrize("within", ["balanced", "weighted"])
@pytest.mark.parametrize("mean", ["balanced", "weighted"])
@pytest.mark.parametrize("counts", [[30, 30], [90, 7], [20, 50, 5, 40, 9]])
def test_equals_the_formula_with_a_pseudo_inverse(counts: list[int], within: str, mean: str) -> None:
    rows, labels = examples(counts)
    result = variability(rows, labels, len(counts), within=within, mean=mean)
    np.testing.assert_allclose(result.numpy(), formula(rows, labels, within, mean), rtol=1e-8)


@pytest.mark.parametrize("size", [2, 5, 250])  # fewer dimensions than classes; more than a block of products
def test_equals_the_formula_for_any_number_of_dimensions(size: int) -> None:
    rows, labels = examples([9, 20, 4, 6], size)
    np.testing.assert_allclose(variability(rows, labels, 4).numpy(), formula(rows, labels), rtol=1e-7)


def test_equals_the_closed_form_of_two_classes() -> None:
    rows, labels = examples([25, 60])
    expected = []
    for layer in rows.double().numpy():
        first, second = layer[labels == 0], layer[labels == 1]
        between = first.mean(0) - second.mean(0)
        inner = (np.cov(first.T, ddof=0) + np.cov(second.T, ddof=0)) / 2
        expected.append(2 * between @ inner @ between / (between @ between) ** 2)
    np.testing.assert_allclose(variability(rows, labels, 2).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("corrected", [False, True])
def test_rotation_translation_and_scale_do_not_matter_but_other_maps_do(corrected: bool) -> None:
    rows, labels = examples([40, 30, 50])
    rows = rows.double()
    expected = variability(rows, labels, 3, corrected=corrected)
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)).double())[0]
    for same in (rows @ rotation, rows + 100 * rotation[0], rows * 1e-3):
        result = variability(same, labels, 3, corrected=corrected)
        torch.testing.assert_close(result, expected, rtol=1e-8, atol=0)
    other = variability(rows * torch.linspace(0.2, 3, 12), labels, 3, corrected=corrected)
    assert ((other / expected - 1).abs() > 0.05).all()


def test_balanced_weights_ignore_how_often_a_class_comes() -> None:
    rows, labels = examples([20, 30, 25])
    again = torch.cat([torch.arange(75), *[torch.where(labels == 1)[0]] * 9])  # ten times the rows of class 1
    expected = variability(rows, labels, 3)
    torch.testing.assert_close(variability(rows[:, again], labels[again], 3), expected, rtol=1e-10, atol=0)
    weighted = variability(rows[:, again], labels[again], 3, within="weighted", mean="weighted")
    assert ((weighted / expected - 1).abs() > 0.02).all()


@pytest.mark.parametrize("corrected", [False, True])
def test_does_not_depend_on_the_batches_nor_their_order(corrected: bool) -> None:
    rows, labels = examples([30, 20, 10])
    expected = variability(rows, labels, 3, corrected=corrected)
    for sizes in ([30, 30], [1] * 60, [59, 0, 1]):
        result = variability(rows.flip(1), labels.flip(0), 3, *sizes, corrected=corrected)
        torch.testing.assert_close(result, expected, rtol=1e-10, atol=0)


def test_merges_with_another() -> None:
    rows, labels = examples([30, 20, 10])
    first, second = ClassVariability(3, 12, 3), ClassVariability(3, 12, 3)
    first.update(rows[:, :17], labels[:17])
    second.update(rows[:, 17:], labels[17:])
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), variability(rows, labels, 3))


@pytest.mark.parametrize("options", [{}, {"within": "weighted", "mean": "weighted"}])
def test_a_class_without_rows_does_not_count(options: dict[str, str]) -> None:
    rows, labels = examples([30, 20, 10])
    gaps = torch.tensor([1, 2, 4])[labels]
    result = variability(rows, gaps, 6, **options)
    torch.testing.assert_close(result, variability(rows, labels, 3, **options))


def test_a_single_row_is_a_class_without_variability() -> None:
    rows, labels = examples([30, 1, 10])
    np.testing.assert_allclose(variability(rows, labels, 3).numpy(), formula(rows, labels), rtol=1e-8)
    single = variability(*examples([1, 1, 1]), 3)
    torch.testing.assert_close(single, torch.zeros(3).double(), atol=1e-12, rtol=0)
    others = labels != 1
    left_out = variability(rows[:, others], labels[others], 3, corrected=True)
    torch.testing.assert_close(variability(rows, labels, 3, corrected=True), left_out)


def test_is_nan_without_two_classes_and_infinite_without_differences() -> None:
    rows, labels = examples([20, 20])
    assert variability(rows, torch.zeros_like(labels), 2).isnan().all()
    assert variability(*examples([1, 20]), 2, corrected=True).isnan().all()
    rows[0] = 0.1  # one vector for all, as the embedding of the first token
    rows[1, labels == 1] = rows[1, labels == 0]  # equal means
    result = variability(rows, labels, 2)
    assert result.isinf().tolist() == [True, True, False]
    assert variability(rows, labels, 2, corrected=True).isinf().tolist() == [True, True, False]


@pytest.mark.parametrize("within", ["balanced", "weighted"])
@pytest.mark.parametrize("mean", ["balanced", "weighted"])
def test_the_correction_equals_its_formula_on_gram_matrices(within: str, mean: str) -> None:
    rows, labels = examples([5, 40, 11])
    result = variability(rows, labels, 3, corrected=True, within=within, mean=mean)
    share = np.array([5, 40, 11]) / 56
    even = np.full(3, 1 / 3)
    expected = []
    for layer in rows.double().numpy():
        groups = [layer[labels == label] for label in range(3)]
        covariances = np.stack([np.cov(group.T) for group in groups])
        inner = np.einsum("c,cde->de", share if within == "weighted" else even, covariances)
        project = np.eye(3) - np.outer(share if mean == "weighted" else even, np.ones(3))
        columns = np.stack([group.mean(0) for group in groups], axis=1) @ project
        noise = np.diag([np.trace(c) / len(group) for c, group in zip(covariances, groups, strict=True)])
        gram = columns.T @ columns
        values, vectors = np.linalg.eigh(gram)
        root = vectors[:, 1:] / np.sqrt(values[1:]) @ vectors[:, 1:].T  # of the pseudo-inverse of the Gram matrix
        fair = np.linalg.pinv(gram - project.T @ noise @ project, rcond=1e-10)
        expected.append(np.trace(root @ columns.T @ inner @ columns @ root @ fair))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-8)


@pytest.mark.parametrize("counts", [[8] * 2, [8] * 5, [4, 12, 25]])
@pytest.mark.parametrize("mean", ["balanced", "weighted"])
def test_the_correction_finds_the_value_of_many_rows_in_few(counts: list[int], mean: str) -> None:
    size, classes = 100, len(counts)
    draw = torch.Generator().manual_seed(3)
    means = torch.randn(classes, size, generator=draw).double() * 0.8
    share = torch.tensor(counts).double() / sum(counts)
    centre = share @ means if mean == "weighted" else means.mean(0)
    between = (means - centre).T @ (means - centre) / classes
    true = (
        torch.linalg.pinv(between, hermitian=True, rtol=1e-12).trace().item() / classes
    )  # covariances are the identity
    labels = torch.arange(classes).repeat_interleave(torch.tensor(counts))
    rows = means[labels] + torch.randn(40, len(labels), size, generator=draw).double()  # 40 samples, each a "layer"
    plain = variability(rows, labels, classes, mean=mean).median().item()
    corrected = variability(rows, labels, classes, mean=mean, corrected=True).median().item()
    assert abs(corrected / true - 1) < 0.1
    assert abs(plain / true - 1) > 4 * abs(corrected / true - 1)


def test_the_correction_vanishes_with_many_rows_and_admits_noise_in_few() -> None:
    rows, labels = examples([4000, 6000], size=4)
    plain, corrected = variability(rows, labels, 2), variability(rows, labels, 2, corrected=True)
    torch.testing.assert_close(corrected, plain, rtol=0.01, atol=0)
    assert (corrected > plain).all()
    noise = torch.randn(40, 12, 50, generator=torch.Generator().manual_seed(4))  # 40 samples without any class
    assert 0.3 < variability(noise, torch.arange(12) % 2, 2, corrected=True).isinf().double().mean() < 0.8
    assert variability(noise, torch.arange(12) % 2, 2).isfinite().all()


def test_edges_make_classes_of_values() -> None:
    rows, labels = examples([10, 20, 30])
    values = torch.tensor([2.2, 2.3, 5.0])[labels]  # float32; an edge belongs to the class below
    result = variability(rows, values, 3, edges=[2.2, 4.9])
    torch.testing.assert_close(result, variability(rows, labels, 3))
    torch.testing.assert_close(variability(rows, values.double(), 3, edges=[2.25, 4.0]), result)
    torch.testing.assert_close(variability(rows, labels, 3, edges=[0.5, 1.5]), result)


def test_observes_the_rows_of_a_batch() -> None:
    rows, labels = examples([10, 20, 30])
    metric = ClassVariability(3, 12, 3)
    metric.observe(SimpleNamespace(rows=rows, labels=labels))  # type: ignore[arg-type]
    torch.testing.assert_close(metric.compute(), variability(rows, labels, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "two classes, not 3, 12 and 1"),
        ({"within": "pooled"}, "within is 'balanced' or 'weighted', not 'pooled'"),
        ({"edges": [1.0]}, r"3 classes need 2 ascending edges, not \[1.0\]"),
        ({"edges": [2.0, 1.0]}, "ascending"),
    ],
)
def test_wrong_options_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassVariability(**{"num_layers": 3, "hidden_size": 12, "num_classes": 3, **options})


def test_wrong_rows_are_errors() -> None:
    rows, labels = examples([10, 20, 30])
    metric = ClassVariability(3, 12, 3)
    for bad_rows, bad_labels, message in (
        (rows[:2], labels, r"shape \(3, R, 12\), not \(2, 60, 12\)"),
        (rows, labels[:5], "a label for each of 60 rows"),
        (rows, labels - 1, "from 0 to 2, not -1"),
        (rows, labels.float(), "continuous: give edges"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update(bad_rows, bad_labels)
    assert metric.count.sum() == 0
    metric.to(torch.bfloat16)
    with pytest.raises(TypeError, match=r"cast to torch\.bfloat16"):
        metric.update(rows, labels)
