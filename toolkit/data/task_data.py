"""The data of every labelled task as a LightningDataModule."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import datasets
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from toolkit.data.batching import BatchLoader, Collate, evaluation_loader, training_loader
from toolkit.data.cache import cached, default_folder, digest
from toolkit.data.sources import read_split
from toolkit.data.splitting import hold_out, strata, stratified_sample
from toolkit.data.tokenization import check_length, encode, fingerprint
from toolkit.models.pretrained import load_tokenizer
from toolkit.tasks import IGNORED, Task, find_task

logger = logging.getLogger(__name__)
_FORMAT_VERSION = 3  # of a cached entry; raise it when `encode` changes what it makes


class TaskData(LightningDataModule):
    """Sentences, pairs or tagged words of a task: read, split, tokenised once, and batched by length.

    The training file is split into train and dev before anything else happens; the official dev set (or test set,
    where its labels are public) is ``test``, the set that results are judged on. A task that has a dev set beside its
    test set uses that as dev. Splits and limits are drawn in proportion to the labels and depend on ``split_seed``
    alone; the order of the training batches depends on the run's seed and the epoch.

    Args:
        task: Name of a task, such as ``mrpc`` or ``upos`` (an unknown one is answered by all names), or a task of your
            own.
        network: The network whose tokenizer is used.
        root: Folder of the data files; without it the folder that the environment variable TOOLKIT_DATA names, then
            the current folder if it holds them, then the Hugging Face hub.
        batch_size: Sentences of a training batch, on each device.
        eval_batch_size: Sentences of an evaluation batch.
        max_length: Longest sequence in tokens; what is longer is cut.
        limit_train: Train on so many sentences only.
        limit_eval: Use so many sentences of dev and test only.
        dev_fraction: Part of the training file that is held out as dev.
        dev: Where dev comes from: ``split`` from the training file; ``official`` takes the set that results are judged
            on, as some papers do, which makes them too good.
        split_seed: Seed of the split into train and dev and of the limits.
        word_label: Which sub-word carries the label of a word.
        size: Training sentences of a synthetic task, dev included.
        cache: Folder for the tokenised data; without it the folder that TOOLKIT_CACHE names, then the platform's.
        num_workers: Processes that load batches; 0 loads them in the main process.

    Raises:
        ValueError: If the task is unknown or a number is out of its range.

    Example:
        >>> data = TaskData("synthetic_sentiment", size=100)
        >>> data.task.labels, len(data.sentences("train")), len(data.sentences("dev"))
        (('negative', 'positive'), 90, 10)
    """

    def __init__(
        self,
        task: str | Task = "synthetic_sentiment",
        *,
        network: str = "minilm",
        root: Path | None = None,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        max_length: int = 128,
        limit_train: int | None = None,
        limit_eval: int | None = None,
        dev_fraction: float = 0.1,
        dev: Literal["split", "official"] = "split",
        split_seed: int = 0,
        word_label: Literal["last", "first"] = "last",
        size: int = 2000,
        cache: Path | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self._unresolved = find_task(task)
        for name, value in {
            "batch_size": batch_size,
            "eval_batch_size": eval_batch_size,
            "limit_train": limit_train,
            "limit_eval": limit_eval,
            "size": size,
        }.items():
            if value is not None and value < 1:
                raise ValueError(f"data.{name} is {value}, but must be at least 1")
        if not 0 < dev_fraction < 1:
            raise ValueError(f"data.dev_fraction is {dev_fraction}, but must lie between 0 and 1")
        if dev not in ("split", "official"):
            raise ValueError(f"data.dev is {dev!r}, but must be 'split' or 'official'")
        if word_label not in ("last", "first"):
            raise ValueError(f"data.word_label is {word_label!r}, but must be 'last' or 'first'")
        self.network = network
        self.root = None if root is None else Path(root)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.max_length = max_length
        self.limit_train = limit_train
        self.limit_eval = limit_eval
        self.dev_fraction = dev_fraction
        self.dev = dev
        self.split_seed = split_seed
        self.word_label = word_label
        self.size = size
        self.cache = Path(cache) if cache is not None else default_folder()
        self.num_workers = num_workers
        self._task: Task | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._splits: dict[str, datasets.Dataset] = {}
        self._fingerprints: dict[str, str] = {}
        self._lost: dict[str, list[list[int]]] = {}

    @property
    def task(self) -> Task:
        """The task, with the labels of the data where it lists none itself.

        They are those of the training file, sorted. Tags that only dev or test has follow behind them: outputs that are
        never trained, so that a word with such a tag counts as an error instead of disappearing from the score.
        """
        if self._task is None:
            self._task = self._with_labels(self._unresolved)
        return self._task

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the network."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.network, words=self._unresolved.kind == "tagging")
            check_length(self._tokenizer, self.max_length)
        return self._tokenizer

    @property
    def splits(self) -> tuple[str, ...]:
        """The sets that results are judged on: ``("test",)``, or ``("test", "test_mismatched")``."""
        return self._unresolved.judged

    @property
    def dev_is_judged(self) -> bool:
        """Whether decisions on dev are made on the very set that results are judged on."""
        return self.dev == "official" and not self._has_dev

    @property
    def _has_dev(self) -> bool:
        task = self._unresolved  # The labels of the other one may have to be read.
        return "dev" in (task.files or (task.hub.splits if task.hub else {}))

    def sentences(self, split: str) -> list[dict[str, Any]]:
        """Rows of a split: ``sentence`` (pairs: ``sentence1``, ``sentence2``) and ``label``, or ``words`` and ``tags``.

        Args:
            split: ``train``, ``dev``, or one of `splits`.

        Raises:
            ValueError: If there is no such split.
        """
        if split not in ("train", "dev", *self.splits):
            raise ValueError(f"no split {split!r}; there are: {', '.join(('train', 'dev', *self.splits))}")
        if split == "dev" and self.dev_is_judged:
            split = "test"
        if split == "train" or (split == "dev" and not self._has_dev):
            rows = self._read("train")
            if not self._has_dev and self.dev == "split":
                kept = hold_out(strata(rows, self.task), self.dev_fraction, self.split_seed)
                rows = [rows[number] for number in kept[split == "dev"]]
        else:
            rows = self._read(split)
        limit = self.limit_train if split == "train" else self.limit_eval
        if limit is None:
            return rows
        return [rows[number] for number in stratified_sample(strata(rows, self.task), limit, self.split_seed)]

    def split(self, name: str) -> datasets.Dataset:
        """Tokenised rows of a split, from the cache if they are there.

        Args:
            name: ``train``, ``dev``, or one of `splits`.

        Returns:
            Columns ``input_ids``, ``attention_mask``, ``token_type_ids`` if there are any, ``special_tokens_mask``,
            ``labels``, ``index`` and, of a tagging task, ``lost``.
        """
        if name not in self._splits:
            entry = f"{re.sub(r'[^A-Za-z0-9_]+', '-', self.task.name)}-{name}-{self.fingerprint(name)}"
            self._splits[name] = cached(self.cache, entry, lambda: self._encode(self.sentences(name)))
            self._warn_of_lost_words(name)
        return self._splits[name]

    def fingerprint(self, split: str) -> str:
        """Hash of everything that the tokenised rows of a split depend on, 32 hexadecimal digits.

        Args:
            split: ``train``, ``dev``, or one of `splits`.
        """
        if split not in self._fingerprints:
            options = [self.max_length, self.word_label if self.task.kind == "tagging" else None]
            labels = [self.task.kind, self.task.labels]
            content = [_FORMAT_VERSION, labels, self.sentences(split), fingerprint(self.tokenizer), options]
            self._fingerprints[split] = digest(content)
        return self._fingerprints[split]

    def fingerprints(self) -> dict[str, str]:
        """Of every split that a run reads, by its name."""
        return {split: self.fingerprint(split) for split in ("train", "dev", *self.splits)}

    def lost_labels(self, split: str, rows: Tensor) -> Tensor:
        """Label ids of the words of tagged sentences that ``max_length`` cut off.

        The network makes no prediction for them. A score that is to count them as errors, as it should, appends them to
        the labels of their sentences, with -1, which is no label, as the prediction for each.

        Args:
            split: ``train``, ``dev``, or one of `splits`.
            rows: (B,) numbers of the sentences, as ``index`` of a batch gives them.

        Returns:
            (B, T) of the sentence that lost most, padded by -100.
        """
        if split not in self._lost:
            self._lost[split] = list(self.split(split)["lost"]) if self.task.kind == "tagging" else []
        lost = [torch.tensor(self._lost[split][row], dtype=torch.int64) for row in rows.tolist()]
        return pad_sequence(lost, batch_first=True, padding_value=IGNORED)

    def loader(self, split: str) -> BatchLoader:
        """Every row of a split once, unshuffled, longest first, the same on every process.

        Args:
            split: ``train``, ``dev``, or one of `splits`.
        """
        return evaluation_loader(self.split(split), self._collate(), self.eval_batch_size, self.num_workers)

    def share(self, split: str, rank: int = 0, world_size: int = 1) -> BatchLoader:
        """One process's share of the batches of `loader`, with the column ``special_tokens_mask``, for statistics.

        Together the processes have every row once.

        Args:
            split: ``train``, ``dev``, or one of `splits`.
            rank: Number of the process.
            world_size: Number of processes.
        """
        collate = Collate(self.tokenizer, self.task.kind, special_tokens=True)
        return evaluation_loader(
            self.split(split), collate, self.eval_batch_size, self.num_workers, rank=rank, world_size=world_size
        )

    def prepare_data(self) -> None:
        """Read and tokenise everything into the cache, on one process."""
        for split in ("train", "dev", *self.splits):
            self.split(split)

    def setup(self, stage: str | None = None) -> None:
        """Load what a stage needs from the cache.

        Args:
            stage: ``fit``, ``validate``, ``test``, ``predict``, or none for all of them.
        """
        needed = {"fit": ("train", "dev"), "validate": ("dev",), "test": self.splits, "predict": self.splits}
        for split in needed.get(stage or "", ("train", "dev", *self.splits)):
            self.split(split)

    def train_dataloader(self) -> BatchLoader:
        """Shuffled batches of train: this process's share."""
        return training_loader(self.split("train"), self._collate(), self.batch_size, self.num_workers)

    def val_dataloader(self) -> BatchLoader:
        """All of dev."""
        return self.loader("dev")

    def test_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """All of the judged set, or a list where a task has several."""
        loaders = [self.loader(split) for split in self.splits]
        return loaders if len(loaders) > 1 else loaders[0]

    def predict_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """The same as in testing."""
        return self.test_dataloader()

    def _read(self, split: str) -> list[dict[str, Any]]:
        if split not in self._rows:
            self._rows[split] = read_split(self.task, split, self.root, self.size)
        return self._rows[split]

    def _with_labels(self, task: Task) -> Task:
        if task.kind == "regression" or task.labels:
            return task
        rows = self._rows["train"] = read_split(task, "train", self.root, self.size)
        if task.kind == "classification":
            return replace(task, labels=tuple(sorted({row["label"] for row in rows})))
        labels = sorted({tag for row in rows for tag in row["tags"]})
        known = task.files or (task.hub.splits if task.hub else {})
        for split in sorted(known, key=lambda name: (name != "train", name != "dev", name)):
            self._rows[split] = read_split(task, split, self.root, self.size) if split != "train" else rows
            unseen = sorted({tag for row in self._rows[split] for tag in row["tags"]}.difference(labels))
            if unseen:
                _warn(
                    f"task {task.name!r}: split {split!r} has tags that training lacks ({', '.join(unseen)}); "
                    "words with them count as errors"
                )
            labels += unseen
        return replace(task, labels=tuple(labels))

    def _encode(self, rows: list[dict[str, Any]]) -> datasets.Dataset:
        return encode(rows, self.task, self.tokenizer, self.max_length, self.word_label)

    def _collate(self) -> Collate:
        return Collate(self.tokenizer, self.task.kind)

    def _warn_of_lost_words(self, split: str) -> None:
        if self.task.kind == "tagging" and (count := sum(map(len, self._splits[split]["lost"]))):
            _warn(
                f"task {self.task.name!r}, split {split!r}: {count} words stand behind "
                f"data.max_length={self.max_length} tokens and get no prediction; raise it to keep them"
            )


@rank_zero_only
def _warn(message: str) -> None:
    logger.warning(message)
