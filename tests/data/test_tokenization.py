"""Tokens and the labels that stand on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from toolkit.data.sources import read_split
from toolkit.data.tokenization import encode, fingerprint
from toolkit.models.pretrained import special_ids
from toolkit.tasks import TASKS


@pytest.fixture(scope="module")
def tokenizer(tiny_network: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_network)
    return loaded


def sentence(words: Sequence[str], tags: Sequence[str]) -> list[dict[str, Any]]:
    return [{"words": list(words), "tags": list(tags)}]


def test_pairs_and_labels_are_encoded_as_the_tokenizer_does(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [
        {"sentence1": "a good cat", "sentence2": "it walks", "label": "not_entailment"},
        {"sentence1": "the dog " * 20, "sentence2": "she reads the book", "label": "entailment"},
    ]
    data = encode(rows, TASKS["rte"], tokenizer, 16)
    for row, encoded in zip(rows, data, strict=True):
        expected = tokenizer(row["sentence1"], row["sentence2"], truncation="longest_first", max_length=16)
        assert {name: encoded[name] for name in expected} == dict(expected)
        assert TASKS["rte"].labels[encoded["labels"]] == row["label"]
    assert data["index"][:] == [0, 1]
    assert "lost" not in data.column_names


@pytest.mark.parametrize("task", ["rte", "upos"])
def test_only_tokens_that_the_tokenizer_added_are_special(task: str, tokenizer: PreTrainedTokenizerBase) -> None:
    text = "the § cat [MASK]"  # an unknown word, and one that is spelt like a special token
    if task == "upos":
        rows = sentence(text.split(), ["DET", "X", "NOUN", "X"])
        expected = [1, 0, 0, 0, 0, 1]
    else:
        rows = [{"sentence1": text, "sentence2": "it", "label": "entailment"}]
        expected = [1, 0, 0, 0, 0, 1, 0, 1]
    [row] = encode(rows, TASKS[task], tokenizer, 16)
    assert {tokenizer.unk_token_id, tokenizer.mask_token_id} < set(row["input_ids"])
    assert row["special_tokens_mask"] == expected


def test_a_separator_in_a_sentence_is_special_as_networks_that_read_ids_take_it(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    rows = [{"sentence1": "the cat [SEP] a dog", "sentence2": "it", "label": "entailment"}]
    [row] = encode(rows, TASKS["rte"], tokenizer, 16)
    assert row["special_tokens_mask"] == [int(token in special_ids(tokenizer)) for token in row["input_ids"]]
    assert row["special_tokens_mask"] == [1, 0, 0, 1, 0, 0, 1, 0, 1]


def test_scores_stay_numbers(tokenizer: PreTrainedTokenizerBase) -> None:
    data = encode([{"sentence1": "a", "sentence2": "b", "label": 2.5}], TASKS["stsb"], tokenizer, 16)
    assert data["labels"][:] == [2.5]
    assert data.features["labels"].dtype == "float32"


@pytest.mark.parametrize(("word_label", "position"), [("last", -1), ("first", 0)])
def test_label_stands_on_one_sub_word(
    word_label: Literal["last", "first"], position: int, tokenizer: PreTrainedTokenizerBase
) -> None:
    words, tags = ["the", "walking", "dogs", "zyx"], ["DET", "VERB", "NOUN", "X"]
    [row] = encode(sentence(words, tags), TASKS["upos"], tokenizer, 32, word_label)
    expected = [-100]
    for word, tag in zip(words, tags, strict=True):
        pieces = tokenizer.tokenize(word)
        labels = [-100] * len(pieces)
        labels[position] = TASKS["upos"].labels.index(tag)
        expected += labels
    assert row["labels"] == [*expected, -100]
    assert len(tokenizer.tokenize("walking")) > 1
    assert row["lost"] == []


def test_word_that_is_tokenised_to_nothing_gets_the_unknown_token(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.tokenize("\x08") == []
    [row] = encode(sentence(["the", "\x08", "cat", "\u200b"], ["DET", "X", "NOUN", "X"]), TASKS["upos"], tokenizer, 32)
    names = [TASKS["upos"].labels[label] for label in row["labels"] if label != -100]
    assert names == ["DET", "X", "NOUN", "X"]
    assert row["input_ids"].count(tokenizer.unk_token_id) == 2


@pytest.mark.parametrize("word_label", ["last", "first"])
def test_words_behind_the_limit_are_kept_as_lost(
    word_label: Literal["last", "first"], tokenizer: PreTrainedTokenizerBase
) -> None:
    words, tags = ["the", "cat", "walking", "dog"], ["DET", "NOUN", "VERB", "PROPN"]
    ids = [TASKS["upos"].labels.index(tag) for tag in tags]
    for length in range(4, 9):
        [row] = encode(sentence(words, tags), TASKS["upos"], tokenizer, length, word_label)
        kept = [label for label in row["labels"] if label != -100]
        assert len(row["input_ids"]) <= length
        assert kept + row["lost"] == ids  # a word that is cut in two keeps its label


@pytest.mark.parametrize("name", ["upos", "xpos", "chunking", "ner"])
def test_every_word_of_a_real_task_has_one_label(
    name: str, data_root: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    task = TASKS[name]
    rows = read_split(task, "test", data_root)[:300]
    labels = task.labels or tuple(sorted({tag for row in rows for tag in row["tags"]}))
    for row, encoded in zip(rows, encode(rows, replace(task, labels=labels), tokenizer, 64), strict=True):
        kept = [label for label in encoded["labels"] if label != -100] + encoded["lost"]
        assert [labels[label] for label in kept] == row["tags"]


@pytest.mark.parametrize("length", [3, 129])
def test_impossible_lengths(length: int, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match=f"max_length is {length}, but must be more than 3 and at most 128"):
        encode([{"sentence": "a", "label": "positive"}], TASKS["sst2"], tokenizer, length)


def test_fingerprint_ignores_padding_and_sees_the_vocabulary(tiny_network: Path) -> None:
    first, second = (AutoTokenizer.from_pretrained(tiny_network) for _ in range(2))
    before = fingerprint(first)
    first(["a", "a b c"], padding=True, truncation=True, max_length=4)
    assert fingerprint(first) == before == fingerprint(second)
    second.add_tokens(["new"])
    assert fingerprint(second) != before
