"""Pre-training on masked tokens: what is learned, what is tied, what is pruned, and exact resumption."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from packaging.version import Version
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
)

from toolkit.data import Text
from toolkit.data.text import MASKED_LM
from toolkit.models.encoder import prunable_weights
from toolkit.modules.distillation import Distillation
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.masked_lm import (
    MagnitudePretraining,
    MaskedLanguageModelling,
    ProximalPretraining,
    tie_head,
)
from toolkit.modules.training import Training
from toolkit.modules.weight_pruning import WeightPruning
from toolkit.pruning import masks
from toolkit.tasks import TASKS

FAST = Training(learning_rate=2e-3)
KINDS: dict[str, tuple[type[MaskedLanguageModelling], dict[str, Any]]] = {
    "proximal": (ProximalPretraining, {"sparsity": 0.7}),
    "magnitude": (MagnitudePretraining, {"sparsity": 0.7, "interval": 4}),
}


@pytest.fixture
def text(tiny_network: Path) -> Text:
    return Text(sentences_of=["synthetic_sentiment"], size=100, network=str(tiny_network), batch_size=8, max_length=48)


def build(name: str, network: Path, **options: Any) -> Any:
    kind, own = KINDS[name]
    return kind(MASKED_LM, str(network), **{"training": FAST} | own | options)


def test_loss_is_that_of_transformers(text: Text, tiny_network: Path) -> None:
    module = MaskedLanguageModelling(network=str(tiny_network))
    batch = next(iter(text.train_dataloader()))
    inputs = {name: value for name, value in batch.items() if name != "index"}
    expected = AutoModelForMaskedLM.from_pretrained(tiny_network)(**inputs).loss
    torch.testing.assert_close(module.loss(batch), expected)


def test_batch_without_a_masked_token_teaches_nothing(text: Text, tiny_network: Path) -> None:
    module = MaskedLanguageModelling(network=str(tiny_network))
    batch = next(iter(text.train_dataloader()))
    loss = module.loss(batch | {"labels": torch.full_like(batch["labels"], -100)})
    loss.backward()
    assert loss.item() == 0
    gradients = [weight.grad for weight in module.network.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_another_task_is_refused(tiny_network: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.Text.*not the task sst2"):
        ProximalPretraining(TASKS["sst2"], str(tiny_network))


@pytest.mark.parametrize("name", KINDS)
def test_sparsity_is_exact_and_the_head_stays_tied(
    name: str, text: Text, tiny_network: Path, make_trainer: Callable[..., Trainer]
) -> None:
    module = build(name, tiny_network)
    start = {key: weight.detach().clone() for key, weight in module.network.named_parameters()}
    trainer = make_trainer()
    trainer.fit(module, datamodule=text)
    weights = prunable_weights(module.network)
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    assert zeros == round(0.7 * sum(weight.numel() for weight in weights.values()))
    network = module.network
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
    moved = {key for key, weight in network.named_parameters() if not torch.equal(weight, start[key])}
    assert moved == start.keys()  # Encoder, embeddings and head are all trained.
    assert {"dev_accuracy", "dev_perplexity", "sparsity"} <= trainer.callback_metrics.keys()


def test_network_learns_to_restore_tokens(text: Text, tiny_network: Path, make_trainer: Callable[..., Trainer]) -> None:
    module = MaskedLanguageModelling(network=str(tiny_network), training=FAST)
    trainer = make_trainer(max_epochs=4)
    before = trainer.validate(module, datamodule=text, verbose=False)[0]["dev_perplexity"]
    trainer.fit(module, datamodule=text)
    assert float(trainer.callback_metrics["dev_perplexity"]) < before / 2


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])  # Within the first epoch, at its end, in the recovery.
def test_resumed_run_ends_with_the_same_weights(
    share: float, text: Text, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    whole = build("proximal", tiny_network)
    trainer = make_trainer()
    trainer.fit(whole, datamodule=text)
    steps = round(share * trainer.global_step)

    def keep() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path, filename="at", every_n_train_steps=steps, enable_version_counter=False)

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == steps + 1:  # Checkpoints are written after other callbacks.
                raise KeyboardInterrupt

    interrupted = make_trainer(callbacks=[keep(), Stop()], enable_checkpointing=True)
    with pytest.raises(SystemExit):
        interrupted.fit(build("proximal", tiny_network), datamodule=text)
    resumed = build("proximal", tiny_network)
    again = make_trainer(callbacks=[keep()], enable_checkpointing=True)
    again.fit(resumed, datamodule=text, ckpt_path=tmp_path / "at.ckpt")
    for (name, weight), other in zip(whole.network.named_parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(weight, other), name
    assert resumed.results() == whole.results()


def test_zeros_are_held_while_pre_training(
    text: Text, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    network = AutoModelForMaskedLM.from_pretrained(tiny_network)
    with torch.no_grad():
        for weight in prunable_weights(network).values():
            weight[: len(weight) // 2] = 0
    network.save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained(tmp_path / "half")
    module = MaskedLanguageModelling(
        network=str(tmp_path / "half"), training=Training(learning_rate=2e-3, hold_zeros=True)
    )
    make_trainer(max_epochs=1).fit(module, datamodule=text)
    assert masks.sparsity(prunable_weights(module.network)) == pytest.approx(0.5)


def test_saved_network_is_fine_tuned_with_its_zeros(
    text: Text, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path, data: Any
) -> None:
    module = build("proximal", tiny_network)
    make_trainer(max_epochs=1).fit(module, datamodule=text)
    module.network.save_pretrained(tmp_path / "sparse")
    text.tokenizer.save_pretrained(tmp_path / "sparse")
    tuned = FineTuning(data.task, str(tmp_path / "sparse"), Training(learning_rate=2e-3, hold_zeros=True))
    pattern = {name: weight == 0 for name, weight in prunable_weights(module.network).items()}
    make_trainer(max_epochs=1).fit(tuned, datamodule=data)
    for name, weight in prunable_weights(tuned.network).items():
        assert torch.equal(weight == 0, pattern[name]), name


def test_teacher_teaches_masked_tokens(text: Text, tiny_network: Path, tmp_path: Path) -> None:
    batch = next(iter(text.train_dataloader()))
    own = MaskedLanguageModelling(network=str(tiny_network))
    taught = MaskedLanguageModelling(
        network=str(tiny_network), distillation=Distillation(teacher=str(tiny_network), weight=0.5)
    )
    # Its own teacher's distribution costs nothing beyond its entropy: the gradient is half that of the labels.
    for module in (own, taught):
        module.loss(batch).backward()
    for weight, other in zip(own.network.parameters(), taught.network.parameters(), strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(other.grad, weight.grad / 2, rtol=1e-3, atol=1e-6)


def test_fresh_head_depends_on_the_seed_alone(tiny_network: Path, tmp_path: Path) -> None:
    AutoModel.from_pretrained(tiny_network).save_pretrained(tmp_path / "headless")
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained(tmp_path / "headless")
    torch.manual_seed(1)
    first = MaskedLanguageModelling(network=str(tmp_path / "headless"))
    torch.rand(3)
    second = MaskedLanguageModelling(network=str(tmp_path / "headless"))
    for weight, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(weight, other)


def test_head_that_is_not_tied_is_tied(tiny_network: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_network, tie_word_embeddings=False)
    assert isinstance(config, BertConfig)
    network = BertForMaskedLM(config)
    assert network.get_output_embeddings().weight is not network.get_input_embeddings().weight
    tie_head(network)
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
    network.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.20"),
    reason="transformers before 5.20 cannot load what it saves of this network: it ties a weight there is not",
)
def test_head_that_is_given_the_embeddings_is_tied(
    text: Text, tiny_network: Path, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    """DeBERTa-v2's own head has no output layer; what transformers calls one is the matrix before it."""
    config = DebertaV2Config(
        vocab_size=len(text.tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, relative_attention=True, pos_att_type=["p2c", "c2p"],
        legacy=False, pad_token_id=0,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    folder = tmp_path / "deberta"
    DebertaV2ForMaskedLM(config).save_pretrained(folder)
    text.tokenizer.save_pretrained(folder)
    module = build("proximal", folder)
    batch = next(iter(text.train_dataloader()))
    inputs = {name: value for name, value in batch.items() if name != "index"}
    loss = module.loss(batch)
    torch.testing.assert_close(loss, AutoModelForMaskedLM.from_pretrained(folder)(**inputs).loss)
    loss.backward()
    gradient = module.network.get_input_embeddings().weight.grad
    unread = sorted(set(range(1, config.vocab_size)) - set(batch["input_ids"].flatten().tolist()))
    assert gradient[unread].any(1).all()  # By the head alone.
    module.network.zero_grad()
    make_trainer(max_epochs=1).fit(module, datamodule=text)
    assert masks.sparsity(prunable_weights(module.network)) == pytest.approx(0.7, abs=1e-4)
    module.network.save_pretrained(tmp_path / "sparse")
    stored = AutoModelForMaskedLM.from_pretrained(tmp_path / "sparse").eval()
    with torch.no_grad():
        ids = batch["input_ids"], batch["attention_mask"]
        assert torch.equal(stored(*ids).logits, module.network.eval()(*ids).logits)


def test_head_that_cannot_be_tied_is_refused(tiny_network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = BertForMaskedLM(AutoConfig.from_pretrained(tiny_network, tie_word_embeddings=False))
    monkeypatch.setattr(network, "tie_weights", lambda: None)
    with pytest.raises(ValueError, match=r"BertForMaskedLM has a matrix of its own .* cannot be tied"):
        tie_head(network)


def test_dropout_replaces_every_probability(tiny_network: Path) -> None:
    network = MaskedLanguageModelling(network=str(tiny_network), training=Training(dropout=0.3)).network
    found = [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)]
    assert found
    assert set(found) == {0.3}
    assert network.config.hidden_dropout_prob == network.config.attention_probs_dropout_prob == 0.3


def test_pruning_comes_before_the_objective() -> None:
    # What a pruning module asks of its base class, the objective answers.
    for kind, _ in KINDS.values():
        order = kind.__mro__
        assert order.index(WeightPruning) < order.index(MaskedLanguageModelling) < order.index(FineTuning)
