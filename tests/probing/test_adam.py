"""The paper's training, against the same by torch.nn.Linear and autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toolkit.probing.linear import fit_probe

ROWS, FEATURES, CLASSES = 300, 12, 4


def _rows(seed: int = 0, rows: int = ROWS) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(FEATURES, FEATURES, generator=generator, dtype=torch.float64)
    features = torch.randn(rows, FEATURES, generator=generator, dtype=torch.float64) @ mixing + 3
    weight = torch.randn(FEATURES, CLASSES, generator=generator, dtype=torch.float64)
    outputs = features @ weight + 4 * torch.randn(rows, CLASSES, generator=generator, dtype=torch.float64)
    return features, (outputs - outputs.mean(0)).argmax(1), outputs[:, 0]


@pytest.mark.parametrize("norm", ["squared", "frobenius"])
@pytest.mark.parametrize("task", ["classes", "values"])
def test_adam_is_the_papers_training(norm: str, task: str) -> None:
    features, labels, values = (tensor.float() if tensor.is_floating_point() else tensor for tensor in _rows())
    targets, classes = (labels, CLASSES) if task == "classes" else (values, None)
    l1, l2, epochs = 1e-2, 3e-2, 3
    probe = fit_probe(
        features,
        targets,
        num_classes=classes,
        l1=l1,
        l2=l2,
        solver="adam",
        standardize=False,
        norm="squared" if norm == "squared" else "frobenius",
        epochs=epochs,
        shuffle=False,
        seed=3,
    )
    outputs = classes or 1
    layer = torch.nn.Linear(FEATURES, outputs)
    start = torch.rand(outputs, FEATURES + 1, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        layer.weight.copy_((2 * start[:, :-1] - 1) / FEATURES**0.5)
        layer.bias.copy_((2 * start[:, -1] - 1) / FEATURES**0.5)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for _ in range(epochs):
        for first in range(0, ROWS, 128):
            found, wanted = layer(features[first : first + 128]), targets[first : first + 128]
            if classes:
                loss = torch.nn.functional.cross_entropy(found, wanted)
            else:
                loss = torch.nn.functional.mse_loss(found[:, 0], wanted)
            square = layer.weight.square().sum()
            loss = loss + l1 * layer.weight.abs().sum() + l2 * (square if norm == "squared" else square.sqrt())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert probe.iterations == epochs * 3
    torch.testing.assert_close(probe.weight, layer.weight.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(probe.bias, layer.bias.detach(), atol=1e-5, rtol=1e-4)


def test_the_seed_decides_adam() -> None:
    features, labels, _ = _rows()

    def fit(seed: int, shuffle: bool = True) -> Tensor:
        return fit_probe(
            features, labels, num_classes=CLASSES, solver="adam", epochs=2, batch_size=32, shuffle=shuffle, seed=seed
        ).weight

    assert torch.equal(fit(0), fit(0))
    assert not torch.equal(fit(0), fit(1))
    assert not torch.equal(fit(0), fit(0, shuffle=False))
