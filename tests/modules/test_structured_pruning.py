"""Structured pruning: exact shares, groups that stay dead, a cut network that computes the same, exact resumption."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from toolkit.data import TaskData
from toolkit.models.loading import load_network
from toolkit.models.masked_norm import MaskedLayerNorm
from toolkit.models.storage import load
from toolkit.models.structure import KINDS, Structure, along, groups_of
from toolkit.modules.distillation import Distillation
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.structured_pruning import StructuredPruning
from toolkit.modules.training import Training
from toolkit.pruning.structured import shrink_factors

FAST = Training(learning_rate=2e-3)
METHODS: dict[str, dict[str, Any]] = {
    "taylor": {},
    "magnitude": {"importance": "magnitude"},
    "proximal": {"importance": "proximal"},
    "taylor, heads too": {"heads": 0.5, "uniform": False},
    "proximal, heads too": {"heads": 0.5, "uniform": False, "importance": "proximal"},
    "taylor, uniform widths of all": {"heads": 0.5, "hidden": 0.5},
    "magnitude, hidden too": {"importance": "magnitude", "hidden": 0.25, "uniform": False},
    "proximal, all": {"heads": 0.5, "hidden": 0.5, "importance": "proximal", "exponent": 8.0},
}
every_method = pytest.mark.parametrize("method", METHODS)
MakeTrainer = Callable[..., Trainer]


def build(method: str, data: TaskData, network: Path, **options: Any) -> StructuredPruning:
    defaults: dict[str, Any] = {"training": FAST, "interval": 3}
    return StructuredPruning(data.task, str(network), **defaults | METHODS[method] | options)


def logits(module: FineTuning) -> Tensor:
    ids = torch.arange(5, 25).view(2, 10)
    module.network.train(False)
    with torch.no_grad():
        found: Tensor = module.network(input_ids=ids).logits
    return found


class Watch(Callback):
    """Record how many groups are not zero after each step, and what the network computes before it is cut."""

    def __init__(self) -> None:
        self.living: list[int] = []
        self.before: Tensor | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, StructuredPruning)
        living = 0
        for kind in KINDS:
            for groups in groups_of(pl_module.network, kind):
                owned = [weight.detach().movedim(dim, 0).reshape(groups.count, -1) for _, weight, dim in groups.parts]
                living += int(torch.cat(owned, 1).count_nonzero(1).bool().sum())
        self.living.append(living)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StructuredPruning)
        self.before = logits(pl_module)


@every_method
def test_shares_are_exact_and_the_cut_network_computes_the_same(
    method: str, data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    module = build(method, data, tiny_network)
    watch = Watch()
    make_trainer(callbacks=[watch]).fit(module, datamodule=data)
    kept_heads = 2 if module.removed["heads"] else 4
    kept_hidden = 32 - round(32 * module.removed["hidden"])
    whole, left = 4 + 128 + 32, kept_heads + 64 + kept_hidden
    assert watch.living[2] == whole  # nothing before the window
    assert watch.living == sorted(watch.living, reverse=True) or method.startswith("proximal")
    end = round(0.6 * 36)
    assert set(watch.living[end - 1 :]) == {left}
    assert watch.before is not None
    assert (logits(module) - watch.before).abs().max() < 1e-5
    assert not any(isinstance(part, MaskedLayerNorm) for part in module.network.modules())
    dense = load_network(str(tiny_network), data.task)
    weights = [sum(weight.numel() for weight in network.parameters()) for network in (dense, module.network)]
    counted = [
        (dense.config.vocab_size + 128 + 2 + 2) * hidden  # embeddings with their norm
        + 16 * heads * (3 * (hidden + 1) + hidden)
        + neurons * (2 * hidden + 1)
        + 2 * 6 * hidden  # of each block two biases and two norms
        + hidden * (hidden + 1)
        + 2 * (hidden + 1)
        for hidden, heads, neurons in ((32, 4, 128), (kept_hidden, kept_heads, 64))
    ]
    assert weights == counted
    results = module.results()
    assert (results["heads_kept"], results["neurons_kept"]) == (f"{kept_heads} of 4", "64 of 128")
    assert sum(results["structure"]["neurons"]) == 64
    assert results["hidden_kept"] == f"{kept_hidden} of 32"
    module.network.save_pretrained(tmp_path / "cut")
    assert torch.allclose(load(tmp_path / "cut")(torch.arange(5, 15)[None]).logits, logits(module)[:1], atol=1e-6)


def test_uniform_network_is_one_of_plain_transformers(
    data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    module = build("taylor", data, tiny_network, neurons=0.7, multiple=8)
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    module.network.save_pretrained(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert plain.config.intermediate_size == 16  # 19.2, down to a multiple of 8
    torch.testing.assert_close(plain(torch.arange(5, 15)[None]).logits, logits(module)[:1])


def test_penalty_drives_groups_to_zero_by_itself(data: TaskData, tiny_network: Path, make_trainer: MakeTrainer) -> None:
    module = build("proximal", data, tiny_network)
    make_trainer().fit(module, datamodule=data)
    assert module.results()["natural_share_of_neurons"] == pytest.approx(0.5, abs=0.2)


def test_proximal_form_is_adamw_then_the_group_operator(
    data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fixed penalty every step equals a plain loop over neurons."""
    penalty = 0.7
    name = "toolkit.modules.group_importance.penalty_for_sparsity"
    monkeypatch.setattr(name, lambda resistances, share, left: penalty)
    module = build("proximal", data, tiny_network, prune_start=0.0, prune_fraction=1.0)
    monkeypatch.setattr(module, "_fix", lambda optimizer: setattr(module, "fixed", True))
    make_trainer(max_epochs=1).fit(module, datamodule=data)

    plain = FineTuning(data.task, str(tiny_network), FAST)
    layers: Any = plain.network.base_model.get_submodule("encoder.layer")

    def shrink(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        scale = optimizer.param_groups[0]["lr"] * penalty
        with torch.no_grad():
            for layer in layers:
                up, down = layer.intermediate.dense, layer.output.dense
                for neuron in range(64):
                    own = [up.weight[neuron], up.bias[neuron : neuron + 1], down.weight[:, neuron]]
                    factor = shrink_factors(torch.cat(own).norm()[None], scale)[0]
                    for part in own:
                        part.mul_(factor)

    configure = plain.configure_optimizers

    def with_hook() -> Any:
        configured: Any = configure()
        configured["optimizer"].register_step_post_hook(shrink)
        return configured

    plain.configure_optimizers = with_hook  # type: ignore[method-assign]
    make_trainer(max_epochs=1).fit(plain, datamodule=data)
    expected = dict(plain.network.named_parameters())
    zeros = 0
    for path, weight in module.network.named_parameters():
        torch.testing.assert_close(weight, expected[path], rtol=1e-4, atol=1e-6)
        zeros += int((weight == 0).sum()) if path.endswith("intermediate.dense.bias") else 0
    assert 0 < zeros < 128


@every_method
def test_resumed_run_ends_with_the_same_weights(
    method: str, data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    whole = build(method, data, tiny_network)
    make_trainer(max_epochs=3).fit(whole, datamodule=data)
    for steps in (10, 40, 54):  # In the window, in the recovery, and when all is done but the cutting.

        def keep(steps: int = steps) -> ModelCheckpoint:
            return ModelCheckpoint(
                tmp_path / str(steps), filename="at", every_n_train_steps=steps, enable_version_counter=False
            )

        class Stop(Callback):
            def on_train_batch_end(self, trainer: Trainer, *_: Any, steps: int = steps) -> None:
                if trainer.global_step == steps + 1:  # Checkpoints are written after other callbacks.
                    raise KeyboardInterrupt

        first = build(method, data, tiny_network)
        options: dict[str, Any] = {"max_epochs": 3, "enable_checkpointing": True}
        if steps < 54:
            with pytest.raises(SystemExit):
                make_trainer(callbacks=[keep(), Stop()], **options).fit(first, datamodule=data)
            assert not first.sliced
        else:
            make_trainer(callbacks=[keep()], **options).fit(first, datamodule=data)
        resumed = build(method, data, tiny_network)
        trainer = make_trainer(callbacks=[keep()], **options)
        trainer.fit(resumed, datamodule=data, ckpt_path=tmp_path / str(steps) / "at.ckpt")
        assert resumed.structure == whole.structure
        found = dict(resumed.network.named_parameters())
        assert all(torch.equal(weight, found[name]) for name, weight in whole.network.named_parameters())
        assert resumed.results() == whole.results()


def test_checkpoint_of_the_cut_network_is_loaded(
    data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    module = build("taylor, heads too", data, tiny_network)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "cut.ckpt")
    other = build("taylor, heads too", data, tiny_network)
    make_trainer().test(other, datamodule=data, ckpt_path=tmp_path / "cut.ckpt", verbose=False)
    assert torch.equal(logits(other), logits(module))
    with pytest.raises(ValueError, match="into a new module"):
        make_trainer().test(other, datamodule=data, ckpt_path=tmp_path / "cut.ckpt", verbose=False)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(FineTuning(data.task, str(tiny_network), FAST), datamodule=data)
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="says nothing of a structure"):
        make_trainer().test(build("taylor", data, tiny_network), datamodule=data, ckpt_path=tmp_path / "other.ckpt")


@pytest.mark.parametrize("method", ["taylor", "proximal"])
def test_resumed_training_whose_time_is_up_is_cut_with_a_warning(
    method: str, data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """No training ends then, as none begins."""
    keep = ModelCheckpoint(tmp_path, filename="at", every_n_train_steps=5)

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 6:
                raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        make_trainer(callbacks=[keep, Stop()], enable_checkpointing=True).fit(
            build(method, data, tiny_network), datamodule=data
        )
    module = build(method, data, tiny_network)
    with pytest.warns(UserWarning, match="Training ended at step 5, before the structure was to be fixed"):
        make_trainer(callbacks=[keep, Timer(timedelta(0))], enable_checkpointing=True).fit(
            module, datamodule=data, ckpt_path=tmp_path / "at.ckpt"
        )
    assert module.sliced
    assert sum(map(len, module.structure.kept("neurons"))) < sum(map(len, module.original.kept("neurons")))


def test_training_that_ends_early_is_cut_with_a_warning(
    data: TaskData, tiny_network: Path, make_trainer: MakeTrainer
) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            trainer.should_stop = trainer.global_step >= 8

    module = build("taylor", data, tiny_network)
    with pytest.warns(UserWarning, match="before the structure was to be fixed at step 22"):
        make_trainer(callbacks=[Stop()], min_epochs=0).fit(module, datamodule=data)
    assert module.network.config.intermediate_size == 32


class Recorded(StructuredPruning):
    """Adds up |Σ w·∂f/∂w| of every neuron over the steps of the window, and knows the norms at its end."""

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        start, end = self.window()
        if start <= self.trainer.global_step < end:
            for number, changes in enumerate(self.changes):
                changes += sum((w * w.grad).sum(1) for w in self.rows(number)).abs()

    def rows(self, block: int) -> list[Tensor]:
        """The weights of a block's neurons, a neuron in each row, with their gradients."""
        layer: Any = self.network.bert.encoder.layer[block]
        found = []
        for weight, turned in (
            (layer.intermediate.dense.weight, False),
            (layer.intermediate.dense.bias, False),
            (layer.output.dense.weight, True),
        ):
            rows = (weight.T if turned else weight).detach().clone().reshape(64, -1)
            rows.grad = None if weight.grad is None else (weight.grad.T if turned else weight.grad).reshape(64, -1)
            found.append(rows)
        return found

    def _fix(self, optimizer: Any) -> None:
        self.norms = [sum(rows.square().sum(1) for rows in self.rows(block)) for block in range(2)]
        super()._fix(optimizer)


@pytest.mark.parametrize("importance", ["taylor", "magnitude"])
def test_what_stays_has_the_highest_scores(
    importance: Any, data: TaskData, tiny_network: Path, make_trainer: MakeTrainer
) -> None:
    module = Recorded(
        data.task, str(tiny_network), neurons=0.5, importance=importance, interval=10_000, multiple=1, training=FAST
    )
    module.changes = [torch.zeros(64), torch.zeros(64)]
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    scores = {"taylor": module.changes, "magnitude": module.norms}
    best = {name: [set(values.topk(32).indices.tolist()) for values in blocks] for name, blocks in scores.items()}
    assert best["taylor"] != best["magnitude"]
    assert [set(kept) for kept in module.structure.neurons] == best[importance]


def test_a_teacher_guides_the_recovery(
    data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    dense = FineTuning(data.task, str(tiny_network), FAST)
    make_trainer(max_epochs=1).fit(dense, datamodule=data)
    dense.network.save_pretrained(tmp_path)
    data.tokenizer.save_pretrained(tmp_path)
    guided = Distillation(teacher=str(tmp_path), weight=1.0, hidden_weight=1.0)
    found = []
    for distillation in (Distillation(), guided):
        module = build("taylor", data, tiny_network, distillation=distillation)
        make_trainer(max_epochs=2).fit(module, datamodule=data)
        assert module.network.config.intermediate_size == 32
        found.append((logits(module) - logits(dense)).square().mean())
    assert found[1] < found[0]  # It ends nearer to the teacher than without one.


def test_a_cut_that_changes_the_outputs_is_an_error(
    data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = build("taylor", data, tiny_network)
    cut = module._slice

    def wrong() -> None:
        whole = module.structure
        module.structure = Structure(heads=whole.heads, neurons=tuple(tuple(range(32)) for _ in whole.neurons))
        cut()

    monkeypatch.setattr(module, "_slice", wrong)
    with pytest.raises(RuntimeError, match="Outputs differ by up to"):
        make_trainer(max_epochs=1).fit(module, datamodule=data)


@pytest.mark.parametrize("method", ["taylor, uniform widths of all", "proximal, all"])
def test_training_sees_the_norms_that_are_stored(
    method: str, data: TaskData, tiny_network: Path, make_trainer: MakeTrainer
) -> None:
    """From the step on that removes channels, mean and variance are over the others, also while the penalty works."""
    seen: list[list[int]] = []

    class Note(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            assert isinstance(pl_module, StructuredPruning)
            norms = [part for part in pl_module.network.modules() if isinstance(part, torch.nn.LayerNorm)]
            kept = [part.kept.tolist() for part in norms if isinstance(part, MaskedLayerNorm)]
            assert len(kept) in (0, len(norms))
            assert all(own == list(pl_module.structure.kept("hidden")[0]) for own in kept)
            seen.append(kept[0] if kept else list(range(32)))

    module = build(method, data, tiny_network)
    (groups,) = groups_of(module.network, "hidden")
    for _, weight, dim in groups.parts:  # as of random weights, all norms would be equal, and die at once
        weight.data *= along(torch.linspace(0.3, 1.5, 32), weight, dim)
    make_trainer(callbacks=[Note()]).fit(module, datamodule=data)
    assert all({*later} <= {*earlier} for earlier, later in pairwise(seen))
    assert len({len(kept) for kept in seen}) > 2  # step by step
    assert {len(kept) for kept in seen[21:]} == {16}


def test_heads_and_hidden_size_of_equal_shares_are_those_of_plain_transformers(
    data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    module = build("taylor, uniform widths of all", data, tiny_network)
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    module.network.save_pretrained(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    config = plain.config
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == (16, 1, 32)
    torch.testing.assert_close(plain(torch.arange(5, 15)[None]).logits, logits(module)[:1])


def test_uniform_widths_need_heads_that_fill_the_hidden_size(
    data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    module = build("magnitude, hidden too", data, tiny_network)
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    module.network.save_pretrained(tmp_path)
    data.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"have 32 channels in all, not 24 as its hidden states.*uniform=false"):
        build("taylor, uniform widths of all", data, tmp_path)
    again = build("magnitude, hidden too", data, tmp_path, hidden=0.4)
    make_trainer(max_epochs=1).fit(again, datamodule=data)
    assert again.results()["hidden_kept"] == "16 of 24"  # 14, to a multiple of 8


def test_zeros_that_the_network_came_with_are_held(
    data: TaskData, tiny_network: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    name = "bert.encoder.layer.0.attention.self.query.weight"
    sparse = load_network(str(tiny_network), data.task)
    sparse.get_parameter(name).data[:, ::2] = 0
    sparse.save_pretrained(tmp_path)
    data.tokenizer.save_pretrained(tmp_path)
    module = build("taylor", data, tmp_path, training=Training(learning_rate=2e-3, hold_zeros=True))
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    weight = module.network.get_parameter(name)
    assert not weight[:, ::2].any()
    assert weight[:, 1::2].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neurons": 1.0}, r"model\.neurons must lie in \[0, 1\)"),
        ({"heads": -0.1}, r"model\.heads must lie in \[0, 1\)"),
        ({"neurons": 0.0}, "Nothing is to be removed"),
        ({"hidden": 1.5}, r"model\.hidden must lie in \[0, 1\)"),
        ({"heads": 0.5}, r"model\.heads=0\.5 and model\.hidden=0\.0 .*the same share, or add model\.uniform=false"),
        ({"hidden": 0.5}, r"model\.heads=0\.0 and model\.hidden=0\.5 .*the same share, or add model\.uniform=false"),
        ({"heads": 0.1, "uniform": False}, r"model\.heads=0\.1 removes none of 2 heads of a block"),
        ({"neurons": 0.05}, r"removes none of 64 neurons of a block, of which multiples of 8 are kept"),
        ({"hidden": 0.02, "uniform": False}, r"removes none of 32 hidden channels"),
        ({"multiple": 0}, "model.multiple"),
        ({"interval": 0}, "model.interval"),
        ({"epsilon": 0.0}, "model.epsilon"),
        ({"exponent": 2.0}, "model.exponent=2.0 has no effect with model.importance=taylor"),
        ({"exponent": 0.0}, "model.exponent"),
        ({"prune_start": 0.7}, "model.prune_start"),
    ],
)
def test_options_out_of_range_are_named(
    options: dict[str, Any], message: str, data: TaskData, tiny_network: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        build("taylor", data, tiny_network, **options)
