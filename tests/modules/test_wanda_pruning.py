"""Wanda through a training: equal rows, the right weights, and sentences of the training set alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch import Tensor
from torch.optim import Optimizer

from toolkit.data import TaskData
from toolkit.modules.training import Training
from toolkit.modules.wanda_pruning import WandaPruning
from toolkit.pruning import masks


class Recorded(WandaPruning):
    """Keeps the weights and the inputs, sentence by sentence, from which the pattern is made."""

    def final_pattern(self, optimizer: Optimizer) -> dict[str, Tensor]:
        self.before = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.states = {name: torch.zeros(0) for name in self.weights}
        handles = []
        for name, layer in self.layers.items():

            def note(layer: Any, arguments: tuple[Tensor, ...], name: str = name) -> None:
                self.states[name] = torch.cat([self.states[name], arguments[0].flatten(0, -2)])

            handles.append(layer.register_forward_pre_hook(note))
        self.network.eval()
        for row in self.calibration_rows():
            self.network(**{key: torch.tensor([row[key]]) for key in ("input_ids", "attention_mask", "token_type_ids")})
        self.network.train()
        for handle in handles:
            handle.remove()
        return super().final_pattern(optimizer)


def test_each_output_loses_its_least_weights(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = Recorded(data.task, str(tiny_network), sparsity=0.5, calibration=20, training=Training(learning_rate=2e-3))
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    for name, weight in module.weights.items():
        norms = np.linalg.norm(module.states[name].double().numpy(), axis=0)
        scores = np.abs(module.before[name].double().numpy()) * norms
        expected = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(expected, scores.argsort(1)[:, : scores.shape[1] // 2], True, axis=1)
        assert (weight == 0).sum(1).tolist() == [scores.shape[1] // 2] * len(scores)
        # Weights at the very boundary may fall on either side, by rounding.
        assert (expected != (weight == 0).numpy()).mean() < 1e-3
    assert masks.sparsity(module.weights) == 0.5


def test_calibration_reads_the_training_set_alone(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = WandaPruning(data.task, str(tiny_network), calibration=30)
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    rows = module.calibration_rows()
    train = {tuple(ids) for ids in data.split("train")["input_ids"]}
    assert len(rows) == 30
    assert {tuple(ids) for ids in rows["input_ids"]} <= train
    assert rows["index"] != data.split("train")["index"][:30]
    assert module.calibration_rows()["index"] == rows["index"]


def test_set_smaller_than_the_calibration_is_taken_whole(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = WandaPruning(data.task, str(tiny_network), calibration=10_000)
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    assert len(module.calibration_rows()) == len(data.split("train"))


def test_sentences_are_needed(data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]) -> None:
    with pytest.raises(ValueError, match="calibration"):
        WandaPruning(data.task, str(tiny_network), calibration=0)
    data.prepare_data()
    data.setup("fit")
    module = WandaPruning(data.task, str(tiny_network))
    with pytest.raises(ValueError, match="datamodule=TaskData"):
        make_trainer().fit(module, data.train_dataloader(), data.val_dataloader())
