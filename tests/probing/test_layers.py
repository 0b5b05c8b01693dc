"""The LayerSelector against its definition, and probes on layers against scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from toolkit.probing.layers import ArrayStates, layer_scores, select_layer
from toolkit.probing.linear import named_score

ACCURACY = named_score("accuracy")


def split(num_rows: int, seed: int) -> ArrayStates:
    """Layer 1 has one part of the label, layer 2 both, layers 0 and 3 nothing."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, num_rows))
    states = random.normal(size=(num_rows, 4, 5))
    states[:, 1, 2] = first
    states[:, 2, 0], states[:, 2, 4] = first + 0.1 * states[:, 2, 0], second
    return ArrayStates(states, (first + second > 0).astype(np.int64))


def accuracy_of_sklearn(train: ArrayStates, dev: ArrayStates, layers: list[int]) -> float:
    """Penalty l2 Σ W² of the mean loss on standardised features; two softmax rows share W: W_1 = -W_0 = w / 2."""
    inputs, dev_inputs = (np.asarray(part.states)[:, layers].reshape(len(part.labels), -1) for part in (train, dev))
    mean, scale = inputs.mean(0), inputs.std(0)
    model = LogisticRegression(C=1 / (1e-3 * len(inputs)), tol=1e-8).fit((inputs - mean) / scale, train.labels)
    return float(model.score((dev_inputs - mean) / scale, dev.labels))


def test_scores_are_those_of_sklearns_probes() -> None:
    train, dev = split(400, 0), split(200, 1)
    found = layer_scores(train, dev, num_classes=2, score=ACCURACY, l2=1e-3, tolerance=1e-6)
    for layer in range(4):
        assert found.independent[layer] == pytest.approx(accuracy_of_sklearn(train, dev, [layer]), abs=0.0051)
        expected = accuracy_of_sklearn(train, dev, list(range(layer + 1)))
        assert found.cumulative[layer] == pytest.approx(expected, abs=0.0051)  # one row of 200
    assert found.independent[2] > 0.9 > 0.8 > found.independent[1] > 0.65 > found.independent[3]
    assert select_layer(found.cumulative, found.cumulative[-1], 0.05) == 2


def test_regression_is_scored_too() -> None:
    train, dev = split(400, 0), split(200, 1)
    values = [ArrayStates(part.states, np.asarray(part.states)[:, 2, 4] * 3 + 1) for part in (train, dev)]
    found = layer_scores(values[0], values[1], num_classes=None, score=named_score("pearson"))
    assert found.independent[2] > 0.999
    assert max(found.independent[layer] for layer in (0, 1, 3)) < 0.2
    assert len(found.cumulative) == 4


@pytest.mark.parametrize("kind", ["tensor", "float16", "memmap"])
def test_states_of_every_kind_give_the_same_matrix(kind: str, tmp_path: Path) -> None:
    array: NDArray[np.float16] = np.random.default_rng(0).normal(size=(6, 3, 2)).astype(np.float16)
    states: torch.Tensor | NDArray[np.float16] = array
    if kind == "tensor":
        states = torch.from_numpy(array.astype(np.float64))
    elif kind == "memmap":
        np.save(tmp_path / "states.npy", array)
        states = np.load(tmp_path / "states.npy", mmap_mode="r")
    features = ArrayStates(states, np.zeros(6))
    assert features.matrix().dtype == torch.float32
    np.testing.assert_array_equal(features.matrix(), array.reshape(6, 6).astype(np.float32))
    np.testing.assert_array_equal(features.matrix([2, 0]), np.concatenate([array[:, 2], array[:, 0]], 1))


def test_drop_is_relative_and_strict() -> None:
    assert select_layer([0.4, 0.5, 0.75, 1.0], oracle=1.0, delta=0.5) == 2  # 0.5 is not above 0.5
    assert select_layer([0.10, 0.38, 0.40], oracle=0.40, delta=0.1) == 1  # 0.36 is enough: 10 % of 0.4, not 0.1
    assert select_layer(torch.tensor([0.9, 0.8, 0.95]), oracle=0.95, delta=0.1) == 0


def test_without_a_layer_that_is_enough_the_last_is_taken() -> None:
    assert select_layer([0.1, 0.2, 0.3], oracle=0.9, delta=0.03) == 2
    assert select_layer([0.0, 0.0], oracle=0.0, delta=0.03) == 1


def test_negative_scores_drop_downwards() -> None:
    assert select_layer([-0.5, -0.21, -0.2], oracle=-0.2, delta=0.1) == 1


def test_errors_name_the_value() -> None:
    with pytest.raises(ValueError, match=r"delta is 3, expected a part"):
        select_layer([0.5], 0.5, 3)
    with pytest.raises(ValueError, match="cumulative is empty"):
        select_layer([], 0.5, 0.03)
    with pytest.raises(ValueError, match=r"\(4, 5\) and \(3, 5\)"):
        layer_scores(split(20, 0), ArrayStates(torch.ones(9, 3, 5), np.zeros(9)), num_classes=2, score=ACCURACY)
    with pytest.raises(ValueError, match=r"\(4, 3\) and there are 5 labels"):
        ArrayStates(torch.ones(4, 3), np.zeros(5))
