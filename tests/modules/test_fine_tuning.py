"""Fine-tuning: its loss, its groups, its schedule and its refusal of losses that are no numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer, seed_everything
from torch import nn
from transformers import XLNetConfig, XLNetModel
from transformers.modeling_outputs import TokenClassifierOutput

from toolkit.data import TaskData
from toolkit.evaluation.judging import judge
from toolkit.modules.distillation import Distillation
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.labels import label_loss, rows_with_labels
from toolkit.modules.training import Training, decay_groups
from toolkit.tasks import TASKS


def test_it_learns_and_dropout_is_on(data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]) -> None:
    module = FineTuning(data.task, str(tiny_network), Training(learning_rate=1e-3))
    before = module.network.get_input_embeddings().weight.detach().clone()
    trainer = make_trainer()
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 2 * (144 // 8)
    assert not torch.equal(before, module.network.get_input_embeddings().weight)
    assert module.network.training
    assert set(trainer.callback_metrics) >= {"loss", "dev_accuracy"}


def test_learning_rate_rises_and_falls_by_steps(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    rates: list[float] = []
    module = FineTuning(data.task, str(tiny_network), Training(learning_rate=0.5e-3, warmup_fraction=0.25))
    module.on_before_optimizer_step = lambda optimizer: rates.append(optimizer.param_groups[0]["lr"])  # type: ignore
    make_trainer().fit(module, datamodule=data)
    steps, warmup = 36, 9
    expected = [0.5e-3 * min(step / warmup, (steps - step) / (steps - warmup)) for step in range(steps)]
    assert rates == pytest.approx(expected)


def test_spans_that_are_cut_off_are_wrong_in_the_log_as_in_the_report(
    tiny_network: Path, make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tagger that is right about every word that it is shown, spans that reach over the cut included."""
    data = TaskData("synthetic_entities", network=str(tiny_network), size=300, max_length=12)
    module = FineTuning(data.task, str(tiny_network))
    answers = {tuple(row["input_ids"]): row["labels"] for row in data.split("test")}

    def right(input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: object) -> TokenClassifierOutput:
        logits = torch.zeros(*input_ids.shape, len(data.task.labels))
        for place, (ids, mask) in enumerate(zip(input_ids, attention_mask.bool(), strict=True)):
            labels = torch.tensor(answers[tuple(ids[mask].tolist())]).clamp(min=0)
            logits[place, torch.arange(len(labels)), labels] = 1.0
        return TokenClassifierOutput(logits=logits)

    monkeypatch.setattr(module.network, "forward", right)
    (logged,) = make_trainer().test(module, datamodule=data, verbose=False)
    scores = judge(module.network, data).scores()
    assert {f"test_{name}": value for name, value in scores.items()} == pytest.approx(logged)
    labels, rows = data.task.labels, data.split("test")
    crossing = sum(1 for lost in rows["lost"] if lost and labels[lost[0]].startswith("I-"))
    assert crossing > 0  # Else nothing would be told apart.
    assert 0 < scores["span_f1"] < 1


