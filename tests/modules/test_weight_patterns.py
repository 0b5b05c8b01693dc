"""Patterns of zeros through whole trainings, for every family of weight pruning."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning import Trainer
from transformers import AutoTokenizer, GPT2Config, GPT2Model

from toolkit.data import TaskData
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.movement_pruning import MovementPruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.modules.training import Training
from toolkit.modules.wanda_pruning import WandaPruning
from toolkit.modules.weight_pruning import WeightPruning
from toolkit.pruning import masks
from toolkit.pruning.patterns import Blocks, in_blocks

FAST = Training(learning_rate=2e-3)
FAMILIES: dict[str, tuple[type[WeightPruning], dict[str, Any]]] = {
    "magnitude": (MagnitudePruning, {"interval": 3}),
    "curvature": (MagnitudePruning, {"score": "curvature", "scope": "layer", "interval": 3}),
    "proximal": (ProximalPruning, {}),
    "outer loop": (ProximalPruning, {"reweight_interval": 4, "metric": "euclidean"}),
    "penalty in the loss": (ProximalPruning, {"regularizer": "loss", "metric": "euclidean", "penalty": 1e-6}),
    "movement": (MovementPruning, {"interval": 3}),
    "wanda": (WandaPruning, {}),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def train(
    family: str, data: TaskData, network: object, make_trainer: Callable[..., Trainer], **options: Any
) -> WeightPruning:
    kind, own = FAMILIES[family]
    module = kind(data.task, str(network), **{"training": FAST} | own | options)
    make_trainer(max_epochs=1, limit_val_batches=0).fit(module, datamodule=data)
    return module


@every_family
def test_two_of_four_are_kept_in_every_group(
    family: str, data: TaskData, tiny_network: object, make_trainer: Callable[..., Trainer]
) -> None:
    module = train(family, data, tiny_network, make_trainer, pattern="2:4", sparsity=None)
    for name, weight in module.weights.items():
        assert ((weight == 0).view(-1, 4).sum(1) == 2).all(), name


@every_family
def test_blocks_are_pruned_whole_to_the_wanted_sparsity(
    family: str, data: TaskData, tiny_network: object, make_trainer: Callable[..., Trainer]
) -> None:
    module = train(family, data, tiny_network, make_trainer, pattern="4x8", sparsity=0.5)
    total = sum(weight.numel() for weight in module.weights.values())
    assert masks.sparsity(module.weights) == pytest.approx(0.5, abs=32 / total)
    for name, weight in module.weights.items():
        zeros = (in_blocks(weight.detach(), Blocks(4, 8)) == 0).sum((1, 3))
        assert ((zeros == 0) | (zeros == 32)).all(), name


def test_proximal_steps_alone_bring_blocks_near_the_wanted_sparsity(
    data: TaskData, tiny_network: object, make_trainer: Callable[..., Trainer]
) -> None:
    kind, own = FAMILIES["proximal"]
    module = kind(data.task, str(tiny_network), pattern="2x2", sparsity=0.5, training=FAST, **own)
    make_trainer(max_epochs=2, limit_val_batches=0).fit(module, datamodule=data)
    assert module.natural_sparsity == pytest.approx(0.5, abs=0.2)


def test_blocks_die_by_a_given_penalty(
    data: TaskData, tiny_network: object, make_trainer: Callable[..., Trainer]
) -> None:
    module = train("proximal", data, tiny_network, make_trainer, pattern="4x8", sparsity=None, penalty=0.02)
    assert 0.05 < masks.sparsity(module.weights) < 0.95
    assert module.natural_sparsity == masks.sparsity(module.weights)


def test_groups_follow_a_given_penalty(
    data: TaskData, tiny_network: object, make_trainer: Callable[..., Trainer]
) -> None:
    module = train("proximal", data, tiny_network, make_trainer, pattern="1:2", sparsity=None, penalty=0.02)
    assert isinstance(module, ProximalPruning)
    assert module.gamma == 0.02
    assert masks.sparsity(module.weights) >= 0.5


@pytest.mark.parametrize("family", ["magnitude", "proximal", "movement", "wanda"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"pattern": "2:4"},
            r"pattern=2:4 makes a sparsity of 0.5, but model.sparsity is 0.8; set model.sparsity=null",
        ),
        ({"pattern": "8x7"}, r"query.weight, shaped \(32, 32\), cannot be cut into blocks of 8x7"),
        ({"pattern": "2:5", "sparsity": None}, r"rows of .*query.weight, shaped \(32, 32\), .* groups of 5"),
        ({"pattern": "two"}, "model.pattern is 'two'"),
        ({"sparsity": None}, "sparsity"),
        ({"sparsity": None, "pattern": "8x8"}, "sparsity"),
    ],
)
def test_patterns_that_cannot_be_are_refused(
    family: str, options: dict[str, Any], message: str, data: TaskData, tiny_network: object
) -> None:
    kind, own = FAMILIES[family]
    with pytest.raises(ValueError, match=message):
        kind(data.task, str(tiny_network), **own | options)


def test_agreeing_sparsity_is_taken(data: TaskData, tiny_network: object) -> None:
    module = MagnitudePruning(data.task, str(tiny_network), sparsity=0.75, pattern="1:4")
    assert module.sparsity == 0.75


def test_matrices_that_are_stored_the_other_way_round_are_refused(
    data: TaskData, tiny_network: object, tmp_path: Any
) -> None:
    """GPT-2 keeps (inputs, outputs): neighbours in a row are outputs there."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_embd=16, n_layer=1, n_head=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2Model(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for kind, options in (
        (MagnitudePruning, {"pattern": "2:4", "sparsity": None}),
        (MagnitudePruning, {"scope": "row"}),
        (WandaPruning, {}),
    ):
        with pytest.raises(ValueError, match=r"c_attn.weight belongs to Conv1D"):
            kind(data.task, str(tmp_path), **options)  # type: ignore[arg-type]
    MagnitudePruning(data.task, str(tmp_path))
