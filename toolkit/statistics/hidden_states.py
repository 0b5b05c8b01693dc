"""Hidden states of all layers for a batch: of its tokens, of its sentences, and of its examples."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolkit.models.inputs import network_inputs
from toolkit.models.pooling import Pooling
from toolkit.tasks import IGNORED, Kind

Words = Literal["labelled", "mean"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
_AUTOCAST = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True, kw_only=True)
class HiddenBatch:
    """Hidden states of a batch: B sentences of N tokens together, R examples, L layers of size D.

    Layer 0 is the output of the embeddings, layer l that of the l-th block: L is the number of blocks + 1.

    Args:
        tokens: Of the tokens of the text, without padding and special tokens, ``(L, N, D)`` float32.
        rows: One vector for each example, a sentence or a labelled word, ``(L, R, D)`` float32.
        labels: Class ids ``(R,)`` int64, or values ``(R,)`` float32 of a regression task.
        positions: Place of each row in the split: the sentence's number, or the word's running number, ``(R,)``.
        sentences: Mean of the tokens of each sentence, ``(L, B, D)`` float32.
    """

    tokens: Tensor
    rows: Tensor
    labels: Tensor
    positions: Tensor
    sentences: Tensor


class Statistic(Protocol):
    """What is fed with the hidden states of one batch after the other."""

    def observe(self, batch: HiddenBatch) -> None:
        """Take in a batch."""


def hidden_states(network: PreTrainedModel, inputs: Mapping[str, Tensor], precision: Precision) -> tuple[Tensor, ...]:
    """Run a network up to its head, and take the outputs of the embeddings and of every block.

    All of the network runs, also when lower layers would do. Pre-norm networks (GPT-2, Llama, Qwen2, ModernBERT) have
    a final norm: `transformers` gives the last layer behind it and all others before it.

    Args:
        network: A network of `transformers`, with or without a head, in evaluation mode.
        inputs: What the network takes, ``(B, T)`` each.
        precision: Float32, or automatic mixed precision; an autocast around the call has no effect.

    Returns:
        L tensors ``(B, T, D)``.
    """
    encoder = network.base_model
    options = {"use_cache": False} if "use_cache" in inspect.signature(encoder.forward).parameters else {}
    with torch.autocast(network.device.type, _AUTOCAST[precision], enabled=precision != "32-true"):
        states: tuple[Tensor, ...] = encoder(**inputs, **options, output_hidden_states=True).hidden_states
    return states


@torch.no_grad()
def hidden_batch(
    network: PreTrainedModel,
    batch: Mapping[str, Tensor],
    kind: Kind,
    *,
    pooling: Pooling = "mean",
    words: Words = "labelled",
    word_label: Literal["last", "first"] = "last",
    starts: Tensor | None = None,
    precision: Precision = "32-true",
) -> HiddenBatch:
    """Run a network on a batch, without gradients, and gather its hidden states.

    Args:
        network: A network of `transformers`, in evaluation mode.
        batch: From ``TaskData.share``: the network's inputs, ``special_tokens_mask``, ``labels`` and ``index``.
        kind: Kind of the task. The rows of a tagging task are its words, those of others its sentences (or pairs).
        pooling: What stands for a sentence: ``mean`` of its tokens without padding and special tokens, or of all but
            padding where there are no others; ``first``, the first token ([CLS]); ``last``, the last that is no padding
            (XLNet's <cls>, decoders).
        words: What stands for a word: its ``labelled`` sub-word, or the ``mean`` of those of its sub-words that
            truncation left. Words of which nothing is left have no row.
        word_label: Which sub-word carries the label; with ``mean`` it tells where words begin and end.
        starts: Number of the first word of each sentence in the split (`word_starts`); for tagging alone.
        precision: Of the network; what is returned is float32.

    Raises:
        ValueError: If a word's number is wanted and ``starts`` is missing.
    """
    states = hidden_states(network, network_inputs(batch), precision)
    present = batch["attention_mask"].bool()
    valid = present & ~batch["special_tokens_mask"].bool()
    labels, index = batch["labels"], batch["index"]
    tokens = _gather(states, valid)
    sentences = _means(states, torch.where(valid.any(1, keepdim=True), valid, present))
    if kind == "tagging":
        if starts is None:
            raise ValueError("the words of a tagging task are numbered over the split: give starts=word_starts(rows).")
        labelled = labels != IGNORED
        rows = _gather(states, labelled) if words == "labelled" else _word_means(tokens, labelled, valid, word_label)
        positions = (starts[index][:, None] + labelled.cumsum(1) - 1)[labelled]
        labels = labels[labelled]
    else:
        rows = sentences if pooling == "mean" else _gather(states, _edge(present, pooling))
        positions = index
    return HiddenBatch(tokens=tokens, rows=rows, labels=labels, positions=positions, sentences=sentences)


def word_starts(rows: datasets.Dataset) -> Tensor:
    """Running number of the first labelled word of each sentence of a tagging split, and behind them the total.

    Args:
        rows: S tokenised rows.

    Returns:
        ``(S + 1,)`` int64.
    """
    if rows._indices is not None:  # `select` keeps the old table behind a list of row numbers
        rows = rows.flatten_indices()
    counts = [np.zeros(1, dtype=np.int64)]
    for chunk in rows.data.column("labels").chunks:
        lengths = chunk.value_lengths().to_numpy(zero_copy_only=False)
        labelled = np.cumsum(chunk.flatten().to_numpy(zero_copy_only=False) != IGNORED)
        ends = np.concatenate([[0], labelled])[np.cumsum(lengths)]
        counts.append(np.diff(ends, prepend=0))
    return torch.from_numpy(np.cumsum(np.concatenate(counts)))


def _gather(states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Take the masked positions (B, T) of every layer, in their order: one copy, straight to its place."""
    places = mask.flatten().nonzero()[:, 0]
    size = states[0].shape[-1]
    gathered = torch.empty(len(states), len(places), size, device=mask.device)
    for layer, state in enumerate(states):
        torch.index_select(state.float().reshape(-1, size), 0, places, out=gathered[layer])
    return gathered


def _means(states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Average the masked positions (B, T), at least one in each sentence, of every layer: (L, B, D)."""
    weights = (mask / mask.sum(1, keepdim=True))[:, None]  # (B, 1, T)
    with torch.autocast(mask.device.type, enabled=False):
        return torch.stack([torch.bmm(weights, state.float())[:, 0] for state in states])


def _word_means(tokens: Tensor, labelled: Tensor, valid: Tensor, word_label: Literal["last", "first"]) -> Tensor:
    """Average the sub-words of each word, added one after the other: scattering them is not reproducible on GPUs."""
    counts = labelled.sum(1, keepdim=True)
    word = labelled.cumsum(1) - (labelled.long() if word_label == "last" else 1)  # of each position in its sentence
    inside = ((word >= 0) & (word < counts))[valid]
    numbers = (word + counts.cumsum(0) - counts)[valid][inside]  # in the batch; ascending
    lengths = torch.bincount(numbers, minlength=int(counts.sum()))
    pieces = inside.nonzero()[:, 0]
    firsts = lengths.cumsum(0) - lengths
    sums = tokens[:, pieces[firsts]]
    for piece in range(1, int(lengths.max()) if len(lengths) else 0):
        longer = (lengths > piece).nonzero()[:, 0]
        sums[:, longer] += tokens[:, pieces[firsts[longer] + piece]]
    return sums / lengths[:, None]


def _edge(present: Tensor, pooling: Pooling) -> Tensor:
    """Mask of the first or last position (B, T) of each sentence that is no padding, on whichever side padding is."""
    ordinal = present.cumsum(1)
    return present & (ordinal == (1 if pooling == "first" else ordinal[:, -1:]))
