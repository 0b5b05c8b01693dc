"""Zeros of a network that was pruned before stay, whatever trains or prunes it further."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn import Parameter
from transformers import AutoModel, AutoTokenizer

from toolkit.data import TaskData
from toolkit.models.encoder import prunable_weights
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.held_zeros import HeldZeros
from toolkit.modules.layer_dropping import LayerDropping
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.movement_pruning import MovementPruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.modules.structured_pruning import StructuredPruning
from toolkit.modules.training import Training
from toolkit.modules.wanda_pruning import WandaPruning
from toolkit.pruning import masks

HOLD = Training(learning_rate=2e-3, hold_zeros=True)
KINDS: dict[str, tuple[type[FineTuning], dict[str, Any]]] = {
    "fine-tuning": (FineTuning, {}),
    "layer dropping": (LayerDropping, {"strategy": "bottom", "keep": 1}),
    "magnitude": (MagnitudePruning, {"sparsity": 0.6, "interval": 3}),
    "magnitude of some": (MagnitudePruning, {"sparsity": 0.6, "targets": "attention"}),
    "blocks": (MagnitudePruning, {"sparsity": 0.6, "pattern": "4x4", "interval": 3}),
    "groups": (MagnitudePruning, {"sparsity": None, "pattern": "2:4"}),
    "proximal": (ProximalPruning, {"sparsity": 0.6}),
    "movement": (MovementPruning, {"sparsity": 0.6, "interval": 3}),
    "wanda": (WandaPruning, {"sparsity": 0.6}),
    "structured": (StructuredPruning, {"neurons": 0.5, "interval": 3}),
    "structured, by the penalty": (StructuredPruning, {"neurons": 0.5, "importance": "proximal"}),
}


@pytest.fixture(scope="session")
def sparse_network(tiny_network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with a random 40 % of its blocks' weights at zero."""
    folder = tmp_path_factory.mktemp("sparse")
    network = AutoModel.from_pretrained(tiny_network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in prunable_weights(network).values():
            weight[torch.rand(weight.shape, generator=generator) < 0.4] = 0
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_zeros_at_the_start_are_zeros_at_the_end(
    name: str, data: TaskData, sparse_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    kind, options = KINDS[name]
    module = kind(data.task, str(sparse_network), training=HOLD, **options)
    before = {name: weight.detach().clone() for name, weight in prunable_weights(module.network).items()}
    weights = dict(module.held.weights)
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    moved = 0
    for key, weight in weights.items():
        assert not weight[before[key] == 0].count_nonzero(), key
        moved += int((weight != before[key]).sum())
    assert moved > 0
    if name.startswith("structured"):  # The weights above are those before the cut, which copies them.
        assert masks.sparsity(prunable_weights(module.network)) > 0.3
    elif name == "groups":
        assert all(((weight == 0).view(-1, 4).sum(1) >= 2).all() for weight in weights.values())
    elif name == "blocks":
        assert masks.sparsity(weights) >= 0.6
    elif name in ("magnitude", "proximal", "movement"):
        assert masks.sparsity(weights) == pytest.approx(0.6, abs=1e-4)


def test_without_the_option_zeros_grow(
    data: TaskData, sparse_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = FineTuning(data.task, str(sparse_network), Training(learning_rate=2e-3))
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    assert masks.sparsity(prunable_weights(module.network)) < 0.01


def test_living_weights_train_as_those_of_a_masked_network(
    data: TaskData, sparse_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    """Held zeros equal plain AdamW whose zeros are written back after every step, if their gradients count nowhere."""
    held = FineTuning(data.task, str(sparse_network), HOLD)
    make_trainer(max_epochs=1).fit(held, datamodule=data)
    plain = FineTuning(data.task, str(sparse_network), Training(learning_rate=2e-3))
    zeros = masks.zeros(prunable_weights(plain.network))

    class WriteBack(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            with torch.no_grad():
                for name, weight in prunable_weights(plain.network).items():
                    weight[zeros[name]] = 0

    make_trainer(max_epochs=1, callbacks=[WriteBack()]).fit(plain, datamodule=data)
    for weight, other in zip(held.network.parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(weight, other)


def test_resumed_run_holds_the_zeros_of_its_start(
    data: TaskData, sparse_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    def train(stop: bool = False, checkpoint: Path | None = None) -> MagnitudePruning:
        module = MagnitudePruning(data.task, str(sparse_network), sparsity=0.6, interval=3, training=HOLD)
        keep = ModelCheckpoint(tmp_path, filename="at", every_n_train_steps=5, enable_version_counter=False)

        class Stop(Callback):
            def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
                if stop and trainer.global_step == 6:
                    raise KeyboardInterrupt

        trainer = make_trainer(max_epochs=1, callbacks=[keep, Stop()], enable_checkpointing=True)
        if stop:
            with pytest.raises(SystemExit):
                trainer.fit(module, datamodule=data)
        else:
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
        return module

    whole = train()
    train(stop=True)
    resumed = train(checkpoint=tmp_path / "at.ckpt")
    for weight, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(weight, other)


def test_less_than_is_there_cannot_be_wanted(data: TaskData, sparse_network: Path) -> None:
    with pytest.raises(
        ValueError, match=r"sparsity=0\.3 is less than the 0\.\d+ of the targets that .*hold_zeros=false"
    ):
        MagnitudePruning(data.task, str(sparse_network), sparsity=0.3, training=HOLD)


def test_nothing_to_hold_is_said(data: TaskData, tiny_network: Path) -> None:
    with pytest.warns(UserWarning, match="holds nothing"):
        FineTuning(data.task, str(tiny_network), HOLD)


def test_optimizer_that_moves_a_dead_weight_is_named() -> None:
    weight = Parameter(torch.ones(2, 2))
    held = HeldZeros({"w": weight})
    optimizer = torch.optim.SGD([weight], lr=0.1)
    held.hold({"w": torch.eye(2, dtype=torch.bool)}, optimizer)
    held.check(optimizer)
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match=r"SGD moved pruned weights of w.*use AdamW"):
        held.check(optimizer)


def test_held_weights_are_zero_without_a_sign() -> None:
    weight = Parameter(torch.tensor([-1.0, 2.0, -3.0, 4.0]))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    held = HeldZeros({"w": weight})
    held.hold({"w": torch.tensor([True, True, False, False])}, optimizer)
    assert weight.detach()[:2].tolist() == [0.0, 0.0]
    assert not weight.detach()[:2].signbit().any()  # -0 has bits that are set, so that sparse files would hold it.
    assert held.living("w").tolist() == [0.0, 0.0, 1.0, 1.0]
    held.hold({"w": torch.tensor([True, True, True, False])}, optimizer)
    assert held.living("w").tolist() == [0.0, 0.0, 0.0, 1.0]
