"""Masked tokens for masked language modelling (Devlin et al. 2019, arXiv 1810.04805, section 3.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from toolkit.data.batching import to_rows

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask")


class Mask:
    """Columns of some rows to padded tensors with masked tokens, and the masked tokens as labels.

    Args:
        tokenizer: Knows the mask and the special tokens, which are never masked.
        fraction: Part of the tokens that is to be predicted.
        whole_word: Mask all sub-words of a word together.
        seed: Seed of the masks; with the epoch and the rows it decides what is masked.
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
        state = np.random.SeedSequence([self.seed, self.epoch, *columns["index"]]).generate_state(1)
        self.collator.generator = torch.Generator().manual_seed(int(state[0]))
        rows = to_rows(columns, _INPUTS)
        if self.collator.whole_word_mask:
            # The tokenizer's padding leaves this column ragged.
            width = max(map(len, columns["input_ids"]))
            left = self.collator.tokenizer.padding_side == "left"
            for row, offsets in zip(rows, columns["offset_mapping"], strict=True):
                padding = [[0, 0]] * (width - len(offsets))
                row["offset_mapping"] = padding + offsets if left else offsets + padding
        batch = dict(self.collator(rows))
        batch["index"] = torch.tensor(columns["index"])
        return batch
