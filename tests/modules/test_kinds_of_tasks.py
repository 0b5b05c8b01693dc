"""Every family of pruning trains on values, words and pairs of sentences, and leaves a network that can be judged."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from toolkit.data import TaskData
from toolkit.evaluation.judging import judge
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.layer_dropping import LayerDropping
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.movement_pruning import MovementPruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.modules.structured_pruning import StructuredPruning
from toolkit.modules.training import Training
from toolkit.modules.wanda_pruning import WandaPruning
from toolkit.modules.weight_pruning import WeightPruning
from toolkit.pruning import masks

FAMILIES: dict[str, tuple[type[FineTuning], dict[str, Any]]] = {
    "layers": (LayerDropping, {"strategy": "top", "keep": 1}),
    "structure": (StructuredPruning, {"heads": 0.5, "hidden": 0.5}),
    "magnitude": (MagnitudePruning, {}),
    "proximal": (ProximalPruning, {}),
    "movement": (MovementPruning, {"interval": 4}),
    "wanda": (WandaPruning, {"calibration": 10}),
}


@pytest.mark.parametrize("task", ["synthetic_similarity", "synthetic_pos", "synthetic_entailment"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_task(family: str, task: str, tiny_network: Path, make_trainer: Callable[..., Trainer]) -> None:
    data = TaskData(task, network=str(tiny_network), size=100, batch_size=16)
    kind, options = FAMILIES[family]
    module = kind(data.task, str(tiny_network), training=Training(learning_rate=2e-3), **options)
    make_trainer(max_epochs=2).fit(module, datamodule=data)
    scores = judge(module.network, data).scores()
    assert set(scores) == set(data.task.metrics)
    assert all(map(math.isfinite, scores.values()))
    if isinstance(module, WeightPruning):
        assert masks.sparsity(module.weights) == pytest.approx(module.sparsity, abs=1e-3)
    if isinstance(module, LayerDropping):
        assert module.network.config.num_hidden_layers == 1
    if isinstance(module, StructuredPruning):
        assert module.network.config.intermediate_size == 32
        assert module.network.config.hidden_size == 16
    ids = torch.arange(5, 25).view(2, 10)
    outputs = module.network(input_ids=ids).logits
    assert outputs.shape == ((2, 10, len(data.task.labels)) if task == "synthetic_pos" else (2, data.task.num_labels))
