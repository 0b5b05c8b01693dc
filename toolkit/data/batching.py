"""Batches of rows of similar length: which rows, in what order, on which process, and padded to what."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import (
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
)

from toolkit.tasks import Kind

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "labels", "index")


class LengthBatches(Sampler[list[int]]):
    """Row numbers of batches that hold rows of similar length.

    In training the rows are shuffled, the surplus that fills no global batch is left out, windows of 50 global batches
    are sorted by length and cut, and the batches are shuffled. The order is a pure function of the seed and the epoch;
    of each global batch of ``world_size · batch_size`` rows, process r has every world_size-th row from the r-th, so
    any number of processes sees the same global batches. In evaluation all rows come, longest first, and process r has
    every world_size-th batch from the r-th.

    Args:
        lengths: Length of each of the N rows in tokens.
        batch_size: Rows of a batch on one process.
        shuffle: Whether the batches are for training.
        seed: Seed of the order.
        rank: Number of this process.
        world_size: Number of processes.
        window: Global batches that are sorted together; more waste less padding and shuffle less.

    Raises:
        ValueError: If there are no rows for a process, or a batch has no size.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        window: int = 50,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"the batch size is {batch_size}, but must be at least 1")
        if shuffle and len(lengths) < world_size:
            raise ValueError(f"{len(lengths)} training rows are too few for {world_size} processes; use fewer devices")
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.window = window
        self.epoch = 0
        self.start = 0  # batches of the epoch that are already done, when a run is resumed

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        rows = len(self.lengths)
        if self.shuffle:
            return max(1, rows // (self.batch_size * self.world_size))
        return len(range(self.rank, -(-rows // self.batch_size), self.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._shuffled() if self.shuffle else self._sorted()
        yield from batches[self.start :]

    def _sorted(self) -> list[list[int]]:
        order = np.argsort(-self.lengths, kind="stable")
        starts = range(0, len(order), self.batch_size)[self.rank :: self.world_size]
        return [order[start : start + self.batch_size].tolist() for start in starts]

    def _shuffled(self) -> list[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        size = self.batch_size * self.world_size
        rows = random.permutation(len(self.lengths))[: max(1, len(self.lengths) // size) * size]
        batches = []
        for start in range(0, len(rows), self.window * size):
            part = rows[start : start + self.window * size]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[cut : cut + size] for cut in range(0, len(part), size)]
        return [batches[number][self.rank :: self.world_size].tolist() for number in random.permutation(len(batches))]


class Collate:
    """Columns of some rows to the padded tensors that a network of ``transformers`` takes.

    Args:
        tokenizer: Knows what and on which side to pad.
        kind: Kind of the task; of a tagging task the labels are padded too, by -100.
        special_tokens: Whether ``special_tokens_mask`` comes along, which no network takes: 1 at the tokens that the
            tokenizer added, and at padding.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, kind: Kind, *, special_tokens: bool = False) -> None:
        collator = DataCollatorForTokenClassification if kind == "tagging" else DataCollatorWithPadding
        self.collator: Callable[[list[dict[str, Any]]], Any] = collator(tokenizer)
        self.columns = (*_INPUTS, "special_tokens_mask") if special_tokens else _INPUTS

    def __call__(self, columns: dict[str, list[Any]]) -> dict[str, Tensor]:
        """Pad the columns of B rows to tensors (B, T)."""
        return dict(self.collator(to_rows(columns, self.columns)))


def to_rows(columns: dict[str, list[Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Turn columns into rows, with those of the named columns that there are."""
    kept = [name for name in names if name in columns]
    return [dict(zip(kept, values, strict=True)) for values in zip(*(columns[name] for name in kept), strict=True)]


class BatchLoader(DataLoader[dict[str, Tensor]]):
    """A loader whose position within an epoch is saved and restored, so that an interrupted run resumes exactly.

    Lightning stores `state_dict` in its checkpoints and skips the batches that were already trained on.
    """

    sampler: LengthBatches
    _done = 0
    _resume_at = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        # A generator, so that the order is drawn at the first batch: Lightning sets the epoch after calling iter.
        self._done, self._resume_at = self._resume_at, 0
        self.sampler.start = self._done
        if hasattr(self.collate_fn, "epoch"):
            self.collate_fn.epoch = self.sampler.epoch
        for batch in super().__iter__():
            self._done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Number of batches of the current epoch that were handed out; none after the last."""
        return {"batches": self._done % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue behind the batches that the state counts, in the next iteration."""
        self._resume_at = state["batches"]


def training_loader(
    data: datasets.Dataset, collate: Callable[..., Any], batch_size: int, num_workers: int = 0
) -> BatchLoader:
    """Make the loader of a training set: shuffled by the run's seed, and shared between the processes of a run.

    The seed is the one of ``lightning.seed_everything``, 0 without it.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    batches = LengthBatches(
        lengths(data),
        batch_size,
        shuffle=True,
        seed=int(os.environ.get("PL_GLOBAL_SEED", 0)),
        rank=torch.distributed.get_rank() if distributed else 0,
        world_size=torch.distributed.get_world_size() if distributed else 1,
    )
    return _loader(data, batches, collate, num_workers)


def evaluation_loader(
    data: datasets.Dataset,
    collate: Callable[..., Any],
    batch_size: int,
    num_workers: int = 0,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> BatchLoader:
    """Make the loader of a set that is judged: every row once.

    It is the same on every process, unless ``rank`` and ``world_size`` ask for the share of one.
    """
    batches = LengthBatches(lengths(data), batch_size, rank=rank, world_size=world_size)
    return _loader(data, batches, collate, num_workers)


def lengths(data: datasets.Dataset) -> list[int]:
    """Number of tokens of each row."""
    if data._indices is not None:  # `select` keeps the old table behind a list of row numbers
        data = data.flatten_indices()
    return [length for chunk in data.data.column("input_ids").chunks for length in chunk.value_lengths().to_pylist()]


def _loader(
    data: datasets.Dataset, batches: LengthBatches, collate: Callable[..., Any], num_workers: int
) -> BatchLoader:
    # The sampler hands out whole batches of row numbers (batch_size=None), which the data set reads in one step. The
    # generator is the loader's own: with the global one every iteration would move the state of dropout and masks.
    return BatchLoader(
        data,
        sampler=batches,
        batch_size=None,
        collate_fn=collate,
        num_workers=num_workers,
        generator=torch.Generator().manual_seed(batches.seed),
    )
