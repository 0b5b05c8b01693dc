"""Networks with the head of a task, from tiny random ones of every supported architecture."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedModel

from toolkit.models.encoder import prunable_weights, transformer_blocks
from toolkit.models.loading import load_masked_lm, load_network
from toolkit.models.pretrained import load_tokenizer
from toolkit.tasks import TASKS, Task

Store = Callable[..., Path]
MNLI, STSB = TASKS["mnli"], TASKS["stsb"]
NER = replace(TASKS["synthetic_entities"], labels=("O", "B-X", "I-X"))
SEQUENCE, TOKEN = "AutoModelForSequenceClassification", "AutoModelForTokenClassification"
DECODERS = ("gpt2", "llama", "qwen2")


def batch(lengths: tuple[int, ...] = (7, 4)) -> dict[str, Tensor]:
    ids = torch.randint(5, 40, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(3))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


@torch.no_grad()
def logits(network: PreTrainedModel, inputs: dict[str, Tensor] | None = None) -> Tensor:
    output: Tensor = network(**(inputs or batch())).logits
    return output


@pytest.mark.parametrize("task", [MNLI, STSB, NER], ids=lambda task: task.name)
def test_every_architecture_gets_a_head(architecture: str, task: Task, store: Store) -> None:
    folder = store(architecture)
    network = load_network(str(folder), task)
    labels = 1 if task is STSB else 3
    shape = (2, 7, labels) if task is NER else (2, labels)
    assert logits(network).shape == shape
    assert logits(network).isfinite().all()
    assert network.dtype == torch.float32
    if task is not STSB:
        assert network.config.id2label == dict(enumerate(task.labels))
        assert network.config.label2id == {label: row for row, label in enumerate(task.labels)}
    stored = AutoModel.from_pretrained(folder).state_dict()
    for name, weight in network.base_model.state_dict().items():
        assert torch.equal(weight, stored[name]), name


def test_padding_changes_nothing(architecture: str, store: Store) -> None:
    network = load_network(str(store(architecture)), MNLI)
    padded = batch()
    alone = {name: tensor[1:, :4].clone() for name, tensor in padded.items()}
    if architecture == "xlnet":  # pads on the left and classifies from the last token
        padded["input_ids"][1] = padded["input_ids"][1].roll(3)
        padded["attention_mask"][1] = padded["attention_mask"][1].roll(3)
    torch.testing.assert_close(logits(network, padded)[1:], logits(network, alone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", DECODERS)
def test_decoders_take_the_padding_token_of_the_tokenizer(architecture: str, store: Store) -> None:
    folder = store(architecture, pad_token_id=None)
    assert load_network(str(folder), MNLI).config.pad_token_id == load_tokenizer(str(folder)).pad_token_id == 0


def test_dropout_of_nothing_makes_training_deterministic(architecture: str, store: Store) -> None:
    network = load_network(str(store(architecture)), MNLI, dropout=0.0)
    network.eval()
    expected = logits(network)
    network.train()
    torch.testing.assert_close(logits(network), expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(logits(network), logits(network))


def test_dropout_replaces_every_probability(architecture: str, store: Store) -> None:
    network = load_network(str(store(architecture)), MNLI, dropout=0.37)
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} <= {0.37}
    entries = {key: value for key, value in network.config.to_dict().items() if "drop" in key}
    assert entries
    assert set(entries.values()) == {0.37}
    network.train()
    assert not torch.equal(logits(network), logits(network))


def test_dropout_is_kept_unless_given(store: Store) -> None:
    network = load_network(str(store("bert", hidden_dropout_prob=0.23)), MNLI)
    assert network.bert.embeddings.dropout.p == 0.23


def dropouts(network: PreTrainedModel) -> dict[str, object]:
    """Probability of each dropout of an encoder, and the config's entries; ModernBERT leaves out those of zero."""
    modules = {name: part.p for name, part in network.base_model.named_modules() if isinstance(part, nn.Dropout)}
    numbers = {  # such as ModernBERT's attention has, for PyTorch's own function
        f"{name}.{key}": value
        for name, part in network.base_model.named_modules()
        for key, value in vars(part).items()
        if "dropout" in key and isinstance(value, float)
    }
    return modules | numbers | {key: value for key, value in network.config.to_dict().items() if "drop" in key}


