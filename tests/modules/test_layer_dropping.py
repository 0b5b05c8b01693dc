"""Layer dropping: what is chosen, what is frozen, and that a checkpoint rebuilds it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from transformers import AlbertConfig, AlbertModel, AutoTokenizer

from toolkit.data import TaskData
from toolkit.models.encoder import transformer_blocks
from toolkit.modules.layer_dropping import LayerDropping
from toolkit.pruning.layers import LayerPlan
from toolkit.statistics.profile import LayerProfile, Profiling


def profile(num_blocks: int = 4, **changes: Any) -> LayerProfile:
    """Of a network whose layers 0 … 4 do as the numbers say."""
    places = range(num_blocks + 1)
    values: dict[str, Any] = {
        "network": "made up",
        "task": "none",
        "rows": 10,
        "variability": (8.0, 4.0, 3.9, 2.0, 3.0),
        "influence": (0.5, 0.1, 0.4, 0.2),
        "angular": tuple(tuple(abs(a - b) / 10 + (0.5 if 0 in (a, b) else 0) for b in places) for a in places),
        "similarity": tuple(tuple(1 - 0.1 * abs(a - b) for b in places) for a in places),
        "probe": (0.5, 0.6, 0.6, 0.9, 0.8),
        "cumulative_probe": (0.5, 0.7, 0.71, 0.9, 0.91),
        "probe_metric": "accuracy",
    }
    return LayerProfile(**values | changes)


@pytest.fixture
def make(data: TaskData, four_blocks: Path) -> Callable[..., LayerDropping]:
    return lambda **options: LayerDropping(data.task, str(four_blocks), **options)


@pytest.mark.parametrize(
    ("options", "kept", "trained"),
    [
        ({}, (0, 1, 2), (0, 1, 2)),
        ({"tolerance": 1.0}, (0,), (0,)),
        ({"keep": 2}, (0, 2), (0, 2)),
        ({"score": "influence", "keep": 2}, (0, 2), (0, 2)),
        ({"score": "similarity", "keep": 2}, (1, 3), (1, 3)),
        ({"score": "probe", "tolerance": 0.05}, (0, 1, 2), (0, 1, 2)),
        ({"score": "probe"}, (0, 1, 2, 3), (0, 1, 2, 3)),
        ({"score": "probe", "keep": 2}, (0, 2), (0, 2)),
        ({"strategy": "window", "keep": 2}, (0, 1, 2), (1, 2)),
        ({"strategy": "window_top", "keep": 1}, (0, 1, 2, 3), (2,)),
        ({"score": "influence", "strategy": "run", "keep": 3}, (0, 1, 2), (0, 1, 2)),
    ],
)
def test_a_profile_decides(
    options: dict[str, Any], kept: tuple[int, ...], trained: tuple[int, ...], make: Callable[..., LayerDropping]
) -> None:
    module = make(**options)
    assert module.needs_profile
    plan = module.choose(profile())
    assert (plan.kept, plan.trained) == (kept, trained)


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [("top", (2, 3)), ("bottom", (0, 1)), ("alternate", (0, 3)), ("symmetric", (0, 3)), ("all", (0, 1, 2, 3))],
)
def test_baselines_need_no_profile(strategy: str, kept: tuple[int, ...], make: Callable[..., LayerDropping]) -> None:
    module = make(strategy=strategy, keep=None if strategy == "all" else 2)
    assert not module.needs_profile
    assert module.choose(None).kept == kept


def test_baselines_that_keep_everything_and_train_a_part(make: Callable[..., LayerDropping]) -> None:
    plans = [make(strategy=f"train_{which}", keep=2).choose(None) for which in ("top", "bottom", "random")]
    assert all(plan.kept == (0, 1, 2, 3) for plan in plans)
    assert [plan.trained for plan in plans[:2]] == [(2, 3), (0, 1)]
    assert len(plans[2].trained) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 5}, "model.keep is 5"),
        ({"keep": 0}, "model.keep is 0"),
        ({"strategy": "top"}, "needs model.keep"),
        ({"score": "influence"}, "needs model.keep"),
        ({"score": "similarity", "strategy": "window", "keep": 2}, "needs a best layer"),
        ({"strategy": "run", "keep": 2}, "model.score=influence"),
        ({"tolerance": -0.1}, "must not be negative"),
        ({"score": "probe", "tolerance": 1.5}, "model.tolerance is 1.5"),
        ({"strategy": "top", "keep": 2, "score": "influence"}, "score=influence has no effect with model.strategy=top"),
        ({"strategy": "random", "keep": 2, "statistics": Profiling(bins=3)}, "statistics=.* has no effect"),
        ({"score": "influence", "keep": 2, "tolerance": 0.1}, "tolerance=0.1 has no effect with model.score=influence"),
        ({"keep": 2, "tolerance": 0.1}, "tolerance=0.1 has no effect with model.keep=2"),
        ({"strategy": "all", "keep": 2}, "keep=2 has no effect with model.strategy=all"),
    ],
)
def test_options_that_contradict_each_other(
    options: dict[str, Any], message: str, make: Callable[..., LayerDropping]
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_profile_of_another_network_is_refused(make: Callable[..., LayerDropping]) -> None:
    small = LayerProfile(
        network="x", task="y", rows=1, variability=(1.0, 2.0), influence=(0.1,), angular=((0.0, 1.0), (1.0, 0.0)),
        similarity=((1.0, 0.5), (0.5, 1.0)),
    )  # fmt: skip
    for given, said in ((small, "one of 1 blocks"), (None, "none")):
        with pytest.raises(ValueError, match=f"given {said}"):
            make().choose(given)
    with pytest.raises(ValueError, match="probe=True"):
        make(score="probe").choose(profile(probe=None, cumulative_probe=None))


def test_frozen_blocks_stay_and_trained_ones_move(
    data: TaskData, make: Callable[..., LayerDropping], make_trainer: Callable[..., Trainer]
) -> None:
    module = make(strategy="window", keep=1)
    module.adopt(module.choose(profile()))
    assert module.network.config.num_hidden_layers == 3
    before = {name: weight.detach().clone() for name, weight in module.network.named_parameters()}
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    moved = {name for name, weight in module.network.named_parameters() if not torch.equal(weight, before[name])}
    assert all(name.startswith(("bert.encoder.layer.2.", "bert.pooler.", "classifier.")) for name in moved)
    assert any(name.startswith("bert.encoder.layer.2.") for name in moved)
    assert {"classifier.weight", "bert.pooler.dense.weight"} <= moved
    results = module.results()
    assert (results["blocks"], results["blocks_trained"]) == ("0 1 2 of 4", "2")
    assert 0 < results["step_macs"]["chosen"] < results["step_macs"]["full"] / 2


def test_dropping_trains_everything_that_is_left(make: Callable[..., LayerDropping]) -> None:
    module = make(keep=2)
    module.adopt(module.choose(profile()))
    assert all(weight.requires_grad for weight in module.network.parameters())
    assert module.results()["step_macs"]["chosen"] == pytest.approx(module.results()["step_macs"]["full"] / 2, rel=0.04)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_checkpoint_rebuilds_the_architecture(
    data: TaskData, make: Callable[..., LayerDropping], make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    module = make(strategy="window", keep=1)
    module.adopt(module.choose(profile()))
    keeper = ModelCheckpoint(tmp_path / "kept", filename="last")
    trainer = make_trainer(max_epochs=1, callbacks=[keeper], enable_checkpointing=True)
    trainer.fit(module, datamodule=data)
    scores = trainer.test(module, datamodule=data, verbose=False)

    fresh = make(strategy="window", keep=1)
    assert make_trainer().test(fresh, datamodule=data, ckpt_path=keeper.best_model_path, verbose=False) == scores
    assert len(transformer_blocks(fresh.network)) == 3
    for (name, weight), other in zip(module.network.named_parameters(), fresh.network.parameters(), strict=True):
        assert torch.equal(weight, other), name
        assert weight.requires_grad == other.requires_grad

    going_on = make(strategy="window", keep=1)
    make_trainer(max_epochs=2).fit(going_on, datamodule=data, ckpt_path=keeper.best_model_path)
    assert len(transformer_blocks(going_on.network)) == 3
    other_plan = make(strategy="bottom", keep=1)
    other_plan.adopt(LayerPlan(num_blocks=4, kept=(0,), trained=(0,)))
    with pytest.raises(ValueError, match="keeps the blocks 0 1 2, but 0 were kept"):
        make_trainer().test(other_plan, datamodule=data, ckpt_path=keeper.best_model_path, verbose=False)


def test_checkpoints_of_something_else_are_refused(make: Callable[..., LayerDropping]) -> None:
    with pytest.raises(ValueError, match="which blocks were kept"):
        make().on_load_checkpoint({"state_dict": {}})
    module = make(strategy="bottom", keep=1)
    module.adopt(module.choose(None))
    checkpoint: dict[str, Any] = {"loops": {"fit_loop": {"epoch_loop.batch_progress": {"is_last_batch": True}}}}
    module.on_save_checkpoint(checkpoint)
    fresh = make(strategy="bottom", keep=1)
    fresh.on_load_checkpoint(checkpoint)
    assert fresh.plan == module.plan
    checkpoint["layers"]["of"] = 6
    with pytest.raises(ValueError, match="for 6 blocks, the network had 4"):
        make().on_load_checkpoint(checkpoint)


def test_blocks_that_share_their_weights_cannot_be_frozen(data: TaskData, tiny_network: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    config = AlbertConfig(
        vocab_size=len(tokenizer), embedding_size=8, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AlbertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for strategy in ("window", "window_top", "train_top"):
        with pytest.raises(ValueError, match="shares its weights"):
            LayerDropping(data.task, str(tmp_path), strategy=strategy, keep=1)
    module = LayerDropping(data.task, str(tmp_path), strategy="bottom", keep=1)
    with pytest.raises(ValueError, match="shares its weights"):
        module.adopt(LayerPlan(num_blocks=3, kept=(0, 1), trained=(1,)))
    assert module.network.config.num_hidden_layers == 3
    module.adopt(module.choose(None))
    assert module.network.config.num_hidden_layers == 1


def test_a_block_that_has_to_stay_does_in_place_of_the_lowest_chosen_one(
    make: Callable[..., LayerDropping], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make(strategy="drop", score="influence", keep=2)
    chosen = profile(influence=(0.1, 0.2, 0.9, 0.8))
    assert module.choose(chosen).kept == (2, 3)
    monkeypatch.setattr(module.network.config, "model_type", "modernbert")
    with pytest.warns(UserWarning, match="Block 0 of this architecture has to stay: it is kept in place of block 2"):
        assert module.choose(chosen).kept == (0, 3)


def test_rows_too_few_to_tell_classes_apart_choose_no_blocks(make: Callable[..., LayerDropping]) -> None:
    with pytest.raises(ValueError, match=r"none tells the classes apart\. Give more rows"):
        make(strategy="drop", score="variability", keep=2).choose(profile(variability=(math.inf,) * 5))


def test_numbers_that_json_lacks_come_back(tmp_path: Path) -> None:
    written = profile(variability=(math.inf, 4.0, 3.9, 2.0, 3.0), probe=(math.nan, 0.6, 0.6, 0.9, 0.8))
    written.write(tmp_path / "layers.json")
    read = LayerProfile.read(tmp_path / "layers.json")
    assert read.variability == written.variability
    assert read.probe is not None
    assert math.isnan(read.probe[0])
    assert repr(read) == repr(written)


def test_layers_that_stay_learn_from_themselves(make: Callable[..., LayerDropping]) -> None:
    module = make(keep=2)
    assert module.teacher_layers(3, 5) == [0, 2, 4]
    module.adopt(LayerPlan(num_blocks=4, kept=(0, 3), trained=(0, 3)))
    assert module.teacher_layers(3, 5) == [0, 1, 4]
    assert module.teacher_layers(3, 7) == [0, 3, 6], "another depth: evenly spaced"


def test_a_choice_that_drops_nothing_is_said(make: Callable[..., LayerDropping]) -> None:
    module = make(score="probe")
    with pytest.warns(UserWarning, match=r"No block is dropped.*model\.keep"):
        module.adopt(module.choose(profile()))


def test_training_without_a_choice_says_what_to_do(
    data: TaskData, make: Callable[..., LayerDropping], make_trainer: Callable[..., Trainer]
) -> None:
    with pytest.raises(ValueError, match=r"call choose\(profile\)"):
        make_trainer().fit(make(), datamodule=data)
    module = make(strategy="bottom", keep=1)
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    assert len(transformer_blocks(module.network)) == 1


def test_a_plan_is_applied_once_and_to_its_network(make: Callable[..., LayerDropping]) -> None:
    module = make(keep=2)
    with pytest.raises(ValueError, match="for 6 blocks, the network had 4"):
        module.adopt(LayerPlan(num_blocks=6, kept=(0,), trained=(0,)))
    module.adopt(module.choose(profile()))
    with pytest.raises(ValueError, match="truncated before"):
        module.adopt(module.choose(profile()))
