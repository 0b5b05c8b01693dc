"""Hidden states of batches against single sentences without padding."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from toolkit.data import TaskData
from toolkit.models.loading import load_network
from toolkit.statistics.hidden_states import Pooling, hidden_batch, word_starts

TEXTS = ["the § cat sees [MASK]", "", "walking", "a good dog is not in the river"]


@pytest.fixture(scope="module")
def network(tiny_network: Path) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModel.from_pretrained(tiny_network)
    for name, weight in loaded.named_parameters():  # so that layers differ
        weight.data *= 4 if "weight" in name and weight.ndim == 2 else 1
    loaded.train(False)
    return loaded


@torch.no_grad()
def alone(network: PreTrainedModel, ids: list[int]) -> Tensor:
    """Hidden states of one sentence, (L, T, D)."""
    states = network(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    return torch.stack(states)[:, 0]


@pytest.fixture
def batch(tiny_network: Path) -> Callable[[str], dict[str, Tensor]]:
    def make(side: str) -> dict[str, Tensor]:
        tokenizer = AutoTokenizer.from_pretrained(tiny_network, padding_side=side)
        encoded = tokenizer(TEXTS, padding=True, return_special_tokens_mask=True, return_tensors="pt")
        return {**encoded, "labels": torch.tensor([1, 0, 1, 1]), "index": torch.tensor([7, 2, 9, 0])}

    return make


@torch.no_grad()
def test_sentences_and_tokens(
    network: PreTrainedModel, batch: Callable[[str], dict[str, Tensor]], tiny_network: Path
) -> None:
    found = hidden_batch(network, batch("right"), "classification")
    ids = [AutoTokenizer.from_pretrained(tiny_network)(text)["input_ids"] for text in TEXTS]
    states = [alone(network, row) for row in ids]
    assert 1 in ids[0][1:-1]  # the unknown word is a token of the text
    torch.testing.assert_close(found.tokens, torch.cat([state[:, 1:-1] for state in states], 1))
    means = [state[:, 1:-1].mean(1) if state.shape[1] > 2 else state.mean(1) for state in states]  # "" has no tokens
    torch.testing.assert_close(found.rows, torch.stack(means, 1))
    torch.testing.assert_close(found.sentences, found.rows)
    assert found.labels.tolist() == [1, 0, 1, 1]
    assert found.positions.tolist() == [7, 2, 9, 0]
    assert found.rows.dtype == found.tokens.dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize(("pooling", "place"), [("first", 0), ("last", -1)])
def test_pooling_of_one_token(
    pooling: Pooling,
    place: int,
    network: PreTrainedModel,
    batch: Callable[[str], dict[str, Tensor]],
    tiny_network: Path,
) -> None:
    found = hidden_batch(network, batch("right"), "classification", pooling=pooling)
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    expected = [alone(network, tokenizer(text)["input_ids"])[:, place] for text in TEXTS]
    torch.testing.assert_close(found.rows, torch.stack(expected, 1))


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_side_and_amount_of_padding_do_not_matter(pooling: Pooling, batch: Callable[[str], dict[str, Tensor]]) -> None:
    config = transformers.XLNetConfig(vocab_size=200, d_model=16, n_layer=2, n_head=2, d_inner=24)  # relative positions
    torch.manual_seed(0)
    network = AutoModel.from_config(config).eval()
    right, left = (hidden_batch(network, batch(side), "classification", pooling=pooling) for side in ("right", "left"))
    more = {name: torch.nn.functional.pad(value, (0, 3)) for name, value in batch("right").items() if value.ndim == 2}
    more["special_tokens_mask"][:, -3:] = 1
    padded = hidden_batch(network, {**batch("right"), **more}, "classification", pooling=pooling)
    for other in (left, padded):
        for name in ("tokens", "rows", "sentences"):
            torch.testing.assert_close(getattr(right, name), getattr(other, name), atol=1e-6, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["GPT2", "Llama"])
def test_last_layer_of_decoders_is_behind_the_final_norm(
    architecture: str, batch: Callable[[str], dict[str, Tensor]]
) -> None:
    sizes = {"vocab_size": 200, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = getattr(transformers, f"{architecture}Config")(**sizes, intermediate_size=24)
    torch.manual_seed(0)
    network = AutoModel.from_config(config).eval()
    inputs = batch("right")
    inputs.pop("token_type_ids")
    found = hidden_batch(network, inputs, "classification", pooling="last")
    outputs = network(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    ends = inputs["attention_mask"].sum(1) - 1
    assert len(found.rows) == 4
    torch.testing.assert_close(found.rows[-1], outputs.last_hidden_state[torch.arange(4), ends])
    norm = network.ln_f if architecture == "GPT2" else network.norm
    torch.testing.assert_close(found.rows[-1], norm(through_blocks(network, inputs))[torch.arange(4), ends])


def through_blocks(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """What the last block writes, caught by a hook."""
    written: list[Any] = []
    blocks: Any = network.h if hasattr(network, "h") else network.layers
    handle = blocks[-1].register_forward_hook(lambda module, arguments, output: written.append(output))
    network(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    handle.remove()
    state: Tensor = written[0][0] if isinstance(written[0], tuple) else written[0]
    return state


@torch.no_grad()
@pytest.mark.parametrize("word_label", ["last", "first"])
@pytest.mark.parametrize("max_length", [128, 12])
def test_words(word_label: Literal["last", "first"], max_length: int, tiny_network: Path) -> None:
    data = TaskData(
        "synthetic_entities", network=str(tiny_network), size=30, eval_batch_size=7, max_length=max_length,
        word_label=word_label,
    )  # fmt: skip
    network = load_network(str(tiny_network), data.task).eval()
    expected: dict[str, list[Tensor]] = {"labelled": [], "mean": []}
    labels = []
    for row, sentence in zip(data.split("train"), data.sentences("train"), strict=True):
        states = alone(network.base_model, row["input_ids"])
        encoding = data.tokenizer(sentence["words"], is_split_into_words=True, truncation=True, max_length=max_length)
        assert encoding["input_ids"] == row["input_ids"]
        places = encoding.word_ids()
        for word in range(len(sentence["words"])):
            pieces = [place for place, owner in enumerate(places) if owner == word]
            if pieces:
                expected["labelled"].append(states[:, pieces[-1 if word_label == "last" else 0]])
                expected["mean"].append(states[:, pieces].mean(1))
                labels.append(data.task.labels.index(sentence["tags"][word]))
    starts = word_starts(data.split("train"))
    assert int(starts[-1]) == len(labels)
    assert bool(sum(map(len, data.split("train")["lost"]))) == (max_length == 12)
    for words in ("labelled", "mean"):
        rows = torch.full((3, len(labels), 32), torch.nan)
        numbers = torch.full((len(labels),), -1)
        for batch in data.share("train"):
            found = hidden_batch(network, batch, "tagging", words=words, word_label=word_label, starts=starts)
            rows[:, found.positions] = found.rows
            numbers[found.positions] = found.labels
        torch.testing.assert_close(rows, torch.stack(expected[words], 1))
        assert numbers.tolist() == labels


def test_words_are_counted_over_selected_rows_too(tiny_network: Path) -> None:
    data = TaskData("synthetic_entities", network=str(tiny_network), size=30)
    rows = data.split("train")
    counts = [sum(label != -100 for label in row) for row in rows["labels"]]
    assert word_starts(rows).tolist() == [0, *np.cumsum(counts)]
    assert word_starts(rows.select([5, 0])).tolist() == [0, counts[5], counts[5] + counts[0]]
    with pytest.raises(ValueError, match="give starts=word_starts"):
        hidden_batch(load_network(str(tiny_network), data.task), next(iter(data.share("train"))), "tagging")


@torch.no_grad()
def test_precision(network: PreTrainedModel, batch: Callable[[str], dict[str, Tensor]]) -> None:
    exact = hidden_batch(network, batch("right"), "classification")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(hidden_batch(network, batch("right"), "classification").rows, exact.rows)
    mixed = hidden_batch(network, batch("right"), "classification", precision="bf16-mixed")
    assert mixed.rows.dtype == torch.float32
    assert not torch.equal(mixed.rows, exact.rows)
    torch.testing.assert_close(mixed.rows, exact.rows, atol=0.1, rtol=0.1)
