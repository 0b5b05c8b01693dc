"""The optimal brain surgeon against exhaustive backward elimination and against training again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from toolkit.probing import surgeon
from toolkit.probing.surgeon import eliminate, rank_by_surgeon

ROWS, NEURONS, CLASSES = 500, 14, 3


def _rows(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(ROWS, NEURONS, generator=generator, dtype=torch.float64)
    features = features @ torch.randn(NEURONS, NEURONS, generator=generator, dtype=torch.float64)
    weight = torch.randn(NEURONS, CLASSES, generator=generator, dtype=torch.float64)
    outputs = features @ weight
    outputs += 5 * torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    return features, outputs.argmax(1), outputs[:, 0]


def _ridge_loss(inputs: np.ndarray, wanted: np.ndarray, l2: float) -> float:
    model = Ridge(alpha=l2 * ROWS).fit(inputs, wanted)
    return float(
        np.square(model.predict(inputs).reshape(wanted.shape) - wanted).sum(-1).mean()
        + l2 * np.square(model.coef_).sum()
    )


@pytest.mark.parametrize("block", [3, 64])
def test_regression_is_exact_backward_elimination(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(surgeon, "_BLOCK", block)
    features, _, values = _rows()
    array = ((features - features.mean(0)) / features.std(0, correction=0)).numpy()
    neurons, dropped = list(range(NEURONS)), []
    while len(neurons) > 1:
        losses = [
            _ridge_loss(array[:, [n for n in neurons if n != out]], values.numpy()[:, None], 0.01) for out in neurons
        ]
        dropped.append(neurons.pop(int(np.argmin(losses))))
    order = rank_by_surgeon(features, values, num_classes=None, l2=0.01)
    assert order.tolist() == neurons + dropped[::-1]


def test_first_phase_of_classes_is_exact_backward_elimination_of_indicators() -> None:
    features, labels, _ = _rows()
    array = ((features - features.mean(0)) / features.std(0, correction=0)).numpy()
    wanted = np.eye(CLASSES)[labels.numpy()]
    neurons, dropped = list(range(NEURONS)), []
    while len(neurons) > 5:
        losses = [_ridge_loss(array[:, [n for n in neurons if n != out]], wanted, 0.01) for out in neurons]
        dropped.append(neurons.pop(int(np.argmin(losses))))
    order = rank_by_surgeon(features, labels, num_classes=CLASSES, l2=0.01, pool=5)
    assert order[5:].tolist() == dropped[::-1]
    assert sorted(order[:5].tolist()) == neurons


def test_eliminate_leaves_the_minimum_of_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    roots = torch.randn(2, 30, 10, generator=generator, dtype=torch.float64)
    hessians = roots.mT @ roots
    weight = torch.randn(2, 3, 10, generator=generator, dtype=torch.float64)
    gone, left, adjusted = eliminate(torch.linalg.inv(hessians), weight, 4)
    assert sorted([*gone.tolist(), *left.tolist()]) == list(range(10))
    # With v zero at the eliminated places, the gradient H (v - w) vanishes at the others.
    full = torch.zeros_like(weight)
    full[:, :, left] = adjusted
    gradient = (full - weight) @ hessians
    assert float(gradient[:, :, left].abs().max()) < 1e-10
    assert float(gradient[:, :, gone].abs().min()) > 1e-6


def test_logistic_rounds_choose_what_training_again_would() -> None:
    # One neuron a round: its choice is compared with the losses of probes trained without each of the neurons.
    features, labels, _ = _rows(2)
    array = ((features - features.mean(0)) / features.std(0, correction=0)).numpy()
    order = rank_by_surgeon(
        features, labels, num_classes=CLASSES, l2=1e-3, drop=0.01, tolerance=1e-6, max_iterations=500
    ).tolist()
    good = 0
    for size in range(NEURONS, 2, -1):
        kept = order[:size]
        losses = []
        for out in kept:
            chosen = array[:, [n for n in kept if n != out]]
            model = LogisticRegression(C=1 / (2e-3 * ROWS), max_iter=1000).fit(chosen, labels.numpy())
            picked = model.predict_proba(chosen)[np.arange(ROWS), labels.numpy()]
            losses.append(-np.log(picked).mean() + 1e-3 * np.square(model.coef_).sum())
        good += int(np.argsort(losses)[:2].tolist().count(size - 1))  # the one eliminated next stands last
    assert good >= 10  # of 12; the blocks between classes are left out


def test_one_of_two_copies_survives() -> None:
    generator = torch.Generator().manual_seed(0)
    signals = torch.randn(2000, 4, generator=generator)
    labels = (signals * torch.tensor([2.0, 1.0, 1.0, 0.7])).sum(1) > 0
    features = signals.repeat(1, 5) + 0.3 * torch.randn(2000, 20, generator=generator)
    for pool in (4, 100):
        order = rank_by_surgeon(features, labels.long(), num_classes=2, pool=pool)
        assert {int(neuron) % 4 for neuron in order[:4]} == {0, 1, 2, 3}


def test_constant_neurons_copies_and_missing_classes() -> None:
    features, labels, _ = _rows()
    features[:, 4] = 2.5
    features[:, 5] = features[:, 6]
    order = rank_by_surgeon(features.half(), 2 * labels, num_classes=2 * CLASSES)
    assert int(order[-1]) == 4
    assert order.sort().values.tolist() == list(range(NEURONS))
    assert torch.equal(order, rank_by_surgeon(features.half(), 2 * labels, num_classes=2 * CLASSES))
    assert 5 in order[-3:].tolist() or 6 in order[-3:].tolist()


def test_wrong_options_are_refused() -> None:
    features, labels, _ = _rows()
    with pytest.raises(ValueError, match="l2 0"):
        rank_by_surgeon(features, labels, num_classes=CLASSES, l2=0)
