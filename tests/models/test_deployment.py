"""The deployed network computes what the probe computes on the whole encoder's layers, and so does its stored copy."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

import toolkit
from toolkit.data import TaskData
from toolkit.evaluation import costs
from toolkit.evaluation.judging import judge, predict
from toolkit.models.deployment import neuron_network
from toolkit.models.encoder import prunable_weights
from toolkit.models.loading import load_network
from toolkit.models.pooling import Pooling
from toolkit.models.pretrained import load_tokenizer, special_ids
from toolkit.models.storage import save
from toolkit.statistics.hidden_states import hidden_batch
from toolkit.tasks import IGNORED, TASKS, Task

Store = Callable[..., Path]
MNLI, STSB = TASKS["mnli"], TASKS["stsb"]
NER = replace(TASKS["synthetic_entities"], labels=("O", "B-X", "I-X"))
D = 16
# What keeps a block though only its embeddings are used.
NEEDS_A_BLOCK = {"deberta-v2", "gpt2", "llama", "modernbert", "qwen2"}


@pytest.fixture
def tokens(tokenizer: PreTrainedTokenizerFast) -> Iterator[PreTrainedTokenizerFast]:
    """A tokenizer that puts [CLS] (2) before, and [SEP] (3) behind and between texts."""
    copy = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **tokenizer.special_tokens_map)
    copy.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    yield copy
    copy.backend_tokenizer.post_processor = None


def batch(left: bool = False) -> dict[str, Tensor]:
    """A pair with an unknown and a mask token, a single text, and one without any word."""
    rows = [[2, 7, 1, 30, 3, 4, 12, 3], [2, 25, 9, 11, 3], [2, 3]]
    padded = [[0] * (8 - len(row)) + row if left else row + [0] * (8 - len(row)) for row in rows]
    ids = torch.tensor(padded)
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@torch.no_grad()
def layers(encoder: PreTrainedModel, inputs: dict[str, Tensor]) -> np.ndarray[Any, Any]:
    states = encoder(**inputs, output_hidden_states=True).hidden_states
    return torch.stack([*states]).numpy()  # (L, B, T, D)


def literal(
    states: np.ndarray[Any, Any], ids: Tensor, neurons: Sequence[int], pooling: Pooling | None
) -> np.ndarray[Any, Any]:
    """Features (rows, k): of each sentence, or of each token."""
    rows = []
    for sentence, numbers in enumerate(ids.tolist()):
        vectors = [[states[n // D, sentence, token, n % D] for n in neurons] for token in range(len(numbers))]
        if pooling is None:
            rows += vectors
            continue
        present = [token for token, number in enumerate(numbers) if number != 0]
        words = [token for token in present if numbers[token] not in (2, 3)] or present
        chosen = {"mean": words, "first": present[:1], "last": present[-1:]}[pooling]
        rows.append(np.mean([vectors[token] for token in chosen], axis=0))
    return np.array(rows)


@pytest.fixture
def whole(make_config: Callable[..., PreTrainedConfig]) -> Callable[[str], PreTrainedModel]:
    """Make a whole encoder whose biases and norms are as if it had been trained."""

    def build(architecture: str) -> PreTrainedModel:
        torch.manual_seed(7)
        encoder: PreTrainedModel = AutoModel.from_config(make_config(architecture))
        for parameter in encoder.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
        encoder.train(False)
        return encoder

    return build


@pytest.mark.parametrize("used", [(0,), (1, 0), (2,), (3, 1)], ids=str)
def test_network_is_the_probe_on_the_layers(
    architecture: str, used: Sequence[int], whole: Callable[[str], PreTrainedModel], tokens: PreTrainedTokenizerFast
) -> None:
    encoder = whole(architecture)
    neurons = [layer * D + dimension for layer in used for dimension in (9, 2, 15, 4)]  # in no order
    weight, bias = torch.randn(3, len(neurons)), torch.randn(3)
    inputs = batch(left=architecture == "xlnet")
    states = layers(encoder, inputs)
    poolings: tuple[Pooling | None, ...] = ("mean", "first", "last", None)
    for pooling in poolings:
        task = MNLI if pooling else NER
        network = neuron_network(encoder, neurons, weight, bias, task=task, tokenizer=tokens, pooling=pooling)
        blocks = max(used) or int(architecture in NEEDS_A_BLOCK)
        assert network.config.num_hidden_layers == network.encoder.config.num_hidden_layers == blocks
        expected = literal(states, inputs["input_ids"], neurons, pooling) @ weight.numpy().T + bias.numpy()
        with torch.no_grad():
            logits = network(**inputs).logits
        np.testing.assert_allclose(logits.reshape(-1, 3).numpy(), expected, rtol=1e-5, atol=2e-6)
        # Padding changes nothing.
        for row, present in enumerate(inputs["attention_mask"].bool()):
            with torch.no_grad():
                alone = network(**{name: tensor[row : row + 1, present] for name, tensor in inputs.items()}).logits[0]
            together = logits[row] if pooling else logits[row, present]
            torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def make(store: Store, tokens: PreTrainedTokenizerFast, architecture: str = "bert", **changed: Any) -> PreTrainedModel:
    encoder = AutoModel.from_pretrained(store(architecture))
    draw = torch.Generator().manual_seed(1)
    neurons = changed.pop("neurons", [3, 2 * D + 5, 2 * D + 4])
    values = {
        "weight": torch.randn(3, len(neurons), generator=draw),
        "bias": torch.randn(3, generator=draw),
        "task": MNLI,
        "tokenizer": tokens,
        "pooling": "mean",
        **changed,
    }
    return neuron_network(encoder, neurons, **values)


@pytest.mark.parametrize(
    ("neurons", "task"), [([3, 2 * D + 5], MNLI), ([7, 1], STSB), ([3 * D], NER)], ids=["cut", "embeddings", "whole"]
)
def test_stored_network_is_the_same(
    architecture: str,
    neurons: list[int],
    task: Task,
    store: Store,
    tokens: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    pooling = None if task is NER else "mean"
    head = {"weight": torch.randn(task.num_labels, len(neurons)), "bias": torch.randn(task.num_labels)}
    network = make(store, tokens, architecture, neurons=neurons, task=task, pooling=pooling, **head)
    if architecture == "qwen2":  # which AutoTokenizer makes a byte-level tokenizer of; see the other tests of storage
        saved: PreTrainedTokenizerBase = load_tokenizer(str(store(architecture)))
    else:
        saved = tokens
    folder = tmp_path / "model"
    example = {**batch(), "labels": torch.zeros(3), "index": torch.arange(3)}
    save(network, saved, folder, config_yaml=None, card="# Card\n", example=example)
    network.train(False)
    for loaded in (toolkit.load(folder), load_network(str(folder), task, trained=True)):
        assert type(loaded) is type(network)
        loaded.train(False)
        with torch.no_grad():
            assert torch.equal(loaded(**batch()).logits, network(**batch()).logits)
        if task is not STSB:
            assert loaded.config.id2label == dict(enumerate(task.labels))
    card = (folder / "README.md").read_text()
    assert "import toolkit.models.neuron_model" in card
    assert "library_name: lightning-compression-toolkit" in card
    assert str(tmp_path) not in (folder / "config.json").read_text()


def test_dropout_is_set_inside_the_encoder(store: Store, tokens: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    save(make(store, tokens), tokens, tmp_path / "model", config_yaml=None, card="", example=batch())
    network: Any = load_network(str(tmp_path / "model"), MNLI, dropout=0.37, trained=True)
    assert network.config.encoder.hidden_dropout_prob == 0.37
    network.train()
    assert not torch.equal(network(**batch()).logits, network(**batch()).logits)


_FRESH = """
import sys, torch
inputs = {"input_ids": torch.tensor([[2, 7, 9, 3]])}
if sys.argv[1] == "toolkit":
    import toolkit
    network = toolkit.load(sys.argv[2])
