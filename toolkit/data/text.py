"""Plain text for masked language modelling (Devlin et al. 2019, arXiv 1810.04805, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from transformers import PreTrainedTokenizerBase

from toolkit.data.batching import BatchLoader, evaluation_loader, training_loader
from toolkit.data.cache import cached, default_folder, digest
from toolkit.data.masking import Mask, number_words
from toolkit.data.splitting import hold_out
from toolkit.data.text_sources import TextSet, file_texts, hub_texts, task_texts
from toolkit.data.tokenization import build, check_length, fingerprint
from toolkit.models.pretrained import load_tokenizer
from toolkit.tasks import Task, find_task

# Each masked token is tagged by a token of the vocabulary; the data is its own, so there are no files.
MASKED_LM = Task(name="masked_lm", kind="tagging", format="synthetic", texts=("words",), metrics=("accuracy",))

_FORMAT_VERSION = 2  # of a cached entry; raise it when `encode_lines` or `first_of_each` changes what it makes
_CHUNK = 1000


class Text(LightningDataModule):
    """Lines of plain text, with tokens masked anew in every epoch.

    The text comes from files, from the sentences that tasks are trained on, from the hub, or from several of them.
    Each line that is not blank is one text; a line longer than ``max_length`` continues in further rows, so nothing is
    lost. Of texts that the tokenizer reads as the same tokens, from whatever sources, only the first is kept. A part of
    the texts is held out as dev, with all of its rows, and masked the same way each time, so that its losses compare.
    What is masked of a row is a function of the seed, the epoch and the row's number alone.

    Args:
        files: Text files in UTF-8.
        sentences_of: Tasks, by their names or your own, whose training sentences are read without their labels. What a
            task judges on is left out.
        hub: A data set of texts on the hub, or in a local folder.
        root: Folder of the tasks' files, as of the tasks' own data.
        size: Training sentences of a synthetic task, dev included.
        network: The network whose tokenizer is used.
        batch_size: Rows of a training batch, on each device.
        eval_batch_size: Rows of an evaluation batch.
        max_length: Longest row in tokens.
        mask_fraction: Part of the tokens that is to be predicted. Of these 80 % are replaced by the mask, 10 % by a
            random token, and 10 % stay.
        whole_word: Mask all sub-words of a word together; then all of them are replaced by the mask. Words are those of
            the network's tokenizer.
        dev_fraction: Part of the texts that is held out as dev.
        seed: Seed of the split and of the masks.
        cache: Folder for the tokenised data; without it the folder that TOOLKIT_CACHE names, then the platform's.
        num_workers: Processes that load batches; 0 loads them in the main process.

    Raises:
        ValueError: If no text is named or a number is out of its range.
    """

    def __init__(
        self,
        files: list[Path] | None = None,
        *,
        sentences_of: list[str | Task] | None = None,
        hub: TextSet | None = None,
        root: Path | None = None,
        size: int = 2000,
        network: str = "minilm",
        batch_size: int = 32,
        eval_batch_size: int = 64,
        max_length: int = 128,
        mask_fraction: float = 0.15,
        whole_word: bool = False,
        dev_fraction: float = 0.05,
        seed: int = 0,
        cache: Path | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if not files and not sentences_of and hub is None:
            raise ValueError(
                "data.files is empty; give text files, or data.sentences_of=[TASK,...], or data.hub.path=NAME"
            )
        for task in sentences_of or ():
            find_task(task)
        counts = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "size": size}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"data.{name} is {count}, but must be at least 1")
        for name, fraction in (("mask_fraction", mask_fraction), ("dev_fraction", dev_fraction)):
            if not 0 < fraction < 1:
                raise ValueError(f"data.{name} is {fraction}, but must lie between 0 and 1")
        self.files = [Path(file) for file in files or ()]
        self.sentences_of = list(sentences_of or ())
        self.hub = hub
        self.root = None if root is None else Path(root)
        self.size = size
        self.network = network
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.max_length = max_length
        self.mask_fraction = mask_fraction
        self.whole_word = whole_word
        self.dev_fraction = dev_fraction
        self.seed = seed
        self.cache = Path(cache) if cache is not None else default_folder()
        self.num_workers = num_workers
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._splits: dict[str, datasets.Dataset] = {}
        self._fingerprint = ""

    @property
    def task(self) -> Task:
        """What a network learns of the text: the masked tokens."""
        return MASKED_LM

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the network.

        Raises:
            ValueError: If it has no mask token.
        """
        if self._tokenizer is None:
            tokenizer = load_tokenizer(self.network)
            if tokenizer.mask_token is None:
                raise ValueError(f"the tokenizer of {self.network!r} has no mask token; use a masked language model")
            check_length(tokenizer, self.max_length)
            self._tokenizer = tokenizer
        return self._tokenizer

    def split(self, name: str) -> datasets.Dataset:
        """Tokenised rows of ``train`` or ``dev``, not masked, from the cache if they are there.

        Raises:
            ValueError: If there is no such split, or only one text.
        """
        if name not in ("train", "dev"):
            raise ValueError(f"no split {name!r}; there are: train, dev")
        if not self._splits:
            texts = [line for file in self.files for line in file_texts(file)]
            texts += task_texts(self.sentences_of, self.root, self.size)
            texts += hub_texts(self.hub) if self.hub else []
            content = [_FORMAT_VERSION, texts, fingerprint(self.tokenizer), self.max_length, self.whole_word]
            self._fingerprint = digest(content)
            rows = cached(self.cache, f"text-{self._fingerprint}", lambda: self._encode(texts))
            of_text = np.asarray(rows["text"])
            kept = np.unique(of_text)
            if len(kept) < len(texts):
                repeated = len(texts) - len(kept)
                rank_zero_info(f"{repeated:,} of {len(texts):,} texts repeat the tokens of another, and are left out")
            if len(kept) == 1:
                raise ValueError(
                    "there is only one text, which cannot be trained on and held out; each line that is not blank is "
                    "one, so put sentences or paragraphs into lines of their own, or give more text"
                )
            _, dev = hold_out([None] * len(kept), self.dev_fraction, self.seed)
            held_out = np.isin(of_text, kept[dev])  # A text of several rows is on one side.
            self._splits = {
                name: rows.select(np.flatnonzero(chosen)).flatten_indices()
                for name, chosen in (("train", ~held_out), ("dev", held_out))
            }
        return self._splits[name]

    def fingerprints(self) -> dict[str, str]:
        """Hash of everything that the tokenised rows depend on."""
        self.split("train")
        return {"text": self._fingerprint}

    def prepare_data(self) -> None:
        """Tokenise the files into the cache, on one process."""
        self.split("train")

    def setup(self, stage: str | None = None) -> None:
        """Load the tokenised rows from the cache."""
        self.split("train")

    def train_dataloader(self) -> BatchLoader:
        """Shuffled batches of train, masked anew in each epoch: this process's share."""
        collate = Mask(self.tokenizer, self.mask_fraction, self.whole_word, self.seed)
        return training_loader(self.split("train"), collate, self.batch_size, self.num_workers)

    def val_dataloader(self) -> BatchLoader:
        """All of dev, masked the same way each time."""
        return self.loader("dev")

    def loader(self, split: str) -> BatchLoader:
        """Every row of a split once, unshuffled, the same on every process, masked the same way each time.

        Args:
            split: ``train`` or ``dev``.
        """
        # Hidden in a function: the epoch, which Lightning tells to evaluation loaders as well, would change the masks.
        collate = partial(Mask(self.tokenizer, self.mask_fraction, self.whole_word, self.seed))
        return evaluation_loader(self.split(split), collate, self.eval_batch_size, self.num_workers)

    def _encode(self, texts: list[str]) -> datasets.Dataset:
        return first_of_each(encode_lines(texts, self.tokenizer, self.max_length, words=self.whole_word))


