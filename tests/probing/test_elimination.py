"""Recursive elimination against a loop with scikit-learn's probes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from toolkit.probing.elimination import rank_by_elimination

ROWS, NEURONS, CLASSES = 400, 15, 3


def _rows(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(ROWS, NEURONS, generator=generator, dtype=torch.float64)
    features = features @ torch.randn(NEURONS, NEURONS, generator=generator, dtype=torch.float64)
    weight = torch.randn(NEURONS, CLASSES, generator=generator, dtype=torch.float64)
    outputs = features @ weight
    outputs += 5 * torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    return features, outputs.argmax(1), outputs[:, 0]


@pytest.mark.parametrize("weakness", ["norm", "largest"])
@pytest.mark.parametrize("drop", [0.1, 1 / 3])
@pytest.mark.parametrize("task", ["classes", "values"])
def test_order_of_a_literal_loop(weakness: Literal["norm", "largest"], drop: float, task: str) -> None:
    features, labels, values = _rows()
    l2 = 0.01
    array = features.numpy()
    array = (array - array.mean(0)) / array.std(0)
    neurons, dropped = list(range(NEURONS)), []
    while len(neurons) > 1:
        if task == "classes":
            reference = LogisticRegression(C=1 / (2 * l2 * ROWS), tol=1e-8, max_iter=1000)
            weight = reference.fit(array[:, neurons], labels.numpy()).coef_
        else:
            weight = Ridge(alpha=l2 * ROWS).fit(array[:, neurons], values.numpy()).coef_[None]
        strength = np.square(weight).sum(0) if weakness == "norm" else np.abs(weight).max(0)
        weakest = np.argsort(strength)[: max(int(drop * len(neurons)), 1)]
        dropped += [neurons[place] for place in weakest]
        neurons = [neuron for place, neuron in enumerate(neurons) if place not in weakest]
    targets, classes = (labels, CLASSES) if task == "classes" else (values, None)
    order = rank_by_elimination(
        features, targets, num_classes=classes, l2=l2, drop=drop, weakness=weakness, tolerance=1e-7, max_iterations=1000
    )
    assert order.tolist() == neurons + dropped[::-1]


def test_one_of_two_copies_survives() -> None:
    # Four signals, each seen by five neurons: a ranking by one probe's weights takes several of the strongest.
    generator = torch.Generator().manual_seed(0)
    signals = torch.randn(2000, 4, generator=generator)
    labels = (signals * torch.tensor([1.5, 1.0, 1.0, 0.8])).sum(1) > 0
    features = signals.repeat(1, 5) + 0.2 * torch.randn(2000, 20, generator=generator)
    # A round may drop all copies of the weakest signal at once: the fewer it drops, the better.
    order = rank_by_elimination(features, labels.long(), num_classes=2, drop=0.05)
    assert {int(neuron) % 4 for neuron in order[:4]} == {0, 1, 2, 3}


def test_constant_neurons_go_first_and_a_missing_class_is_no_obstacle() -> None:
    features, labels, _ = _rows()
    features[:, 4] = 2.5
    order = rank_by_elimination(features, 2 * labels, num_classes=2 * CLASSES)
    assert int(order[-1]) == 4
    assert torch.equal(order, rank_by_elimination(features, 2 * labels, num_classes=2 * CLASSES))
    assert order.sort().values.tolist() == list(range(NEURONS))


def test_wrong_options_are_refused() -> None:
    features, labels, _ = _rows()
    with pytest.raises(ValueError, match="drop is 1"):
        rank_by_elimination(features, labels, num_classes=CLASSES, drop=1)
    assert rank_by_elimination(features[:, :1], labels, num_classes=CLASSES).tolist() == [0]