else:
    import toolkit.models.neuron_model
    from transformers import AutoModelForSequenceClassification
    network = AutoModelForSequenceClassification.from_pretrained(sys.argv[2])
with torch.no_grad():
    print(network(**inputs).logits.double().tolist())
"""


@pytest.mark.slow
@pytest.mark.parametrize("door", ["toolkit", "transformers"])
def test_fresh_process(door: str, store: Store, tokens: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    network = make(store, tokens)
    save(network, tokens, tmp_path / "model", config_yaml=None, card="", example=batch())
    command = [sys.executable, "-c", _FRESH, door, str(tmp_path / "model")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with torch.no_grad():
        expected = network.train(False)(input_ids=torch.tensor([[2, 7, 9, 3]])).logits
    assert json.loads(printed) == expected.double().tolist()


def test_pipelines(store: Store, tokens: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    for task, kind in ((MNLI, "text-classification"), (NER, "token-classification")):
        network = make(store, tokens, task=task, pooling="mean" if task is MNLI else None)
        save(network, tokens, tmp_path / kind, config_yaml=None, card="", example=batch())
        pipeline = transformers.pipeline(kind, model=str(tmp_path / kind))  # type: ignore[call-overload]
        found = pipeline("w1 w2 w3", **({} if task is NER else {"top_k": 1}))
        network.train(False)
        with torch.no_grad():
            output = network(**tokens("w1 w2 w3", return_tensors="pt")).logits[0]
        if task is MNLI:
            assert found[0]["label"] == MNLI.labels[int(output.argmax())]
            assert found[0]["score"] == pytest.approx(output.softmax(-1).max().item(), rel=1e-5)
        else:  # words of the label O are left out
            labels = [NER.labels[number] for number in output.argmax(-1).tolist()[1:-1]]
            assert [word["entity"] for word in found] == [label for label in labels if label != "O"]


@pytest.mark.parametrize("name", ["synthetic_paraphrase", "synthetic_similarity", "synthetic_pos"])
def test_it_is_judged_and_measured_like_any_network(name: str, tiny_network: Path) -> None:
    data = TaskData(name, network=str(tiny_network), size=40, limit_eval=20, eval_batch_size=8)
    encoder = AutoModel.from_pretrained(tiny_network)
    neurons = [7, 40, 33]  # layers 0 and 1 of 3; D = 32
    weight, bias = torch.randn(data.task.num_labels, 3), torch.randn(data.task.num_labels)
    pooling: Pooling | None = None if data.task.kind == "tagging" else "mean"
    network = neuron_network(encoder, neurons, weight, bias, task=data.task, tokenizer=data.tokenizer, pooling=pooling)
    assert set(judge(network, data).scores()) == set(data.task.metrics)
    predictions = predict(network, data, "test")
    if pooling is not None:
        for row, output in zip(data.split("test"), predictions.outputs, strict=True):
            inputs = {key: torch.tensor([row[key]]) for key in ("input_ids", "token_type_ids")}
            with torch.no_grad():
                states = encoder(**inputs, output_hidden_states=True).hidden_states
            names = data.tokenizer.convert_ids_to_tokens(row["input_ids"])
            assert names[0] == "[CLS]"
            words = [place for place, token in enumerate(names) if token not in ("[CLS]", "[SEP]")]
            features = torch.stack([states[n // 32][0, words, n % 32].mean() for n in neurons])
            expected = weight @ features + bias
            torch.testing.assert_close(output, expected if data.task.labels else expected[0], atol=1e-5, rtol=1e-5)

    dense = load_network(str(tiny_network), data.task)
    assert costs.macs(network, length=16) < 0.6 * costs.macs(dense, length=16)  # one of two blocks
    assert costs.latency(network, length=16, min_seconds=0.01).median > 0
    assert costs.num_parameters(network) < costs.num_parameters(dense)
    with pytest.raises(ValueError, match="the network has 128 positions"):
        costs.macs(network, length=129)


@pytest.mark.parametrize("pooling", ["mean", "first", "last", None])
def test_features_of_the_statistics_are_those_of_the_network(
    architecture: str,
    pooling: Pooling | None,
    whole: Callable[[str], PreTrainedModel],
    tokens: PreTrainedTokenizerFast,
) -> None:
    encoder = whole(architecture)
    inputs = batch(left=architecture == "xlnet")
    special = ((inputs["input_ids"] == 0) | (inputs["input_ids"] == 2) | (inputs["input_ids"] == 3)).long()
    labels = torch.where(special > 0, IGNORED, 1) if pooling is None else torch.zeros(3, dtype=torch.long)
    observed = hidden_batch(
        encoder,
        {**inputs, "special_tokens_mask": special, "labels": labels, "index": torch.arange(3)},
        "classification" if pooling else "tagging",
        pooling=pooling or "mean",
        starts=torch.tensor([0, 5, 8, 8]),
    )
    features = observed.rows.permute(1, 0, 2).flatten(1)  # (R, L·D), layer-major
    neurons = [2 * D + 3, 5, D + 4]
    weight, bias = torch.randn(3, 3), torch.randn(3)
    task = MNLI if pooling else NER
    network: Any = neuron_network(encoder, neurons, weight, bias, task=task, tokenizer=tokens, pooling=pooling)
    with torch.no_grad():
        logits = network(**inputs).logits
    expected = features[:, neurons] @ weight.T + bias
    torch.testing.assert_close(logits if pooling else logits[labels != IGNORED], expected, atol=2e-6, rtol=1e-5)


def test_macs_are_those_of_one_block_and_the_head(tiny_network: Path) -> None:
    tokenizer, encoder = load_tokenizer(str(tiny_network)), AutoModel.from_pretrained(tiny_network)
    head = (torch.randn(2, 3), torch.randn(2))
    values: dict[str, Any] = {"task": TASKS["sst2"], "tokenizer": tokenizer, "pooling": "mean"}
    one_block = neuron_network(encoder, [7, 40, 33], *head, **values)
    length, width, inner = 10, 32, 64
    block = length * (4 * width**2 + 2 * width * inner) + 2 * length**2 * width
    assert costs.macs(one_block, length=length) == block + 3 * 2
    assert costs.macs(neuron_network(encoder, [7, 4, 3], *head, **values), length=length) == 3 * 2


def test_special_ids(tokens: PreTrainedTokenizerFast, tokenizer: PreTrainedTokenizerFast, tiny_network: Path) -> None:
    assert special_ids(tokens) == [2, 3]  # neither [PAD] 0 nor [UNK] 1 nor [MASK] 4
    tokens.backend_tokenizer.enable_padding(length=9)
    assert special_ids(tokens) == [2, 3]
    tokens.backend_tokenizer.no_padding()
    tokens.backend_tokenizer.post_processor = None
    assert special_ids(tokens) == []
    assert special_ids(load_tokenizer("minilm")) == [101, 102]


def test_encoder_is_left_as_it_is(store: Store, tokens: PreTrainedTokenizerFast) -> None:
    whole = load_network(str(store("bert")), STSB)  # with a head
    whole.train()
    whole.get_submodule("bert.embeddings").eval()
    weights = {name: weight.clone() for name, weight in whole.state_dict().items()}
    config, modes = whole.config.to_dict(), [module.training for module in whole.modules()]
    random = torch.get_rng_state()
    head = (torch.randn(3, 2), torch.randn(3))
    torch.set_rng_state(random)
    network = neuron_network(whole, [3, 20], *head, task=MNLI, tokenizer=tokens, pooling="mean")
    assert torch.equal(torch.get_rng_state(), random)
    assert whole.config.to_dict() == config
    assert [module.training for module in whole.modules()] == modes
    assert all(torch.equal(weight, weights[name]) for name, weight in whole.state_dict().items())
    assert network.training
    shared = {weight.data_ptr() for weight in whole.parameters()} & {
        weight.data_ptr() for weight in network.parameters()
    }
    assert not shared


def test_type_of_the_encoder_is_kept(store: Store, tokens: PreTrainedTokenizerFast) -> None:
    encoder = AutoModel.from_pretrained(store("bert"), dtype=torch.bfloat16)
    head = (torch.randn(3, 2), torch.randn(3))
    network = neuron_network(encoder, [3, 20], *head, task=MNLI, tokenizer=tokens, pooling="mean")
    assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"neurons": [3, 64]}, "neurons has 64; the network has the neurons 0 to 63"),
        ({"neurons": [-1]}, "neurons has -1"),
        ({"neurons": [3, 3]}, "none repeated"),
        ({"neurons": [], "weight": torch.zeros(3, 0)}, "expected a list of at least one"),
        ({"weight": torch.zeros(3, 2)}, r"weight has shape \(3, 2\) and bias \(3,\), expected \(3, 3\) and \(3,\)"),
        ({"bias": torch.zeros(2)}, r"bias \(2,\), expected"),
        ({"pooling": None}, "pooling is None, but task 'mnli' is of kind classification"),
        ({"task": NER}, "pooling is 'mean', but task 'synthetic_entities' is of kind tagging"),
        ({"task": TASKS["xpos"], "pooling": None}, "'xpos' does not know its labels yet"),
        ({"pooling": "max"}, "pooling is 'max', expected one of"),
    ],
)
def test_what_does_not_fit_is_refused(
    changed: dict[str, Any], message: str, store: Store, tokens: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(ValueError, match=message):
        make(store, tokens, **changed)


def test_architecture_that_was_not_tested_is_refused(tokens: PreTrainedTokenizerFast) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    encoder = AutoModel.from_config(transformers.MegatronBertConfig(vocab_size=40, **sizes))
    head = (torch.randn(3, 1), torch.randn(3))
    with pytest.raises(ValueError, match="megatron-bert"):
        neuron_network(encoder, [3], *head, task=MNLI, tokenizer=tokens, pooling="mean")


def test_encoder_that_is_another_once_it_is_cut_is_refused(store: Store, tokens: PreTrainedTokenizerFast) -> None:
    encoder = AutoModel.from_pretrained(store("bert"))
    encoder.encoder.layer[0].register_forward_hook(lambda module, inputs, output: output + 1)  # no weight, no config
    head = (torch.randn(3, 1), torch.randn(3))
    with pytest.raises(ValueError, match=r"Layer 1 of BertModel changes by up to 1 when"):
        neuron_network(encoder, [D], *head, task=MNLI, tokenizer=tokens, pooling="mean")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"kept": [[3], [], [4, 500]]}, r"kept\[2\] is \[4, 500\], expected ascending"),
        ({"kept": [[3], [4, 5]]}, "kept has 2 lists, but the encoder has 3 layers"),
        ({"kept": [[3], [], [4]]}, "have another shape for classifier.weight"),
        ({"pooling": "sum"}, "pooling is 'sum'"),
        ({"encoder": {"model_type": "nothing"}}, "encoder has the model_type 'nothing'"),
        ({"auto_map": {"AutoConfig": "own.Config"}}, "has an entry auto_map"),
    ],
)
def test_damaged_config_is_refused(
    damage: dict[str, Any], message: str, store: Store, tokens: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    save(make(store, tokens), tokens, folder, config_yaml=None, card="", example=batch())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | damage))
    with pytest.raises(ValueError, match=message) as error:
        toolkit.load(folder)
    assert "\n" not in str(error.value)
    if "auto_map" not in damage:  # Which transformers leaves alone where it knows the architecture.
        with pytest.raises((ValueError, RuntimeError)):
            AutoModelForSequenceClassification.from_pretrained(folder)


def test_config_with_fewer_blocks_than_weights_is_refused(
    store: Store, tokens: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    save(make(store, tokens), tokens, folder, config_yaml=None, card="", example=batch())
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["num_hidden_layers"] = 1
    config["kept"] = [[3, 4, 5], []]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"have more blocks than config.json says: encoder.encoder.layer.1"):
        toolkit.load(folder)


def test_stored_weights_are_only_those_in_use(store: Store, tokens: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    network = make(store, tokens)
    save(network, tokens, tmp_path / "model", config_yaml=None, card="", example=batch())
    names = set(load_file(tmp_path / "model" / "model.safetensors"))
    assert {name.split(".")[3] for name in names if ".layer." in name} == {"0", "1"}
    assert not [name for name in names if "pooler" in name or "neurons" in name]
    assert len(prunable_weights(network)) == 2 * 6
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("w1")["input_ids"] == tokens("w1")["input_ids"]
