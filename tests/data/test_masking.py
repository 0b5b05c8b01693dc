"""Whole words are masked together, and apart from each other, whatever the family of the tokenizer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    XLMRobertaTokenizer,
    XLNetTokenizer,
)

from toolkit.data.masking import Mask, number_words
from toolkit.data.text import encode_lines

TEXT = "the unbelievably quick fox  jumps over unbelievably lazy dogs near the quickest river bank today"
KNOWN = ["the", "unbeliev", "quick", "fox", "jump", "over", "lazy", "dog", "near", "river", "bank"]
PARTS = ["ably", "est", "s", "today"]
LETTERS = sorted(set("".join([*KNOWN, *PARTS])) - {"s"})
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OF_FAIRSEQ = ["<s>", "<pad>", "</s>", "<unk>"]
OF_XLNET = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"]

NAMES = {
    "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
}  # fmt: skip


def pieces(special: list[str], space: str = "▁") -> list[tuple[str, float]]:
    """The vocabulary of a unigram model: words behind a space, their parts, and letters."""
    scores = [(piece, 0.0) for piece in special] + [(space, -5.0)]
    scores += [(space + word, -1.0) for word in KNOWN]
    return scores + [(part, -2.0) for part in PARTS] + [(letter, -9.0) for letter in LETTERS]


def fast(tokenizer: Tokenizer, trim: bool | None = None) -> PreTrainedTokenizerFast:
    """Put special tokens around a text; with ``trim`` as RoBERTa does, whose offsets leave spaces out."""
    ids = {name: tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    if trim:
        ends = [(name, ids[name]) for name in ("[SEP]", "[CLS]")]
        tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[*ids.items()], pair="[CLS] $A [SEP] $B [SEP]"
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **NAMES)  # type: ignore[no-untyped-call]


def word_piece() -> PreTrainedTokenizerFast:
    vocabulary = [*SPECIAL, *KNOWN, *LETTERS, *(f"##{part}" for part in [*PARTS, *LETTERS])]
    model = models.WordPiece({piece: number for number, piece in enumerate(vocabulary)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return fast(tokenizer)


def byte_level(trim: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=310, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return fast(tokenizer, trim)


def unsplit() -> PreTrainedTokenizerFast:
    """Spaces become parts of tokens before anything is split: to the tokenizer, a text is one word."""
    tokenizer = Tokenizer(models.Unigram(pieces(SPECIAL), unk_id=1))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(Regex(" +"), "▁")])
    return fast(tokenizer)


FAMILIES: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "WordPiece": word_piece,
    "byte-level, RoBERTa's": lambda: byte_level(trim=True),
    "byte-level, ModernBERT's": lambda: byte_level(trim=False),
    "ALBERT": lambda: AlbertTokenizer(vocab=pieces(SPECIAL), unk_id=1),
    "DeBERTa-v2": lambda: DebertaV2Tokenizer(vocab=pieces(SPECIAL), unk_id=1),
    "XLM-R": lambda: XLMRobertaTokenizer(vocab=pieces(OF_FAIRSEQ)),
    "XLNet": lambda: XLNetTokenizer(vocab=pieces(OF_XLNET)),
    "without words": unsplit,
}


def letters(piece: str) -> str:
    return piece.removeprefix("##").strip("▁Ġ")


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_masked_in_part_and_words_as_a_whole(family: str) -> None:
    tokenizer = FAMILIES[family]()
    rows = encode_lines([TEXT] * 60, tokenizer, 128, words=True)
    tokens = tokenizer.convert_ids_to_tokens(rows[0]["input_ids"])
    # Which word a token is of, counted by the letters of the words before it: no tokenizer is asked.
    ends = [len("".join(TEXT.split()[: number + 1])) for number in range(len(TEXT.split()))]
    words: list[int | None] = []
    read = 0
    for token, special in zip(tokens, rows[0]["special_tokens_mask"], strict=True):
        inside = not special and letters(token)
        words.append(next(number for number, end in enumerate(ends) if read < end) if inside else None)
        read += len(letters(token)) if inside else 0
    assert read == ends[-1]
    assert len({word for word in words if word is not None}) == len(ends) < sum(word is not None for word in words)

    batch = Mask(tokenizer, 0.3, whole_word=True, seed=0)(rows[:])
    masked = batch["labels"] != -100
    shares = []
    for row in masked.tolist():
        of_word: dict[int, set[bool]] = {}
        for word, chosen in zip(words, row, strict=True):
            if word is not None:
                of_word.setdefault(word, set()).add(chosen)
        assert all(len(chosen) == 1 for chosen in of_word.values())
        shares.append(sum(True in chosen for chosen in of_word.values()) / len(ends))
    assert sum(0 < share < 1 for share in shares) >= 55
    # Words are drawn independently: 60 rows of 15 words, four standard deviations.
    assert sum(shares) / 60 == pytest.approx(0.3, abs=4 * (0.21 / (60 * len(ends))) ** 0.5)
    assert (batch["input_ids"][masked] == tokenizer.mask_token_id).all()


def test_punctuation_is_a_word_of_its_own_to_word_piece() -> None:
    tokenizer = word_piece()
    (row,) = encode_lines(["quick-fox/unbelievably lazy"], tokenizer, 32, words=True)
    numbers = dict(zip(tokenizer.convert_ids_to_tokens(row["input_ids"]), row["words"], strict=True))
    assert numbers["##ably"] == numbers["unbeliev"]
    assert len({numbers[token] for token in ("quick", "fox", "unbeliev", "lazy")}) == 4


def test_words_continue_in_further_rows() -> None:
    tokenizer = byte_level(trim=False)
    for row in encode_lines([TEXT], tokenizer, 8, words=True):
        tokens = tokenizer.convert_ids_to_tokens(row["input_ids"])[1:-1]
        starts = [number != before for before, number in zip(row["words"][1:-2], row["words"][2:-1], strict=True)]
        assert starts == [token.startswith("Ġ") for token in tokens[1:]]


def test_words_are_numbered_by_the_tokenizer_and_by_spaces() -> None:
    spans = [(0, 0), (0, 2), (2, 5), (5, 6), (6, 7), (6, 7), (0, 0)]
    assert number_words([None, 0, 0, 0, 1, 1, None], spans, "ab cdef") == [0, 1, 2, 2, 3, 3, 4]
