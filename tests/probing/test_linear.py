"""Probes against scikit-learn at convergence, their optimality conditions, and the paper's training by hand."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from torch import Tensor

from toolkit.probing.linear import Probe, fit_probe, named_score, probe_score, search_penalty

ROWS, FEATURES, CLASSES = 300, 12, 4


def _rows(seed: int = 0, rows: int = ROWS) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(FEATURES, FEATURES, generator=generator, dtype=torch.float64)
    features = torch.randn(rows, FEATURES, generator=generator, dtype=torch.float64) @ mixing + 3
    weight = torch.randn(FEATURES, CLASSES, generator=generator, dtype=torch.float64)
    outputs = features @ weight + 4 * torch.randn(rows, CLASSES, generator=generator, dtype=torch.float64)
    return features, (outputs - outputs.mean(0)).argmax(1), outputs[:, 0]


def _standard(features: Tensor) -> np.ndarray:
    array = features.numpy()
    scaled: np.ndarray = (array - array.mean(0)) / array.std(0)
    return scaled


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_l2_equals_logistic_regression(l2: float) -> None:
    features, labels, _ = _rows()
    probe = fit_probe(features, labels, num_classes=CLASSES, l2=l2, tolerance=1e-8)
    # scikit-learn: sum of the losses + ‖W‖² / (2 C), ours: their mean + λ ‖W‖².
    reference = LogisticRegression(C=1 / (2 * l2 * ROWS), tol=1e-10, max_iter=10_000)
    reference.fit(_standard(features), labels.numpy())
    np.testing.assert_allclose(probe.standardized_weight.numpy(), reference.coef_, atol=1e-5)
    np.testing.assert_allclose(
        probe.logits(features).softmax(1).numpy(), reference.predict_proba(_standard(features)), atol=1e-5
    )


def test_elastic_net_equals_saga() -> None:
    features, labels, _ = _rows()
    l1, l2 = 0.02, 0.01
    probe = fit_probe(features, labels, num_classes=CLASSES, l1=l1, l2=l2, tolerance=1e-7, max_iterations=5000)
    strength = l1 + 2 * l2  # scikit-learn: (1 - ρ) ‖W‖² / 2 + ρ |W|
    reference = LogisticRegression(
        C=1 / (strength * ROWS), l1_ratio=l1 / strength, solver="saga", tol=1e-9, max_iter=20_000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of scikit-learn, on how its penalty is named
        reference.set_params(**({"penalty": "elasticnet"} if reference.get_params().get("penalty") == "l2" else {}))
        reference.fit(_standard(features), labels.numpy())
    assert 0 < (reference.coef_ == 0).sum() < reference.coef_.size
    np.testing.assert_allclose(probe.standardized_weight.numpy(), reference.coef_, atol=2e-5)
    assert ((probe.weight.numpy() == 0) == (np.abs(reference.coef_) < 1e-7)).all()


@pytest.mark.parametrize("standardize", [True, False])
def test_regression_equals_ridge(standardize: bool) -> None:
    features, _, values = _rows()
    probe = fit_probe(features, values, num_classes=None, l2=0.05, standardize=standardize, tolerance=1e-10)
    inputs = _standard(features) if standardize else features.numpy()
    reference = Ridge(alpha=0.05 * ROWS).fit(inputs, values.numpy())
    np.testing.assert_allclose(probe.standardized_weight[0].numpy(), reference.coef_, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(probe.logits(features)[:, 0].numpy(), reference.predict(inputs), rtol=1e-6, atol=1e-6)


def test_regression_equals_elastic_net() -> None:
    features, _, values = _rows()
    l1, l2 = 1.0, 0.1
    probe = fit_probe(features, values, num_classes=None, l1=l1, l2=l2, tolerance=1e-9, max_iterations=5000)
    # scikit-learn: half the mean squared error + α ρ |w| + α (1 - ρ) ‖w‖² / 2.
    alpha = l1 / 2 + l2
    reference = ElasticNet(alpha=alpha, l1_ratio=l1 / 2 / alpha, tol=1e-12, max_iter=100_000)
    reference.fit(_standard(features), values.numpy())
    assert 0 < (reference.coef_ == 0).sum() < FEATURES
    np.testing.assert_allclose(probe.standardized_weight[0].numpy(), reference.coef_, atol=1e-6)


def test_optimality_conditions_of_l1() -> None:
    features, labels, _ = _rows(1)
    l1 = 0.03
    probe = fit_probe(features, labels, num_classes=CLASSES, l1=l1, l2=0.0, tolerance=1e-8, max_iterations=20_000)
    inputs = torch.from_numpy(_standard(features))
    weight = probe.standardized_weight.clone().requires_grad_()
    bias = (probe.bias + probe.weight @ probe.mean).requires_grad_()
    torch.nn.functional.cross_entropy(inputs @ weight.T + bias, labels).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    used = weight.detach() != 0
    assert 0 < int(used.sum()) < weight.numel()
    torch.testing.assert_close(weight.grad[used], -l1 * weight.detach()[used].sign(), atol=1e-6, rtol=0)
    assert bool((weight.grad[~used].abs() <= l1 + 1e-6).all())
    assert float(bias.grad.abs().max()) < 1e-6


def test_standardisation_makes_the_probe_blind_to_units() -> None:
    features, labels, _ = _rows()
    scale = torch.logspace(-1, 1, FEATURES, dtype=torch.float64)
    shift = torch.linspace(-5, 5, FEATURES, dtype=torch.float64)
    probe = fit_probe(features, labels, num_classes=CLASSES, l2=0.01, tolerance=1e-8)
    other = fit_probe(features * scale + shift, labels, num_classes=CLASSES, l2=0.01, tolerance=1e-8)
    torch.testing.assert_close(other.logits(features * scale + shift), probe.logits(features), atol=1e-5, rtol=0)
    raw = fit_probe(features * scale, labels, num_classes=CLASSES, l2=0.01, standardize=False, tolerance=1e-8)
    assert float((raw.logits(features * scale) - probe.logits(features)).abs().max()) > 0.1
    same = fit_probe(
        torch.from_numpy(_standard(features)),
        labels,
        num_classes=CLASSES,
        l2=0.01,
        standardize=False,
        tolerance=1e-8,
    )
    torch.testing.assert_close(same.weight, probe.standardized_weight, atol=1e-6, rtol=0)


@pytest.mark.parametrize("l1", [0.0, 0.01])
def test_constant_features_get_weight_zero(l1: float) -> None:
    features, labels, _ = _rows()
    with_constant = torch.cat([features, torch.full((ROWS, 1), 0.1), torch.zeros(ROWS, 1)], 1).float()
    probe = fit_probe(with_constant, labels, num_classes=CLASSES, l1=l1, l2=0.01)
    assert probe.weight[:, -2:].abs().sum() == 0
    assert probe.scale[-2:].tolist() == [1, 1]
    without = fit_probe(features.float(), labels, num_classes=CLASSES, l1=l1, l2=0.01)
    torch.testing.assert_close(probe.weight[:, :-2], without.weight, atol=2e-3, rtol=1e-2)


def test_a_class_without_rows_never_wins() -> None:
    features, labels, _ = _rows()
    probe = fit_probe(features, labels, num_classes=CLASSES, l2=0.01, tolerance=1e-8)
    gap = fit_probe(features, labels + (labels >= 2).long(), num_classes=CLASSES + 1, l2=0.01, tolerance=1e-8)
    assert gap.weight[2].abs().sum() == 0
    torch.testing.assert_close(gap.logits(features)[:, [0, 1, 3, 4]], probe.logits(features))
    assert not bool((gap.logits(100 * features).argmax(1) == 2).any())
    assert float(gap.logits(features).softmax(1)[:, 2].max()) == 0
    again = fit_probe(features, labels, num_classes=CLASSES + 1, l2=0.01, start=gap, tolerance=1e-8)
    torch.testing.assert_close(again.logits(features)[:, :4], probe.logits(features), atol=1e-5, rtol=0)


@pytest.mark.parametrize("l1", [0.0, 0.01])
def test_a_warm_start_gives_the_same_in_fewer_steps(l1: float) -> None:
    features, labels, _ = _rows()

    def fit(l2: float, start: Probe | None = None) -> Probe:
        return fit_probe(features, labels, num_classes=CLASSES, l1=l1, l2=l2, tolerance=1e-7, start=start)

    cold = fit(0.001)
    warm = fit(0.001, start=fit(0.0011))
    torch.testing.assert_close(warm.weight, cold.weight, atol=1e-4, rtol=0)
    assert warm.iterations < cold.iterations
    assert fit(0.001, start=cold).iterations <= 2


def test_float32_is_close_to_float64_and_half_precision_is_taken() -> None:
    features, labels, _ = _rows()
    exact = fit_probe(features, labels, num_classes=CLASSES, l2=0.001, tolerance=1e-9)
    single = fit_probe(features.float(), labels, num_classes=CLASSES, l2=0.001, tolerance=1e-6)
    assert single.weight.dtype == torch.float32
    torch.testing.assert_close(single.logits(features), exact.logits(features).float(), atol=2e-3, rtol=0)
    half = fit_probe(features.half(), labels, num_classes=CLASSES, l2=0.001)
    assert half.logits(features.half()).dtype == torch.float32


def test_penalty_is_chosen_on_the_held_out_rows() -> None:
    whole, every, _ = _rows(rows=ROWS + 200)
    (features, dev), (labels, dev_labels) = whole.split([ROWS, 200]), every.split([ROWS, 200])
    accuracy = named_score("accuracy")
    penalties = (1e-3, 1.0, 1e-2, 10.0)
    probe, penalty, scores = search_penalty(
        features, labels, dev, dev_labels, num_classes=CLASSES, score=accuracy, penalties=penalties
    )
    for candidate in penalties:
        alone = fit_probe(features, labels, num_classes=CLASSES, l2=candidate)
        assert scores[candidate] == pytest.approx(probe_score(alone, dev, dev_labels, accuracy), abs=0.011)
    assert scores[penalty] == max(scores.values()) == probe_score(probe, dev, dev_labels, accuracy)
    _, tied, _ = search_penalty(
        features, labels, dev, dev_labels, num_classes=CLASSES, score=lambda *_: 0.5, penalties=penalties
    )
    assert tied == 10.0
    assert scores[penalty] > scores[10.0] + 0.1 > 0.35  # It has learned what holds for other rows.


def test_search_splits_a_penalty_into_l1_and_l2() -> None:
    features, labels, _ = _rows()
    options: dict[str, Any] = {"num_classes": CLASSES, "score": named_score("accuracy")}
    probe, _, _ = search_penalty(features, labels, features, labels, penalties=(0.04,), l1_share=0.5, **options)
    alone = fit_probe(features, labels, num_classes=CLASSES, l1=0.02, l2=0.02)
    torch.testing.assert_close(probe.weight, alone.weight)
    assert (probe.weight == 0).any()
    with pytest.raises(ValueError, match=r"l1_share within 0 and 1 \(2\)"):
        search_penalty(features, labels, features, labels, l1_share=2, **options)


def test_scores() -> None:
    outputs = torch.tensor([[1.0], [2.0], [4.0]])
    values = torch.tensor([1.0, 3.0, 2.0])
    assert named_score("pearson")(outputs, values) == pytest.approx(np.corrcoef([1, 2, 4], [1, 3, 2])[0, 1])
    assert named_score("spearman")(outputs, values) == pytest.approx(0.5)
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    labels = torch.tensor([1, 1, 1, 0])
    assert named_score("f1")(logits, labels) == pytest.approx(0.8)
    assert named_score("matthews_correlation", 2)(logits, labels) == pytest.approx(3**-0.5)
    with pytest.raises(ValueError, match="num_classes"):
        named_score("matthews_correlation")
    with pytest.raises(ValueError, match="no score 'bleu'"):
        named_score("bleu")


def test_wrong_rows_are_refused() -> None:
    features, labels, values = _rows()
    with pytest.raises(ValueError, match=r"features \(R, F\)"):
        fit_probe(features, labels[1:], num_classes=CLASSES)
    with pytest.raises(ValueError, match="from 0 to 3, but there are 3"):
        fit_probe(features, labels, num_classes=3)
    with pytest.raises(ValueError, match="num_classes=None"):
        fit_probe(features, values, num_classes=3)
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_probe(features / 0, labels, num_classes=CLASSES)
    with pytest.raises(ValueError, match="solver='adam'"):
        fit_probe(features, labels, num_classes=CLASSES, norm="frobenius")
    with pytest.raises(ValueError, match="l1=-1"):
        fit_probe(features, labels, num_classes=CLASSES, l1=-1)
    with pytest.raises(ValueError, match="start has weights"):
        fit_probe(features[:, 1:], labels, num_classes=CLASSES, start=fit_probe(features, labels, num_classes=CLASSES))
    with pytest.raises(ValueError, match="give penalties"):
        search_penalty(features, labels, features, labels, num_classes=4, score=named_score("accuracy"), penalties=())


def test_a_probe_that_does_not_converge_warns() -> None:
    features, labels, _ = _rows()
    with pytest.warns(RuntimeWarning, match="stopped after 2 steps"):
        fit_probe(features, labels, num_classes=CLASSES, max_iterations=2)


def test_useless_features_give_the_prior() -> None:
    labels = torch.tensor([0, 1, 1, 1])
    probe = fit_probe(torch.ones(4, 3), labels, num_classes=2)
    torch.testing.assert_close(probe.logits(torch.ones(1, 3)).softmax(1), torch.tensor([[0.25, 0.75]]))
