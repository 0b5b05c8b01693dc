"""Batches: what each process sees, what is padded, and where an interrupted run goes on."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from transformers import AutoTokenizer

from toolkit.data.batching import Collate, LengthBatches, evaluation_loader, lengths, training_loader

sizes = st.lists(st.integers(1, 40), min_size=4, max_size=120)


def order(rows: list[int], batch_size: int, epoch: int = 0, **options: Any) -> list[list[int]]:
    batches = LengthBatches(rows, batch_size, shuffle=True, window=3, **options)
    batches.set_epoch(epoch)
    assert len(list(batches)) == len(batches)
    return list(batches)


@given(sizes, st.integers(1, 9), st.integers(0, 3))
def test_training_batches_are_full_and_hold_no_row_twice(rows: list[int], batch_size: int, seed: int) -> None:
    batches = order(rows, batch_size, seed=seed)
    counts = Counter(row for batch in batches for row in batch)
    assert set(counts.values()) == {1}
    assert set(counts) <= set(range(len(rows)))
    assert {len(batch) for batch in batches} == {min(batch_size, len(rows))}
    assert len(batches) == max(1, len(rows) // batch_size)


@given(sizes, st.integers(1, 4), st.sampled_from([1, 2, 4]))
def test_processes_share_the_global_batches(rows: list[int], batch_size: int, world_size: int) -> None:
    whole = order(rows, batch_size * world_size, epoch=2, seed=1)
    parts = [order(rows, batch_size, epoch=2, seed=1, rank=rank, world_size=world_size) for rank in range(world_size)]
    for number, batch in enumerate(whole):
        assert [batch[rank::world_size] for rank in range(world_size)] == [part[number] for part in parts]


def test_epochs_and_seeds_change_the_order_and_nothing_else_does() -> None:
    rows = list(range(1, 65))
    first = order(rows, 8)
    assert order(rows, 8) == first
    assert order(rows, 8, epoch=1) != first
    assert order(rows, 8, seed=1) != first


def test_every_row_comes_within_a_few_epochs() -> None:
    seen = {row for epoch in range(20) for batch in order([1] * 10 + [50], 4, epoch) for row in batch}
    assert seen == set(range(11))


def test_sorting_by_length_saves_padding() -> None:
    random = torch.Generator().manual_seed(0)
    rows = torch.randint(5, 60, (2000,), generator=random).tolist()
    widest = [max(rows[row] for row in batch) for batch in LengthBatches(rows, 20, shuffle=True)]
    tokens = sum(rows[row] for batch in LengthBatches(rows, 20, shuffle=True) for row in batch)
    assert 20 * sum(widest) < 1.1 * tokens  # shuffled rows need 1.8 times the tokens


@given(sizes, st.integers(1, 9))
def test_evaluation_takes_every_row_longest_first(rows: list[int], batch_size: int) -> None:
    batches = LengthBatches(rows, batch_size)
    flat = [row for batch in batches for row in batch]
    assert sorted(flat) == list(range(len(rows)))
    assert [rows[row] for row in flat] == sorted(rows, reverse=True)
    assert len(list(batches)) == len(batches)


@given(sizes, st.integers(1, 9), st.sampled_from([1, 2, 3, 7]))
def test_shares_of_an_evaluation_are_its_batches(rows: list[int], batch_size: int, world_size: int) -> None:
    shares = [LengthBatches(rows, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert [len(list(share)) for share in shares] == [len(share) for share in shares]
    whole = list(LengthBatches(rows, batch_size))
    assert sorted(batch for share in shares for batch in share) == sorted(whole)


def test_impossible_batches() -> None:
    with pytest.raises(ValueError, match="batch size is 0"):
        LengthBatches([1], 0)
    with pytest.raises(ValueError, match="1 training rows are too few for 2 processes"):
        LengthBatches([1], 1, shuffle=True, world_size=2)


@pytest.fixture
def rows() -> datasets.Dataset:
    ids = [[1, *[5] * (number % 7), 2] for number in range(50)]
    labels = [number % 2 for number in range(50)]
    masks = [[1] * len(row) for row in ids]
    return datasets.Dataset.from_dict({"input_ids": ids, "attention_mask": masks, "labels": labels, "index": range(50)})


def test_lengths_also_of_selected_rows(rows: datasets.Dataset) -> None:
    assert lengths(rows) == [len(ids) for ids in rows["input_ids"]]
    assert lengths(rows.select([6, 0, 3])) == [8, 2, 5]


@pytest.mark.parametrize("side", ["left", "right"])
def test_tagging_labels_are_padded_with_the_tokens(side: str, tiny_network: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_network, padding_side=side)
    columns: dict[str, list[Any]] = {
        "input_ids": [[2, 7, 3], [2, 3]],
        "attention_mask": [[1, 1, 1], [1, 1]],
        "labels": [[-100, 4, -100], [-100, -100]],
        "index": [8, 5],
        "lost": [[], [1]],
    }
    batch = Collate(tokenizer, "tagging")(columns)
    assert set(batch) == {"input_ids", "attention_mask", "labels", "index"}
    padding = slice(0, 1) if side == "left" else slice(2, 3)
    assert batch["labels"][1, padding].item() == -100
    assert batch["attention_mask"][1, padding].item() == 0
    assert batch["labels"].tolist()[0] == [-100, 4, -100]
    assert batch["index"].tolist() == [8, 5]


@pytest.mark.parametrize("kind", ["classification", "tagging"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_special_where_the_mask_is_asked_for(side: str, kind: Any, tiny_network: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_network, padding_side=side)
    columns: dict[str, list[Any]] = {
        "input_ids": [[2, 1, 7, 3], [2, 3]],
        "attention_mask": [[1, 1, 1, 1], [1, 1]],
        "special_tokens_mask": [[1, 0, 0, 1], [1, 1]],
        "labels": [[-100, 4, 4, -100], [-100, -100]] if kind == "tagging" else [0, 1],
        "index": [8, 5],
    }
    batch = Collate(tokenizer, kind, special_tokens=True)(columns)
    assert batch["special_tokens_mask"].tolist() == [[1, 0, 0, 1], [1, 1, 1, 1]]
    assert Collate(tokenizer, kind)(columns).keys() == batch.keys() - {"special_tokens_mask"}


@pytest.mark.parametrize("workers", [0, 1])
def test_loaders_leave_the_global_generators_alone(
    workers: int, rows: datasets.Dataset, tiny_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collate = Collate(AutoTokenizer.from_pretrained(tiny_network), "classification")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    train = training_loader(rows, collate, 8, workers)
    assert train.sampler.seed == 7
    indices = [batch["index"].tolist() for batch in train]
    assert indices == list(LengthBatches(lengths(rows), 8, shuffle=True, seed=7))
    judged = torch.cat([batch["index"] for batch in evaluation_loader(rows, collate, 8, workers)])
    assert sorted(judged.tolist()) == list(range(50))
    assert torch.equal(torch.get_rng_state(), before)


# Lightning's own: advice on workers and on a folder that is resumed from, and a name that torch has deprecated.
training = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:Checkpoint directory .* is not empty",
    "ignore:.*isinstance.treespec, LeafSpec:FutureWarning",
)


class Recorder(LightningModule):
    """Trains one weight and writes down the rows that it saw."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []
        self.stop_after = stop_after

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        if len(self.seen) == self.stop_after:
            raise RuntimeError("interrupted")
        self.seen.append(batch["index"].tolist())
        return (self.weight - batch["index"].float().mean()) ** 2

    def predict_step(self, batch: dict[str, Tensor]) -> Tensor:
        return batch["index"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def trainer(folder: Path, **options: Any) -> Trainer:
    return Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=[ModelCheckpoint(dirpath=folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")],
        **options,
    )


@training
@pytest.mark.parametrize("stop_after", [2, 6, 8, 12, 15])
def test_run_resumes_with_the_batches_that_it_missed(
    stop_after: int, rows: datasets.Dataset, tiny_network: Path, tmp_path: Path
) -> None:
    collate = Collate(AutoTokenizer.from_pretrained(tiny_network), "classification")
    whole = Recorder()
    trainer(tmp_path / "whole").fit(whole, training_loader(rows, collate, 8))
    assert len(whole.seen) == 18
    assert whole.seen[:6] != whole.seen[6:12]
    interrupted = Recorder(stop_after)
    with pytest.raises(RuntimeError, match="interrupted"):
        trainer(tmp_path / "parts").fit(interrupted, training_loader(rows, collate, 8))
    resumed = Recorder()
    trainer(tmp_path / "parts").fit(
        resumed,
        training_loader(rows, collate, 8),
        ckpt_path=os.fspath(tmp_path / "parts" / f"step={stop_after}.ckpt"),
        weights_only=True,
    )
    assert interrupted.seen + resumed.seen == whole.seen
    assert torch.equal(resumed.weight, whole.weight)


@training
def test_lightning_predicts_every_row(rows: datasets.Dataset, tiny_network: Path, tmp_path: Path) -> None:
    collate = Collate(AutoTokenizer.from_pretrained(tiny_network), "classification")
    predictions = trainer(tmp_path).predict(Recorder(), evaluation_loader(rows, collate, 8))
    assert predictions is not None
    assert sorted(torch.cat(predictions).tolist()) == list(range(50))  # type: ignore[arg-type]
