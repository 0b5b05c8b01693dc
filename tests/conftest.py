"""What all tests share: real data where it is, a tiny tree in the same layout where not, and a tiny network."""

from __future__ import annotations

import os
import random
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertForPreTraining, PreTrainedTokenizerFast

# A busy machine is no fault of an example.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

_WORDS = (
    *("the", "a", "an", "this", "that", "it", "he", "she", "they", "cat", "dog", "man", "woman", "city", "river"),
    *("book", "song", "film", "good", "bad", "great", "terrible", "dull", "lovely", "is", "was", "not", "very"),
    *("sees", "likes", "reads", "in", "on", "under", "of", "and", "but", "walk", "##ing", "##s", "##ed"),
)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in the official layouts with a few made-up rows for every real task."""
    root = tmp_path_factory.mktemp("data")
    _write_glue(root / "glue")
    _write_tagging(root / "tagging")
    return root


@pytest.fixture(scope="session")
def data_root(tiny_data: Path) -> Path:
    """The folder that TOOLKIT_DATA names, or the tiny tree."""
    return Path(os.environ.get("TOOLKIT_DATA") or tiny_data)


@pytest.fixture(scope="session")
def tiny_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT of two layers (hidden size 32, 2 heads) and a fast WordPiece tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *_WORDS]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        pad_token_id=vocabulary["[PAD]"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForPreTraining(config).save_pretrained(folder)
    return folder


def _sentence(draw: random.Random, words: int | None = None) -> str:
    plain = [word for word in _WORDS if not word.startswith("##")]
    return " ".join(draw.choice(plain) for _ in range(words or draw.randint(3, 12)))


def _write(path: Path, lines: list[str], *, end: str = "\n", mark: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((mark + "\n".join(lines) + end).encode("utf-8"))


def _write_glue(glue: Path) -> None:
    draw = random.Random(0)
    pair = ("sentence1", "sentence2")
    headers = {
        "SST-2": ["sentence", "label"],
        "MRPC": ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
        "STS-B": ["index", "genre", "filename", "year", "old_index", "source1", "source2", *pair, "score"],
        "QQP": ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
        "QNLI": ["index", "question", "sentence", "label"],
        "RTE": ["index", *pair, "label"],
        "WNLI": ["index", *pair, "label"],
    }
    labels = {
        "STS-B": ["0.000", "2.500", "3.800", "5.000"],
        "QNLI": ["entailment", "not_entailment"],
        "RTE": ["entailment", "not_entailment"],
    }
    for split, rows in (("train", 40), ("dev", 12)):
        # No header; no line end at the end of dev; an unpaired quote and a separator of other readers inside a row.
        cola = [f"gj04\t{row % 3 and 1}\t\t{_sentence(draw)}" for row in range(rows)]
        cola[1] = 'gj04\t1\t\tthe " cat\u2028is very\x85 good'
        _write(glue / "CoLA" / f"{split}.tsv", cola, end="" if split == "dev" else "\n")
        for folder, header in headers.items():
            values = labels.get(folder, ["0", "1"])
            lines = ["\t".join(header)]
            for row in range(rows):
                cells = {name: str(row) if "id" in name.lower() else _sentence(draw) for name in header}
                column = next(name for name in header if name in ("label", "score", "Quality", "is_duplicate"))
                cells[column] = values[row % len(values)]
                lines.append("\t".join(cells[name] for name in header))
            _write(glue / folder / f"{split}.tsv", lines, mark="\ufeff" if folder == "MRPC" else "")
    texts = ["index", *(f"c{number}" for number in range(1, 8)), "sentence1", "sentence2"]
    for split, judges, rows in (("train", 1, 40), ("dev_matched", 5, 12), ("dev_mismatched", 5, 10)):
        lines = ["\t".join([*texts, *(f"label{judge}" for judge in range(1, judges + 1)), "gold_label"])]
        for row in range(rows):
            label = ("entailment", "neutral", "contradiction")[row % 3]
            votes = [label, *["n/a"] * (judges - 1), label]
            lines.append("\t".join([str(row), *["n/a"] * 7, _sentence(draw), _sentence(draw), *votes]))
        _write(glue / "MNLI" / f"{split}.tsv", lines)


def _write_tagging(tagging: Path) -> None:
    draw = random.Random(1)
    for split, sentences in (("train", 30), ("dev", 10), ("test", 12)):
        conllu, chunks, entities = [], [], []
        for number in range(sentences):
            conllu += [f"# sent_id = {number}", "1-2\tcannot\t_\t_\t_\t_\t_\t_\t_\t_"]
            words = ["can", "not", *_sentence(draw).split()]
            for position, word in enumerate(words, start=1):
                upos, xpos = ("AUX", "MD") if position == 1 else ("NOUN", "NN") if len(word) > 3 else ("PART", "RB")
                conllu.append(f"{position}\t{word}\t{word}\t{upos}\t{xpos}\t_\t0\troot\t_\t_")
            conllu += [f"{len(words)}.1\tgone\tgo\tVERB\tVBN\t_\t_\t_\t0:root\t_", ""]
            chunks += [f"{word} NN {'I-NP' if position else 'B-NP'}" for position, word in enumerate(words)] + [
                ". . O",
                "",
            ]
            entities += ["#tag\tB-person", "cat\tI-person", *(f"{word}\tO" for word in words), ""]
        _write(tagging / "ud-ewt" / f"{split}.conllu", conllu)
        _write(tagging / "wnut17" / f"{split}.txt", entities)
        if split == "test":  # as in the official file, a tag that training does not have
            chunks += ["1 LS B-LST", "2 LS I-LST", "the DT B-NP", ""]
        if split != "dev":
            _write(tagging / "conll2000" / f"{split}.txt", chunks)
