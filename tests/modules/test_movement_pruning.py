"""Movement pruning: the paper's sum as scores, a network that sees masked weights, and weights that are never lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.optim import Optimizer

from toolkit.data import TaskData
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.movement_pruning import MovementPruning
from toolkit.modules.training import Training
from toolkit.pruning import masks

FAST = Training(learning_rate=2e-3)


class Scores(Callback):
    """The scores before the last step of the window."""

    def __init__(self) -> None:
        self.last: dict[str, Tensor] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, MovementPruning)
        if not pl_module.fixed:
            self.last = {name: score.detach().clone() for name, score in pl_module.movement.items()}


@pytest.mark.parametrize("accumulated", [1, 2])
def test_scores_are_the_papers_sum(
    accumulated: int, data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    """Until something is hidden, S = -Σ_t λ_t ∂L/∂w · w, as summed beside plain fine-tuning."""
    options: dict[str, Any] = {"prune_start": 0.0, "prune_fraction": 1.0, "interval": 1000}
    module = MovementPruning(
        data.task, str(tiny_network), score_optimizer="sgd", score_learning_rate=0.5, training=FAST, **options
    )
    scores = Scores()
    trainer = make_trainer(max_epochs=1, callbacks=[scores], accumulate_grad_batches=accumulated)
    trainer.fit(module, datamodule=data)

    plain = FineTuning(data.task, str(tiny_network), FAST)
    sums = {name: torch.zeros_like(plain.network.get_parameter(name)) for name in module.weights}

    def add(optimizer: Optimizer) -> None:
        if plain.trainer.global_step + 1 == plain.num_steps:
            return
        for name, total in sums.items():
            weight = plain.network.get_parameter(name)
            assert weight.grad is not None
            total -= (0.5 * optimizer.param_groups[0]["lr"] / 2e-3 * weight.grad * weight).detach()

    plain.on_before_optimizer_step = add  # type: ignore[method-assign]
    make_trainer(max_epochs=1, accumulate_grad_batches=accumulated).fit(plain, datamodule=data)
    for name, total in sums.items():
        assert total.count_nonzero() > 0
        torch.testing.assert_close(scores.last[name], total, rtol=1e-4, atol=1e-7)


def test_network_sees_masked_weights_and_the_optimizer_whole_ones(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    module = MovementPruning(data.task, str(tiny_network), sparsity=0.7, interval=2, training=FAST)
    name, weight = next(iter(module.weights.items()))
    layer = module.network.get_submodule(name.removesuffix(".weight"))
    seen: dict[bool, list[float]] = {True: [], False: []}
    between: list[float] = []

    def look(*_: Any) -> None:
        if not module.fixed and name in module.shown:
            assert torch.equal(weight != 0, module.shown[name] == 1)
            seen[module.network.training].append(masks.sparsity({name: weight}))

    layer.register_forward_pre_hook(look)

    class Between(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            if not module.fixed:
                between.append(masks.sparsity(module.weights))

    keep = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)
    make_trainer(max_epochs=2, val_check_interval=6, callbacks=[Between(), keep], enable_checkpointing=True).fit(
        module, datamodule=data
    )
    assert len(seen[True]) > 10
    assert len(seen[False]) > 2
    assert seen[True][-1] > 0.3
    assert set(between) == {0.0}
    checkpoint = torch.load(tmp_path / "step=12.ckpt", weights_only=True)
    assert masks.sparsity({name: checkpoint["state_dict"][f"network.{name}"]}) == 0
    assert masks.sparsity(module.weights) == pytest.approx(0.7, abs=1e-4)
    assert all(score.numel() == 0 for score in module.movement.values())


def test_a_checkpoint_of_the_window_is_judged_with_its_masks(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    """By every command of Lightning; afterwards training goes on with whole weights."""

    def build() -> MovementPruning:
        return MovementPruning(data.task, str(tiny_network), sparsity=0.7, interval=2, training=FAST)

    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=12, save_top_k=-1, save_on_train_epoch_end=False)
    make_trainer(max_epochs=2, callbacks=[keep], enable_checkpointing=True).fit(build(), datamodule=data)
    module, file = build(), tmp_path / "step=12.ckpt"
    zeros: list[float] = []
    name, weight = next(iter(module.weights.items()))
    module.network.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(
        lambda *_: zeros.append(masks.sparsity({name: weight}))
    )
    for command in ("validate", "test", "predict"):
        zeros.clear()
        getattr(make_trainer(callbacks=[keep], enable_checkpointing=True), command)(
            module, datamodule=data, ckpt_path=file
        )
        assert set(zeros) == {masks.sparsity({name: module.shown[name]})}
        assert zeros[0] > 0
        assert masks.sparsity({name: weight}) == 0
    make_trainer(max_epochs=2, callbacks=[keep], enable_checkpointing=True).fit(module, datamodule=data, ckpt_path=file)
    assert masks.sparsity(module.weights) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("one_shot", lambda progress: 0.0),
        ("iterative", lambda progress: 0.2 * int(3 * progress)),
        ("gradual", lambda progress: 0.6 * (1 - (1 - progress) ** 3)),
    ],
)
def test_a_schedule_says_how_much_is_hidden(
    schedule: Any,
    wanted: Callable[[float], float],
    data: TaskData,
    tiny_network: Path,
    make_trainer: Callable[..., Trainer],
) -> None:
    own = {"rounds": 3} if schedule == "iterative" else {}
    module = MovementPruning(
        data.task, str(tiny_network), sparsity=0.6, schedule=schedule, interval=1, prune_start=0.0, prune_fraction=1.0,
        training=FAST, **own,
    )  # fmt: skip
    hidden: dict[int, float] = {}

    class Look(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if not module.fixed:
                hidden[trainer.global_step] = masks.sparsity(module.shown)

    trainer = make_trainer(max_epochs=1, callbacks=[Look()])
    trainer.fit(module, datamodule=data)
    assert len(hidden) > 5
    for step, share in hidden.items():
        assert share == pytest.approx(wanted(step / trainer.global_step), abs=1e-3)
    assert masks.sparsity(module.weights) == pytest.approx(0.6, abs=1e-3)


def test_hidden_weights_come_back(data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]) -> None:
    module = MovementPruning(data.task, str(tiny_network), sparsity=0.5, interval=1, training=FAST)
    came_back = 0
    before: dict[str, Tensor] = {}

    class Compare(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            nonlocal came_back, before
            came_back += sum(
                int(((before[name] == 0) & (shown == 1)).sum()) for name, shown in module.shown.items() if before
            )
            before = module.shown

    make_trainer(callbacks=[Compare()]).fit(module, datamodule=data)
    assert came_back > 0


def test_penalty_pulls_scores_down_until_the_threshold_prunes(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    """Without a wanted sparsity it is a result, and a stronger penalty prunes more."""
    found = []
    for penalty in (0.0, 1e9):
        module = MovementPruning(
            data.task,
            str(tiny_network),
            sparsity=None,
            mode="soft",
            penalty=penalty,
            score_learning_rate=0.5,
            training=FAST,
        )
        make_trainer(max_epochs=1).fit(module, datamodule=data)
        found.append(masks.sparsity(module.weights))
    assert found == sorted(found)
    assert found[0] < found[-1]
    assert found[-1] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": None}, "but not mode hard"),
        ({"sparsity": None, "mode": "soft", "pattern": "8x8"}, "but not mode soft with pattern 8x8"),
        ({"sparsity": 1.0}, r"\[0, 1\)"),
        ({"interval": 0}, "interval"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": 3}, "model.rounds=3 has no effect with model.schedule=gradual"),
        ({"penalty": 100.0}, "model.penalty=100.0 has no effect with model.mode=hard"),
        ({"mode": "soft", "threshold": 0.2}, "model.threshold=0.2 has no effect with model.sparsity"),
        ({"mode": "hard", "pattern": "2:4", "sparsity": None, "threshold": 0.2}, "no effect with model.pattern"),
        ({"score_learning_rate": 0.0}, "score_learning_rate"),
        ({"penalty": -1.0}, "penalty"),
        ({"threshold": 1.0}, "threshold"),
    ],
)
def test_options_out_of_range_are_refused(
    options: dict[str, Any], message: str, data: TaskData, tiny_network: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        MovementPruning(data.task, str(tiny_network), **options)