@pytest.mark.parametrize(("stored", "dropout"), [(0.0, 0.37), (0.2, 0.0)])
def test_both_heads_replace_the_same_dropout(stored: float, dropout: float, store: Store, tmp_path: Path) -> None:
    names = ("attention_dropout", "classifier_dropout", "embedding_dropout", "mlp_dropout")
    folder = str(store("modernbert", "AutoModelForMaskedLM", **dict.fromkeys(names, stored)))
    masked, classifier = load_masked_lm(folder, dropout=dropout), load_network(folder, MNLI, dropout=dropout)
    found = dropouts(masked)
    assert found == dropouts(classifier)
    assert set(found.values()) == {dropout}
    assert any(name.endswith("out_drop") for name in found) == (dropout > 0)
    masked.save_pretrained(tmp_path / "again")
    assert dropouts(load_masked_lm(str(tmp_path / "again"))) == found


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_impossible_dropout(dropout: float) -> None:
    with pytest.raises(ValueError, match=r"dropout is .* give a probability in \[0, 1\)"):
        load_network("minilm", MNLI, dropout=dropout)
    with pytest.raises(ValueError, match=r"dropout is .* give a probability in \[0, 1\)"):
        load_masked_lm("minilm", dropout=dropout)


@pytest.mark.parametrize(("head", "task", "write"), [(SEQUENCE, MNLI, str.upper), (TOKEN, NER, str)])
def test_stored_head_is_put_into_the_order_of_the_task(
    architecture: str, head: str, task: Task, write: Callable[[str], str], store: Store
) -> None:
    order = (2, 0, 1)  # row of each of the task's labels
    stored = {row: write(task.labels[order.index(row)]) for row in range(3)}
    folder = store(architecture, head, id2label=stored, label2id={name: row for row, name in stored.items()})
    plain = getattr(transformers, head).from_pretrained(folder)
    network = load_network(str(folder), task)
    torch.testing.assert_close(logits(network), logits(plain)[..., list(order)], rtol=0, atol=0)
    assert network.config.id2label == dict(enumerate(task.labels))


def test_stored_regression_head_is_kept(store: Store) -> None:
    folder = store("bert", SEQUENCE, num_labels=1)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    network = load_network(str(folder), STSB)
    assert torch.equal(logits(network), logits(plain))
    assert network.config.problem_type == "regression"


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (("LABEL_0", "LABEL_1", "LABEL_2"), "LABEL_0, LABEL_1, LABEL_2 have no meaning; to keep the head, name them"),
        (("negative", "positive"), "negative, positive are not those of mnli"),
        (("a", "b", "c", "d", "e"), "a, b, c, d, … are not those of mnli"),
    ],
)
def test_labels_that_a_head_cannot_keep_are_named(stored: tuple[str, ...], message: str, store: Store) -> None:
    folder = store("bert", SEQUENCE, id2label=dict(enumerate(stored)))
    with pytest.warns(UserWarning, match=f"The output layer of .* starts anew: its labels {message}"):
        network = load_network(str(folder), MNLI)
    assert logits(network).shape == (2, 3)


def test_head_for_other_labels_starts_anew(architecture: str, store: Store) -> None:
    folder = store(architecture, SEQUENCE, id2label={0: "good", 1: "bad", 2: "ugly"})
    with pytest.warns(UserWarning, match="starts anew"):
        network = load_network(str(folder), MNLI)
    plain = load_file(folder / "model.safetensors")
    name, rows = [(name, p) for name, p in network.named_parameters() if p.ndim == 2 and p.shape[0] == 3][-1]
    assert not torch.isclose(plain[name], rows).all(1).any()
    fresh = getattr(transformers, SEQUENCE).from_config(network.config).get_parameter(name)
    assert 0.5 < (rows.std() / fresh.std()).item() < 2  # drawn as transformers draws it
    others = {key: weight for key, weight in network.state_dict().items() if key.rpartition(".")[0] not in name}
    assert all(torch.equal(weight, plain[key]) for key, weight in others.items())


