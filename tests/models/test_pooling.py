"""Sentence vectors against a literal loop over sentences and tokens, and against where the padding stands."""

import pytest
import torch
from torch import Tensor

from toolkit.models.pooling import Pooling, pool

LENGTHS = (6, 3, 4, 2)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    states = torch.randn(3, len(LENGTHS), max(LENGTHS), 5, generator=torch.Generator().manual_seed(0))
    present = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    special = torch.zeros_like(present)
    special[:, 0] = True
    special[torch.arange(len(LENGTHS)), torch.tensor(LENGTHS) - 1] = True
    special[0, 2] = True  # between two texts
    return states, present, special


def literal(states: Tensor, present: Tensor, special: Tensor, pooling: Pooling) -> Tensor:
    rows = []
    for sentence in range(len(present)):
        tokens = [token for token in range(present.shape[1]) if present[sentence, token]]
        valid = [token for token in tokens if not special[sentence, token]] or tokens
        chosen = {"mean": valid, "first": tokens[:1], "last": tokens[-1:]}[pooling]
        rows.append(sum(states[:, sentence, token] for token in chosen) / len(chosen))
    return torch.stack([torch.as_tensor(row) for row in rows], dim=1)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_literal_loop(batch: tuple[Tensor, Tensor, Tensor], pooling: Pooling, side: str) -> None:
    states, present, special = batch
    expected = literal(states, present, special, pooling)
    if side == "left":
        states, present, special = states.flip(2), present.flip(1), special.flip(1)
        expected = literal(states, present, special, pooling)
    torch.testing.assert_close(pool(states, present, special, pooling), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_padding_has_no_say(batch: tuple[Tensor, Tensor, Tensor], pooling: Pooling) -> None:
    states, present, special = batch
    expected = pool(states, present, special, pooling)
    states = torch.where(present[None, :, :, None], states, torch.nan)
    for at_padding in (True, False):  # tokenizers mark padding as special
        marked = torch.where(present, special, at_padding)
        assert torch.equal(pool(states, present, marked, pooling), expected)


def test_sentence_of_special_tokens_alone_is_their_mean(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    states, present, special = batch
    rows = pool(states, present, special, "mean")
    torch.testing.assert_close(rows[:, 3], states[:, 3, :2].mean(1))  # [CLS] [SEP]


def test_empty_sequence_is_zero_and_no_nan() -> None:
    states, nothing = torch.ones(1, 4, 2), torch.zeros(1, 4, dtype=torch.bool)
    assert torch.equal(pool(states, nothing, nothing, "mean"), torch.zeros(1, 2))