def encode_lines(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, *, words: bool = False
) -> datasets.Dataset:
    """Tokenise texts into rows of at most ``max_length`` tokens; a longer text continues in further rows.

    Args:
        texts: The texts.
        tokenizer: A fast tokenizer.
        max_length: Longest row in tokens, special tokens included.
        words: Whether to say which tokens are of one word.

    Returns:
        Columns ``input_ids``, ``attention_mask``, ``special_tokens_mask``, ``index`` (the row's number), ``text`` (its
        text's) and, if the tokenizer makes them, ``token_type_ids``; with ``words`` also ``words`` (`number_words`).
    """
    columns: dict[str, list[Any]] = {}
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        encoding = tokenizer(
            chunk,
            truncation=True,
            max_length=max_length,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
            return_offsets_mapping=words,
        )
        of_text = encoding.pop("overflow_to_sample_mapping")
        if words:
            encoding["words"] = [
                number_words(encoding.word_ids(row), offsets, chunk[text])
                for row, (offsets, text) in enumerate(zip(encoding.pop("offset_mapping"), of_text, strict=True))
            ]
        encoding["text"] = [start + text for text in of_text]
        for name, values in encoding.items():
            columns.setdefault(name, []).extend(values)
    columns["index"] = list(range(len(columns["input_ids"])))
    return build(columns)


def first_of_each(rows: datasets.Dataset) -> datasets.Dataset:
    """Leave out texts of the same tokens as an earlier one: they would be trained on and held out.

    Args:
        rows: Of `encode_lines`.

    Returns:
        The other rows, with the numbers that they have.
    """
    tokens: dict[int, list[int]] = {}
    for text, ids in zip(rows["text"], rows["input_ids"], strict=True):
        tokens.setdefault(text, []).extend(ids)
    first: dict[bytes, int] = {}
    for text, ids in tokens.items():
        first.setdefault(np.asarray(ids, np.int32).tobytes(), text)
    return rows.select(np.flatnonzero(np.isin(rows["text"], [*first.values()])))