def test_sequence_head_is_no_token_head(store: Store) -> None:
    """Both of BERT's are called `classifier` and may have the same shape."""
    folder = store("bert", SEQUENCE, id2label=dict(enumerate(NER.labels)))
    stored = load_file(folder / "model.safetensors")["classifier.weight"]
    network = load_network(str(folder), NER)
    assert network.classifier.weight.shape == stored.shape
    assert not torch.isclose(network.classifier.weight, stored).all(1).any()


def test_new_head_depends_on_the_global_seed_only(architecture: str, store: Store) -> None:
    folder = str(store(architecture))
    states = []
    for seed, draws in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(seed)
        torch.rand(draws)
        before = torch.get_rng_state()
        states.append(load_network(folder, MNLI).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.initial_seed() == seed
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_missing_pooler_is_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    folder = store("bert", "AutoModelForMaskedLM")
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        load_network(str(folder), MNLI)
    assert "has no pooler; bert.pooler.dense.bias, bert.pooler.dense.weight start from random numbers" in caplog.text


def test_loading_is_silent(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    folder = str(store("bert"))
    capfd.readouterr()
    load_network(folder, MNLI)
    assert capfd.readouterr() == ("", "")


def edit(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_config_with_fewer_blocks_than_weights(architecture: str, store: Store) -> None:
    folder = store(architecture)
    depth = {"distilbert": "n_layers", "xlnet": "n_layer", "gpt2": "n_layer"}.get(architecture, "num_hidden_layers")
    extra = {"layer_types": None} if architecture in ("modernbert", "qwen2") else {}
    edit(folder, **{depth: 2}, **extra)
    if architecture == "albert":  # shares one block between its layers: fewer layers need no fewer weights
        assert logits(load_network(str(folder), MNLI)).shape == (2, 3)
        return
    with pytest.raises(ValueError, match=r"have more blocks than config.json says: .*2.* and \d+ more"):
        load_network(str(folder), MNLI)


def test_config_with_more_blocks_than_weights(store: Store) -> None:
    folder = store("bert")
    edit(folder, num_hidden_layers=4)
    with pytest.raises(ValueError, match=r"lack bert.encoder.layer.3.* and 15 more; they do not belong to its config"):
        load_network(str(folder), MNLI)


def test_config_of_another_width(store: Store) -> None:
    folder = store("bert")
    edit(folder, intermediate_size=20)
    with pytest.raises(
        ValueError, match=r"have another shape for bert.encoder.layer.0.intermediate.dense.bias and 8 more"
    ):
        load_network(str(folder), MNLI)


def test_stored_head_without_its_weights(store: Store) -> None:
    folder = store("bert", SEQUENCE, id2label=dict(enumerate(MNLI.labels)))
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack classifier.bias; they do not belong"):
        load_network(str(folder), MNLI)


def test_pickled_weights_are_refused(store: Store) -> None:
    folder = store("bert")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors. Pickled weights are refused") as error:
        load_network(str(folder), MNLI)
    assert "\n" not in str(error.value)


def test_damaged_weights(store: Store) -> None:
    folder = store("bert")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"Cannot load .*bert") as error:
        load_network(str(folder), MNLI)
    assert "\n" not in str(error.value)


def test_network_without_the_head(tmp_path: Path) -> None:
    transformers.CLIPVisionConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"\(clip_vision_model\) has no SequenceClassification head. Give an encoder"):
        load_network(str(tmp_path), MNLI)


def test_labels_must_be_known() -> None:
    with pytest.raises(ValueError, match="'xpos' does not know its labels yet; take it from its data"):
        load_network("minilm", TASKS["xpos"])


def test_masked_lm(architecture: str, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    if architecture in (*DECODERS, "xlnet"):
        with pytest.raises(ValueError, match=r"has no MaskedLM head. Give an encoder"):
            load_masked_lm(str(store(architecture)))
        return
    folder = store(architecture, "AutoModelForMaskedLM")
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        network = load_masked_lm(str(folder))
        assert not caplog.text
        assert torch.equal(logits(network), logits(AutoModelForMaskedLM.from_pretrained(folder)))
        assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
        load_masked_lm(str(store(architecture)))
    assert "has no masked language model head" in caplog.text


def test_minilm_loads() -> None:
    network = load_network("minilm", MNLI)
    assert len(transformer_blocks(network)) == 6
    assert sum(weight.numel() for weight in prunable_weights(network).values()) == 6 * (4 * 384**2 + 2 * 384 * 1536)
