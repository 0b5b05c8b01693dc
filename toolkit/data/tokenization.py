"""Rows to token ids and label ids: one sentence or pair with one label, or words with one label each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import datasets
from transformers import PreTrainedTokenizerBase

from toolkit.data.cache import digest
from toolkit.data.glue import text_names
from toolkit.models.pretrained import load_tokenizer, special_ids
from toolkit.tasks import IGNORED, Task

_CHUNK = 1000  # rows tokenised in one call: bounds the memory of the intermediate encodings

_FEATURES: dict[str, Any] = {
    "input_ids": datasets.List(datasets.Value("int32")),
    "attention_mask": datasets.List(datasets.Value("int8")),
    "token_type_ids": datasets.List(datasets.Value("int8")),
    "special_tokens_mask": datasets.List(datasets.Value("int8")),
    "text": datasets.Value("int64"),
    "words": datasets.List(datasets.Value("int32")),
    "lost": datasets.List(datasets.Value("int64")),
    "index": datasets.Value("int64"),
}
_LABELS: dict[str, Any] = {
    "classification": datasets.Value("int64"),
    "regression": datasets.Value("float32"),
    "tagging": datasets.List(datasets.Value("int64")),
}


def encode(
    rows: Sequence[dict[str, Any]],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    word_label: Literal["last", "first"] = "last",
) -> datasets.Dataset:
    """Tokenise labelled rows.

    The label of a word of several sub-words stands on the last (or first) of them that is left after truncation; all
    other positions hold -100. A word that the tokenizer turns into nothing, such as a lone control character, is
    replaced by the unknown token, so every word has a position. Words behind ``max_length`` have none: their labels
    are kept in the column ``lost``, for a score that counts them as errors.

    Args:
        rows: Rows as the readers give them.
        task: The task, with its labels.
        tokenizer: A fast tokenizer.
        max_length: Longest sequence in tokens, special tokens included; pairs lose tokens of the longer text first.
        word_label: Which sub-word carries the label of a word.

    Returns:
        Columns ``input_ids``, ``attention_mask``, ``token_type_ids`` if the tokenizer makes them,
        ``special_tokens_mask`` (1 at the tokens that the tokenizer adds; in sentences also where one stands in the text
        itself, which a network that reads token ids cannot tell), ``labels``, ``index`` (the row's number) and, of a
        tagging task, ``lost``.

    Raises:
        ValueError: If ``max_length`` is more than the tokenizer allows, or leaves no room for a token.
    """
    check_length(tokenizer, max_length)
    ids = {name: number for number, name in enumerate(task.labels)}
    unknown = _replacements(rows, tokenizer) if task.kind == "tagging" else {}
    added = frozenset(special_ids(tokenizer))
    columns: dict[str, list[Any]] = {}
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        if task.kind == "tagging":
            encoded = _encode_words(chunk, ids, unknown, tokenizer, max_length, word_label)
        else:
            texts = [[row[name] for row in chunk] for name in text_names(2 if "sentence2" in chunk[0] else 1)]
            encoded = dict(tokenizer(*texts, truncation=True, max_length=max_length))
            encoded["special_tokens_mask"] = [[int(number in added) for number in row] for row in encoded["input_ids"]]
            encoded["labels"] = [row["label"] if task.kind == "regression" else ids[row["label"]] for row in chunk]
        for name, values in encoded.items():
            columns.setdefault(name, []).extend(values)
    columns["index"] = list(range(len(rows)))
    return build(columns, _LABELS[task.kind])


def build(columns: dict[str, list[Any]], labels: Any = None) -> datasets.Dataset:
    """Make a data set of tokenised columns, in the narrowest types that hold them."""
    features = {name: labels if name == "labels" else _FEATURES[name] for name in columns}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def check_length(tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Check that sequences of ``max_length`` tokens fit the tokenizer and hold more than special tokens.

    Raises:
        ValueError: If they do not.
    """
    limit = tokenizer.model_max_length
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if not special < max_length <= limit:
        raise ValueError(f"data.max_length is {max_length}, but must be more than {special} and at most {limit} tokens")


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of everything that decides what a tokenizer does, apart from its padding and truncation at the moment."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state.update(padding=None, truncation=None)
    sides = [tokenizer.truncation_side, tokenizer.model_input_names]
    return digest([state, sides, tokenizer.special_tokens_map])


def same_tokenizer(first: str, second: str, task: Task) -> bool:
    """Whether two networks read the sentences of a task, or its words, as the same tokens.

    Args:
        first: Name of the one, or its folder.
        second: The other.
        task: Of words or of sentences: byte-level tokenizers take words as preceded by a space, and those that are
            stored with a tagger remember that, of which the original one has to be told.
    """
    words = task.kind == "tagging"
    return fingerprint(load_tokenizer(first, words=words)) == fingerprint(load_tokenizer(second, words=words))


def _replacements(rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    words = sorted({word for row in rows for word in row["words"]})
    replacements = {}
    for start in range(0, len(words), _CHUNK):
        chunk = words[start : start + _CHUNK]
        pieces = tokenizer([[word] for word in chunk], is_split_into_words=True, add_special_tokens=False)["input_ids"]
        for word, ids in zip(chunk, pieces, strict=True):
            if not ids:
                if tokenizer.unk_token is None:
                    raise ValueError(f"the tokenizer turns the word {word!r} into nothing; remove it from the data")
                replacements[word] = str(tokenizer.unk_token)
    return replacements


def _encode_words(
    rows: Sequence[dict[str, Any]],
    ids: dict[str, int],
    replacements: dict[str, str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    word_label: Literal["last", "first"],
) -> dict[str, list[Any]]:
    words = [[replacements.get(word, word) for word in row["words"]] for row in rows]
    encoding = tokenizer(
        words, is_split_into_words=True, truncation=True, max_length=max_length, return_special_tokens_mask=True
    )
    labels, lost = [], []
    for number, row in enumerate(rows):
        positions = dict(_positions(encoding.word_ids(number), word_label))
        tags = [ids[tag] for tag in row["tags"]]
        line = [IGNORED] * len(encoding["input_ids"][number])
        for word, position in positions.items():
            line[position] = tags[word]
        labels.append(line)
        lost.append([tag for word, tag in enumerate(tags) if word not in positions])
    return {**encoding, "labels": labels, "lost": lost}


def _positions(words: Sequence[int | None], word_label: Literal["last", "first"]) -> Iterator[tuple[int, int]]:
    # Of several positions of one word, a dictionary of these pairs keeps the one that is given last.
    order = range(len(words)) if word_label == "last" else reversed(range(len(words)))
    for position in order:
        word = words[position]
        if word is not None:
            yield word, position