@pytest.mark.parametrize("name", ["synthetic_sentiment", "synthetic_similarity", "synthetic_pos"])
def test_a_teacher_adds_its_logits_and_hidden_states(name: str, tiny_network: Path, tmp_path: Path) -> None:
    data = TaskData(name, network=str(tiny_network), size=60, batch_size=8)
    seed_everything(1, verbose=False)
    teacher = FineTuning(data.task, str(tiny_network)).network
    with torch.no_grad():
        for weight in teacher.parameters():
            weight += 0.05 * torch.randn_like(weight)
        teacher.classifier.weight *= 20  # Of another opinion.
    teacher.save_pretrained(tmp_path)
    data.tokenizer.save_pretrained(tmp_path)
    guide = Distillation(teacher=str(tmp_path), weight=0.3, temperature=2.0, hidden_weight=0.7)
    module = FineTuning(data.task, str(tiny_network), distillation=guide)
    module.network.train(False)
    batch = next(iter(data.share("train")))
    inputs = {key: value for key, value in batch.items() if key not in ("labels", "index")}
    mine, other = (net(**inputs, output_hidden_states=True) for net in (module.network, teacher.eval()))
    labels = batch["labels"]
    if data.task.kind == "regression":
        hard = F.mse_loss(mine.logits[:, 0], labels.float())
        soft = F.mse_loss(mine.logits[:, 0], other.logits[:, 0])
    else:
        rows = labels != -100
        hard = F.cross_entropy(mine.logits[rows], labels[rows])
        wanted, found = other.logits[rows].div(2).softmax(-1), mine.logits[rows].div(2).softmax(-1)
        soft = 4 * (wanted * (wanted.log() - found.log())).sum(-1).mean()
    valid = inputs["attention_mask"].bool()
    pairs = zip(mine.hidden_states, other.hidden_states, strict=True)
    hidden = torch.stack([(one[valid] - two[valid]).square().mean() for one, two in pairs]).mean()
    assert min(soft.item(), hidden.item()) > 1e-3
    torch.testing.assert_close(module.loss(batch), 0.7 * hard + 0.3 * soft + 0.7 * hidden)


def test_fresh_head_depends_on_the_seed_alone(data: TaskData, tiny_network: Path) -> None:
    seed_everything(3)
    first = FineTuning(data.task, str(tiny_network))
    torch.rand(17)
    second = FineTuning(data.task, str(tiny_network))
    seed_everything(4)
    third = FineTuning(data.task, str(tiny_network))
    heads = [dict(module.network.named_parameters())["classifier.weight"] for module in (first, second, third)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_decay_spares_biases_and_normalisations() -> None:
    network = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    decayed, spared = decay_groups(network, 0.1)  # type: ignore[arg-type]
    assert [weight.shape for weight in decayed["params"]] == [(5, 4), (2, 4)]
    assert [weight.shape for weight in spared["params"]] == [(4,), (4,), (2,)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_decay_spares_biases_that_are_matrices() -> None:
    config = XLNetConfig(vocab_size=8, d_model=8, n_layer=1, n_head=2, d_inner=8)
    network = XLNetModel(config)
    _, spared = decay_groups(network, 0.1)
    assert {id(weight) for name, weight in network.named_parameters() if name.endswith("bias")} <= set(
        map(id, spared["params"])
    )
    assert any(weight.ndim == 2 for weight in spared["params"])


def test_loss_that_is_no_number_stops_with_step_and_batch(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = FineTuning(data.task, str(tiny_network))
    with torch.no_grad():
        module.network.classifier.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"nan at optimizer step 0 \(epoch 0, batch 0\).*learning_rate"):
        make_trainer().fit(module, datamodule=data)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"learning_rate": 0}, "learning_rate"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"warmup_fraction": 1}, "warmup_fraction"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=f"training.{named}"):
        Training(**options)


def test_tagging_loss_counts_words_not_positions() -> None:
    logits = torch.randn(2, 4, 3)
    labels = torch.tensor([[-100, 1, 2, -100], [0, -100, -100, -100]])
    rows, kept = rows_with_labels(logits, labels, TASKS["upos"])
    assert rows.shape == (3, 3)
    expected = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100)
    torch.testing.assert_close(label_loss(rows, kept, TASKS["upos"]), expected)


def test_regression_loss_is_the_mean_squared_difference() -> None:
    rows, labels = rows_with_labels(torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 5.0]), TASKS["stsb"])
    assert label_loss(rows, labels, TASKS["stsb"]).item() == pytest.approx((1 + 4) / 2)


def test_a_network_that_was_judged_goes_on_training(
    data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    """Lightning validates in inference mode, but not while it fits."""
    module = FineTuning(data.task, str(tiny_network))
    trainer = make_trainer(max_epochs=1)
    before = trainer.validate(module, datamodule=data)
    assert make_trainer().validate(module, datamodule=data) == before
    make_trainer(max_epochs=1).fit(module, datamodule=data)
