"""Masked tokens for masked language modelling (Devlin et al. 2019, arXiv 1810.04805, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from toolkit.data.batching import to_rows
from toolkit.tasks import IGNORED

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask")


class Mask:
    """Columns of some rows to padded tensors with masked tokens, and the masked tokens as labels.

    Args:
        tokenizer: Knows the mask and the special tokens, which are never masked.
        fraction: Part of the tokens that is to be predicted.
        whole_word: Mask all sub-words of a word together; rows then have a column ``words`` (`number_words`).
        seed: Seed of the masks. What is masked of a row is a pure function of the seed, the epoch and the row's number:
            neither the rest of its batch nor the number of processes changes it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, fraction: float, whole_word: bool, seed: int) -> None:
        # The library masks whole words by the mask token only.
        self.collator = DataCollatorForLanguageModeling(
            tokenizer,
            whole_word_mask=whole_word,
            mlm_probability=fraction,
            mask_replace_prob=1.0 if whole_word else 0.8,
            random_replace_prob=0.0 if whole_word else 0.1,
        )
        self.seed = seed
        self.epoch = 0

    def __call__(self, columns: dict[str, list[Any]]) -> dict[str, Tensor]:
        """Pad and mask the columns of B rows to tensors (B, T)."""
        rows = to_rows(columns, (*_INPUTS, "words") if self.collator.whole_word_mask else _INPUTS)
        masked = [self._mask(row, number) for row, number in zip(rows, columns["index"], strict=True)]
        pad = self.collator.tokenizer
        fill = {"input_ids": pad.pad_token_id, "token_type_ids": pad.pad_token_type_id, "labels": IGNORED}
        batch = {
            name: pad_sequence([row[name] for row in masked], True, fill.get(name, 0), pad.padding_side)
            for name in masked[0]
        }
        batch["index"] = torch.tensor(columns["index"])
        return batch

    def _mask(self, row: dict[str, Any], number: int) -> dict[str, Tensor]:
        """Mask a row alone, to tensors (T,)."""
        state = np.random.SeedSequence([self.seed, self.epoch, number]).generate_state(1)
        self.collator.generator = torch.Generator().manual_seed(int(state[0]))
        if "words" in row:
            # The library begins a word where the offsets have a gap. Those of many tokenizers have none, as the space
            # belongs to the token behind it; these have one between words and nowhere else.
            row["offset_mapping"] = [(word, word) for word in row.pop("words")]
        return {name: tensor[0] for name, tensor in self.collator([row]).items()}


def number_words(words: Sequence[int | None], offsets: Sequence[Sequence[int]], text: str) -> list[int]:
    """Number the words of a row, so that the tokens of a word have one number, and its neighbours others.

    A word begins where the tokenizer says so, and behind white space, at which some tokenizers do not split. To those
    of WordPiece and of bytes punctuation is a word of its own, to those of SentencePiece a part of the word beside it.

    Args:
        words: Of each of the T tokens the number of its word by the tokenizer, or none: ``encoding.word_ids()``.
        offsets: Start and end of each token in the text.
        text: The text.

    Returns:
        T numbers that do not fall.
    """
    numbers: list[int] = []
    number, before, end = 0, None, 0
    for word, (start, stop) in zip(words, offsets, strict=True):
        # What lies between two tokens belongs to the second one.
        behind_space = word is not None and any(map(str.isspace, text[end : start + 1]))
        number += word != before or behind_space
        numbers.append(number)
        before, end = word, max(end, stop) if word is not None else end
    return numbers
