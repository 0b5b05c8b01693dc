"""Proximal and magnitude pruning: exact sparsity, a pattern that holds, the paper's equation, and exact resumption."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from torch import Tensor
from torch.nn.functional import cross_entropy

from toolkit.data import TaskData
from toolkit.models.inputs import network_inputs
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.movement_pruning import MovementPruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.modules.training import Training
from toolkit.modules.wanda_pruning import WandaPruning
from toolkit.modules.weight_pruning import WeightPruning
from toolkit.pruning import masks
from toolkit.pruning.proximal import reweight, soft_threshold

FAST = Training(learning_rate=2e-3)
METHODS: dict[str, tuple[type[WeightPruning], dict[str, Any]]] = {
    "adam": (ProximalPruning, {}),
    "euclidean": (ProximalPruning, {"metric": "euclidean"}),
    "outer loop": (ProximalPruning, {"reweight_interval": 4, "exponent": "rising"}),
    "every third step": (ProximalPruning, {"interval": 3}),
    "penalty in the loss": (ProximalPruning, {"regularizer": "loss", "metric": "euclidean", "penalty": 1e-6}),
    "gradual": (MagnitudePruning, {}),
    "gradual by curvature": (MagnitudePruning, {"score": "curvature"}),
    "iterative per layer": (MagnitudePruning, {"schedule": "iterative", "scope": "layer", "rounds": 3}),
    "one shot": (MagnitudePruning, {"schedule": "one_shot"}),
    "proximal in blocks": (ProximalPruning, {"pattern": "2x2"}),
    "gradual in blocks": (MagnitudePruning, {"pattern": "2x2", "interval": 4}),
    "movement": (MovementPruning, {"interval": 4}),
    "movement by sums": (MovementPruning, {"interval": 4, "score_optimizer": "sgd", "scope": "layer"}),
    "soft movement": (MovementPruning, {"interval": 4, "mode": "soft"}),
    "wanda": (WandaPruning, {"scope": "layer"}),
    "gradual wanda": (WandaPruning, {"scope": "global", "schedule": "gradual", "interval": 4, "calibration": 10}),
}
every_method = pytest.mark.parametrize("method", METHODS)


def build(method: str, data: TaskData, network: Path, **options: Any) -> WeightPruning:
    kind, own = METHODS[method]
    return kind(data.task, str(network), **{"sparsity": 0.7, "training": FAST} | own | options)


class Watch(Callback):
    """Record sparsity and what the optimizer remembers of dead weights, after each step."""

    def __init__(self) -> None:
        self.sparsities: list[float] = []
        self.revived = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, WeightPruning)
        self.sparsities.append(masks.sparsity(pl_module.weights))
        for name, pruned in pl_module.pruned.items():
            state = trainer.optimizers[0].state[pl_module.weights[name]]
            self.revived += sum(int(state[key][pruned].count_nonzero()) for key in ("exp_avg", "exp_avg_sq"))


@every_method
def test_sparsity_is_exact_and_the_pattern_holds(
    method: str, data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = build(method, data, tiny_network)
    untouched = {name: weight for name, weight in module.network.named_parameters() if name not in module.weights}
    zeros = {name: int((weight == 0).sum()) for name, weight in untouched.items()}
    watch = Watch()
    make_trainer(callbacks=[watch]).fit(module, datamodule=data)
    total = sum(weight.numel() for weight in module.weights.values())
    # Rounding to a whole number of weights, in each of 12 matrices where the scope is the layer.
    assert masks.sparsity(module.weights) == pytest.approx(0.7, abs=6.5 / total)
    end = round(0.6 * 36)
    assert len(set(watch.sparsities[end - 1 :])) == 1
    assert watch.sparsities[0] == 0
    assert watch.revived == 0
    assert all(int((weight == 0).sum()) <= zeros[name] for name, weight in untouched.items())
    assert module.natural_sparsity is not None
    assert module.natural_sparsity <= 0.75


class Recorded(MagnitudePruning):
    """Keeps the weights and the second moments that the pattern is made of."""

    def final_pattern(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        self.before = {name: weight.detach().double().clone() for name, weight in self.weights.items()}
        self.moments = {
            name: optimizer.state[weight]["exp_avg_sq"].double().clone() for name, weight in self.weights.items()
        }
        return super().final_pattern(optimizer)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("score", ["magnitude", "curvature"])
def test_the_weights_of_the_lowest_scores_go(
    score: Any, scope: Any, data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = Recorded(
        data.task, str(tiny_network), sparsity=0.7, schedule="one_shot", score=score, scope=scope, training=FAST
    )
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    names = list(module.weights)
    if score == "magnitude":
        scores = [module.before[name].abs() for name in names]
    else:
        roots = [module.moments[name].sqrt() for name in names]
        typical = torch.cat([root.flatten() for root in roots]).median()
        scores = [module.before[name] ** 2 * (root / typical + 0.05) for name, root in zip(names, roots, strict=True)]
    groups = [[number] for number in range(len(names))] if scope == "layer" else [range(len(names))]
    for numbers in groups:
        together = torch.cat([scores[number].flatten() for number in numbers])
        expected = torch.zeros(len(together), dtype=torch.bool)
        expected[together.argsort()[: round(0.7 * len(together))]] = True
        found = torch.cat([(module.weights[names[number]] == 0).flatten() for number in numbers])
        # Weights at the very boundary may fall on either side, by rounding and by the sample that the median is of.
        assert (found != expected).float().mean() < 2e-3


def test_no_sparsity_is_fine_tuning(data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]) -> None:
    plain, pruned = FineTuning(data.task, str(tiny_network), FAST), build("gradual", data, tiny_network, sparsity=0.0)
    for module in (plain, pruned):
        seed_everything(0, verbose=False)
        make_trainer(max_epochs=1).fit(module, datamodule=data)
    expected = dict(plain.network.named_parameters())
    assert all(torch.equal(weight, expected[name]) for name, weight in pruned.network.named_parameters())


@pytest.mark.parametrize("method", ["adam", "euclidean", "every third step"])
def test_proximal_steps_alone_come_near_the_wanted_sparsity(
    method: str, data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = build(method, data, tiny_network)
    make_trainer().fit(module, datamodule=data)
    assert module.natural_sparsity == pytest.approx(0.7, abs=0.15)


def test_paper_form_is_adamw_then_the_proximal_operator(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    """With a given penalty, every step equals a plain loop of AdamW and soft thresholds, up to rounding."""
    penalty = 0.02
    options: dict[str, Any] = {
        "sparsity": None,
        "penalty": penalty,
        "metric": "euclidean",
        "prune_start": 0.0,
        "interval": 1,
    }
    module = build("adam", data, tiny_network, prune_fraction=1.0, **options)
    make_trainer(max_epochs=1).fit(module, datamodule=data)

    plain = FineTuning(data.task, str(tiny_network), FAST)
    targets = dict(plain.network.named_parameters())

    def shrink(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        with torch.no_grad():
            for name in module.weights:
                weight = targets[name]
                weight.copy_(soft_threshold(weight, optimizer.param_groups[0]["lr"] * penalty * reweight(weight)))

    configure = plain.configure_optimizers

    def with_hook() -> Any:
        configured: Any = configure()
        configured["optimizer"].register_step_post_hook(shrink)
        return configured

    plain.configure_optimizers = with_hook  # type: ignore[method-assign]
    make_trainer(max_epochs=1).fit(plain, datamodule=data)
    for name, weight in module.network.named_parameters():
        torch.testing.assert_close(weight, targets[name], rtol=1e-4, atol=1e-6)
    assert 0.05 < masks.sparsity(module.weights) < 0.95
    assert module.natural_sparsity == masks.sparsity(module.weights)


def test_larger_penalty_prunes_more(data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]) -> None:
    found = []
    for penalty in (1e-12, 1e-2, 10.0):
        module = build("euclidean", data, tiny_network, sparsity=None, penalty=penalty)
        warned = pytest.warns(UserWarning, match="nothing is pruned") if penalty == 1e-12 else nullcontext()
        with warned:
            make_trainer(max_epochs=1).fit(module, datamodule=data)
        found.append(masks.sparsity(module.weights))
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] == pytest.approx(1.0, abs=0.01)


@every_method
def test_resumed_run_ends_with_the_same_weights(
    method: str, data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    whole = build(method, data, tiny_network)
    make_trainer(max_epochs=3).fit(whole, datamodule=data)
    for steps in (5, 18, 40):  # Within the first epoch, at its end, in the recovery.

        def keep(steps: int = steps) -> ModelCheckpoint:
            return ModelCheckpoint(
                tmp_path / str(steps), filename="at", every_n_train_steps=steps, enable_version_counter=False
            )

        class Stop(Callback):
            def on_train_batch_end(self, trainer: Trainer, *_: Any, steps: int = steps) -> None:
                if trainer.global_step == steps + 1:  # Checkpoints are written after other callbacks.
                    raise KeyboardInterrupt

        first = build(method, data, tiny_network)
        with pytest.raises(SystemExit):
            make_trainer(max_epochs=3, callbacks=[keep(), Stop()], enable_checkpointing=True).fit(
                first, datamodule=data
            )
        resumed = build(method, data, tiny_network)
        trainer = make_trainer(max_epochs=3, callbacks=[keep()], enable_checkpointing=True)
        trainer.fit(resumed, datamodule=data, ckpt_path=tmp_path / str(steps) / "at.ckpt")
        assert trainer.global_step == 54
        for (name, weight), other in zip(whole.network.named_parameters(), resumed.network.parameters(), strict=True):
            assert torch.equal(weight, other), f"{method}, resumed at step {steps}: {name} differs"
        assert resumed.results() == whole.results()


@pytest.mark.parametrize(
    "options", [{"accumulate_grad_batches": 2}, {"limit_train_batches": 3}, {"max_steps": 50, "max_epochs": -1}]
)
def test_run_resumed_between_epochs_ends_with_the_same_weights(
    options: dict[str, int], data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    def train(epochs: int, checkpoint: Path | None = None) -> WeightPruning:
        keep = ModelCheckpoint(
            tmp_path, filename=f"at{epochs}", save_on_train_epoch_end=True, enable_version_counter=False
        )
        module = build("adam", data, tiny_network, prune_start=0.0, prune_fraction=0.9)
        trainer = make_trainer(**{"max_epochs": 3} | options, callbacks=[keep], enable_checkpointing=True)
        if epochs < 3:

            class Stop(Callback):
                def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
                    if trainer.current_epoch == epochs:
                        raise KeyboardInterrupt

            trainer.callbacks.insert(0, Stop())  # type: ignore[attr-defined]
            with pytest.raises(SystemExit):
                trainer.fit(module, datamodule=data)
        else:
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
        return module

    whole = train(3)
    train(1)
    resumed = train(3, tmp_path / "at1.ckpt")
    for weight, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(weight, other)


def test_window_without_learning_rate_is_settled_by_the_score(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = build("adam", data, tiny_network, prune_start=0.0, prune_fraction=0.2, training=Training())
    make_trainer(max_epochs=-1, max_steps=6).fit(module, datamodule=data)  # One step, within the warm-up from zero.
    assert masks.sparsity(module.weights) == pytest.approx(0.7, abs=1e-3)


def test_frozen_targets_are_refused(data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]) -> None:
    module = build("euclidean", data, tiny_network)
    next(iter(module.weights.values())).requires_grad_(False)
    with pytest.raises(ValueError, match=r"1 of the targets are frozen, such as bert.encoder.layer.0"):
        make_trainer().fit(module, datamodule=data)


def test_penalty_in_the_loss_acts_in_its_window_alone(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = build("penalty in the loss", data, tiny_network, prune_start=0.5, penalty=1e6)
    losses: list[float] = []

    class Read(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
            losses.append(float(outputs["loss"]))

    make_trainer(callbacks=[Read()]).fit(module, datamodule=data)
    start, end = module.window()
    assert {step for step, loss in enumerate(losses) if loss > 1e3} == set(range(start, end))
    assert module.natural_sparsity == 0


def test_penalty_in_the_loss_is_weighed_against_the_labels(make_trainer: Callable[..., Trainer]) -> None:
    """It adds γ·α·sign(w) with the γ that was given, whatever the sparsity; at 1e-5 MiniLM still sees its labels."""
    data = TaskData("synthetic_sentiment", network="minilm", size=64, batch_size=16)
    penalty, calm = 1e-5, Training(dropout=0.0)
    module = ProximalPruning(
        data.task,
        "minilm",
        sparsity=0.8,
        penalty=penalty,
        metric="euclidean",
        regularizer="loss",
        prune_start=0.0,
        prune_fraction=1.0,
        training=calm,
    )
    weights = list(module.weights.values())
    shares: list[float] = []

    class Compare(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
            loss = cross_entropy(module.network(**network_inputs(batch)).logits, batch["labels"])
            self.of_labels = torch.autograd.grad(loss, weights)

        def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pulls = [penalty * weight.detach().sign() / (weight.detach().abs() + 1e-3) for weight in weights]
            for weight, of_labels, pull in zip(weights, self.of_labels, pulls, strict=True):
                torch.testing.assert_close(weight.grad, of_labels + pull, rtol=1e-3, atol=1e-6)
            norms = [torch.cat([part.flatten() for part in parts]).norm() for parts in (self.of_labels, pulls)]
            shares.append(float(norms[0] / (norms[0] + norms[1])))

    make_trainer(max_epochs=-1, max_steps=2, limit_val_batches=0, callbacks=[Compare()]).fit(module, datamodule=data)
    assert len(shares) == 2
    assert 0.02 < min(shares) <= max(shares) < 0.98  # A penalty of 0.2, fit for proximal steps, leaves 3e-6 of it.
    assert masks.sparsity(module.weights) == pytest.approx(0.8, abs=1e-6)


def test_layer_scope_prunes_every_matrix_alike(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = build("gradual", data, tiny_network, scope="layer", sparsity=0.5)
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    assert {masks.sparsity({name: weight}) for name, weight in module.weights.items()} == {0.5}


def test_targets_restrict_what_is_pruned(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = build("gradual", data, tiny_network, targets=r"attention")
    make_trainer(max_epochs=1).fit(module, datamodule=data)
    assert masks.sparsity(module.weights) == pytest.approx(0.7, abs=1e-3)
    assert module.results() == {"sparsity_of_targets": masks.sparsity(module.weights)}
    others = {
        name: weight
        for name, weight in module.network.named_parameters()
        if name not in module.weights and "intermediate.dense.weight" in name
    }
    assert others
    assert masks.sparsity(others) == 0


def test_training_that_ends_early_still_fixes_the_pattern(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            trainer.should_stop = trainer.global_step >= 4

    module = build("gradual", data, tiny_network)
    with pytest.warns(UserWarning, match="before the pattern was to be fixed at step 22"):
        make_trainer(callbacks=[Stop()]).fit(module, datamodule=data)
    assert masks.sparsity(module.weights) == pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize("method", ["adam", "gradual by curvature", "movement"])
def test_resumed_training_whose_time_is_up_still_fixes_the_pattern(
    method: str, data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    """No training ends then, as none begins."""
    keep = ModelCheckpoint(tmp_path, filename="at", every_n_train_steps=5, save_top_k=1)

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 6:
                raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        make_trainer(callbacks=[keep, Stop()], enable_checkpointing=True).fit(
            build(method, data, tiny_network), datamodule=data
        )
    module = build(method, data, tiny_network)
    with pytest.warns(UserWarning, match="Training ended at step 5, before the pattern was to be fixed"):
        make_trainer(callbacks=[keep, Timer(timedelta(0))], enable_checkpointing=True).fit(
            module, datamodule=data, ckpt_path=tmp_path / "at.ckpt"
        )
    assert masks.sparsity(module.weights) == pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize("method", ["adam", "gradual", "movement"])
def test_checkpoint_of_another_method_is_refused(
    method: str, data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer = make_trainer(max_epochs=1, enable_checkpointing=True, callbacks=[ModelCheckpoint(tmp_path, "other")])
    other = FineTuning(data.task, str(tiny_network)) if method == "gradual" else build("gradual", data, tiny_network)
    trainer.fit(other, datamodule=data)
    with pytest.raises(ValueError, match="The checkpoint is not one of"):
        make_trainer().validate(build(method, data, tiny_network), datamodule=data, ckpt_path=tmp_path / "other.ckpt")


def test_checkpoint_holds_tensors_and_numbers_alone(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    module = build("outer loop", data, tiny_network)
    trainer = make_trainer(max_epochs=1, enable_checkpointing=True, callbacks=[ModelCheckpoint(tmp_path)])
    trainer.fit(module, datamodule=data)
    checkpoint = torch.load(next(tmp_path.glob("*.ckpt")), weights_only=True)
    assert all(isinstance(pruned, Tensor) for pruned in checkpoint["pruning"]["pruned"].values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity must lie in \[0, 1\)"),
        ({"sparsity": -0.1}, r"sparsity must lie in \[0, 1\)"),
        ({"penalty": 0.1}, "either wanted"),
        ({"sparsity": None}, "either wanted"),
        ({"sparsity": None, "penalty": -1.0}, "penalty must be positive"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"interval": 0}, "interval"),
        ({"regularizer": "loss"}, "add model.metric=euclidean"),
        ({"regularizer": "loss", "metric": "euclidean"}, "needs model.penalty, .* Got penalty None and sparsity 0.7"),
        (
            {"regularizer": "loss", "metric": "euclidean", "penalty": 1e-6, "sparsity": None},
            "and model.sparsity, .* Got penalty 1e-06 and sparsity None",
        ),
        ({"metric": "euclidean", "floor": 0.1}, "model.floor=0.1 has no effect with model.metric=euclidean"),
        ({"prune_start": 0.6, "prune_fraction": 0.6}, "prune_fraction"),
        ({"targets": "no such weight"}, "no such weight"),
    ],
)
def test_options_out_of_range_are_refused(
    options: dict[str, Any], message: str, data: TaskData, tiny_network: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        build("adam", data, tiny_network, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 3}, "model.rounds=3 has no effect with model.schedule=gradual"),
        ({"schedule": "iterative", "interval": 5}, "model.interval=5 has no effect with model.schedule=iterative"),
        ({"schedule": "one_shot", "interval": 5}, "model.interval=5 has no effect with model.schedule=one_shot"),
    ],
)
def test_options_of_another_schedule_are_refused(
    options: dict[str, Any], message: str, data: TaskData, tiny_network: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        build("gradual", data, tiny_network, **options)


def test_curvature_needs_an_optimizer_that_measures_it(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = build("gradual by curvature", data, tiny_network)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"SGD keeps none, or training ended before its first step; train for longer"):
        module.scores(optimizer, curvature=True)
    for weight in module.weights.values():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    with pytest.raises(ValueError, match=r"SGD keeps none; choose model.metric=euclidean or model.score=magnitude"):
        module.scores(optimizer, curvature=True)
