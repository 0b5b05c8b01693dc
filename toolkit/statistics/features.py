"""Hidden states of a split on disk, memory-mapped: written in one pass, found again, rebuilt when damaged.

The folder of a split's features::

    states.npy       (R, L, D), one row for each example
    labels.npy       (R,)
    sentences.npy    (R,), number of the sentence that each row belongs to
    features.json    what they were made of, and the sha256 of each file; written last
    statistics.ckpt  sums of the statistics that were collected in the same pass

While it is being filled it lies beside its place, as ``.NAME.partial``.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock, Timeout
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch import Tensor
from torchmetrics import Metric
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.files.checksums import checksum
from toolkit.files.sealed import is_sealed
from toolkit.models.pooling import Pooling
from toolkit.statistics.collect import SAVE_EVERY, collect, hold_total
from toolkit.statistics.hidden_states import HiddenBatch, Precision, Statistic, Words, word_starts
from toolkit.statistics.resume import load_state, network_fingerprint, save_state, statistics_fingerprint
from toolkit.tasks import IGNORED

_FORMAT_VERSION = 2  # of a folder; raise it when what is written changes
_CHUNK = 4096  # rows copied at once: what is read of the file is read once
_MANIFEST, _PLAN = "features.json", "plan.json"
_STATISTICS, _PASS = "statistics.ckpt", "pass.ckpt"
_FILES = {"states.npy", "labels.npy", "sentences.npy", _MANIFEST, _STATISTICS}


@dataclass(frozen=True, kw_only=True)
class Features:
    """Hidden states of a split: R examples (sentences, or labelled words), L layers of size D.

    The rows stand in the order of the split, words in the order of their sentences.

    Args:
        states: ``(R, L, D)`` float16 or float32, memory-mapped and read-only.
        labels: Class ids ``(R,)`` int64, or values ``(R,)`` float64 of a regression task.
        sentences: Number of the sentence that each row belongs to, ``(R,)`` int64.
        lost: Number of words that have no row, because ``max_length`` cut them off.
        seconds: That it took to compute and write them, of all attempts together.
    """

    states: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    sentences: npt.NDArray[np.int64]
    lost: int
    seconds: float = 0.0

    def matrix(self, layers: Sequence[int] | None = None, rows: Sequence[int] | Tensor | None = None) -> Tensor:
        """Copy features to memory, one neuron in a column, layer by layer.

        Args:
            layers: K layers, in the order of the columns; none for all.
            rows: Numbers of the examples, in the order of the rows; none for all.

        Returns:
            ``(R, K·D)`` float32.

        Raises:
            IndexError: If there is no such layer or row.
        """
        num_rows, num_layers, size = self.states.shape
        chosen = np.arange(num_layers)[slice(None) if layers is None else np.asarray(layers, dtype=np.int64)]
        wanted = np.arange(num_rows)[slice(None) if rows is None else np.asarray(rows, dtype=np.int64)]
        matrix = np.empty((len(wanted), len(chosen), size), dtype=np.float32)
        for start in range(0, len(wanted), _CHUNK):
            stop = start + _CHUNK
            part = self.states[start:stop] if rows is None else self.states[wanted[start:stop]]
            matrix[start:stop] = part if layers is None else part[:, chosen]
        return torch.from_numpy(matrix.reshape(len(wanted), -1))

    @classmethod
    def read(cls, folder: Path) -> "Features":
        """Open what `extract_features` wrote, without checking the files' hashes.

        Raises:
            FileNotFoundError: If the folder holds no features.
            ValueError: If a file cannot be read, or the files do not belong together.
        """
        if not (folder / _MANIFEST).is_file():
            raise FileNotFoundError(f"{folder} holds no features; write them with extract_features.")
        try:
            # Mapped, a file cannot claim a size that it does not have; and it may not hold objects.
            states, labels, sentences = (
                np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in ("states", "labels", "sentences")
            )
            manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            lost, seconds = manifest["lost"], float(manifest["seconds"])
            shapes = {labels.shape, sentences.shape, states.shape[:1]}
            if states.ndim != 3 or len(shapes) > 1 or type(lost) is not int or not 0 <= seconds < math.inf:
                raise ValueError("their shapes do not belong together")
        except Exception as error:  # NumPy parses a file's header as Python, with whatever errors that gives.
            raise ValueError(f"{folder} holds damaged features ({error}); delete it to extract them again.") from error
        labels, sentences = np.array(labels), np.array(sentences)
        return cls(states=states, labels=labels, sentences=sentences, lost=lost, seconds=seconds)


def extract_features(
    network: PreTrainedModel,
    data: TaskData,
    split: str,
    folder: Path,
    *,
    dtype: Literal["float16", "float32"] = "float16",
    pooling: Pooling = "mean",
    words: Words = "labelled",
    trainer: Callable[..., Trainer] = Trainer,
    precision: Precision = "32-true",
    statistics: Sequence[Statistic] = (),
    save_every: timedelta = SAVE_EVERY,
) -> Features:
    """Write the hidden states of a split to a folder, in one pass; or open them if they are there already.

    An interrupted extraction continues where it was last saved. All processes of a distributed run write to the same
    files, each its own rows, so they must see the same folder.

    Args:
        network: A network of `transformers`; it is left in its mode and on its device.
        data: The task's data.
        split: ``train``, ``dev``, or one of ``data.splits``.
        folder: Where the features go.
        dtype: Of the numbers on disk; float16 keeps three digits.
        pooling: What stands for a sentence (see `hidden_batch`).
        words: What stands for a word of a tagging task (see `hidden_batch`).
        trainer: Makes the trainer that runs the pass.
        precision: Of the network (see `collect`).
        statistics: Fed in the same pass (see `collect`). Beside features that are there already their sums are found,
            too; if they were not collected then, they are in a pass of their own.
        save_every: Time between two savings of what an interrupted extraction continues from.

    Raises:
        FileExistsError: If the folder holds something else, or the features of another network, data or options, or
            another run is extracting to it.
        ValueError: If the split has no rows.
        FloatingPointError: If a state is not finite, or too large for float16.
    """
    folder = Path(folder)
    rows = data.split(split)
    labels, sentences, lost = _examples(rows, data.task.kind == "tagging")
    if not len(labels):
        raise ValueError(f"split {split!r} of {data.task.name} has no rows to extract features of.")
    plan = {
        "version": _FORMAT_VERSION,
        "network": network_fingerprint(network),
        "data": data.fingerprint(split),
        "split": split,
        **({"words": words} if data.task.kind == "tagging" else {"pooling": pooling}),
        "precision": precision,
        "dtype": dtype,
        "shape": [len(labels), network.config.num_hidden_layers + 1, network.config.hidden_size],
        "lost": lost,
    }
    key = {"features": json.dumps(plan), "statistics": statistics_fingerprint(statistics)}
    options: dict[str, Any] = {"split": split, "pooling": pooling, "words": words}
    options |= {"trainer": trainer, "precision": precision, "save_every": save_every}
    if _is_there(folder, plan):
        if statistics and not load_state(folder / _STATISTICS, key, statistics)[0]:
            if (folder / _STATISTICS).exists() and not is_sealed(folder / _STATISTICS):
                rank_zero_warn(f"{folder / _STATISTICS} is damaged; its statistics are collected again.")
            collect(network, data, statistics, **options)
            if _is_first_process():
                save_state(folder / _STATISTICS, key, 1, statistics)
        for statistic in statistics:
            if isinstance(statistic, Metric):
                hold_total(statistic)
        return Features.read(folder)
    beside = folder.with_name(f".{folder.name}.partial")
    with _alone(folder) if _is_first_process() else nullcontext():
        if _is_first_process():
            _prepare(beside, plan)
        writer = _Writer(beside / "states.npy")
        collect(
            network, data, [writer, *statistics],
            resume_file=beside / _PASS, fingerprint=str(plan["network"]), **options,
        )  # fmt: skip
        writer.close()
        if _is_first_process():
            if statistics:
                save_state(beside / _STATISTICS, key, 1, statistics)
            np.save(beside / "labels.npy", labels)
            np.save(beside / "sentences.npy", sentences)
            for file in (*beside.glob(f"*{_PASS}*"), beside / _PLAN):
                file.unlink()
            hashes = {name: checksum(beside / name) for name in ("states.npy", "labels.npy", "sentences.npy")}
            manifest = {**plan, "sha256": hashes, "seconds": round(writer.seconds(), 3)}
            (beside / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            if folder.exists():  # damaged, or empty
                shutil.rmtree(folder)
            beside.rename(folder)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
    return Features.read(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs, which may share the folder, from extracting to it at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(
            f"Another run is extracting features to {folder}; wait for it, and give the same command again, or choose "
            "another folder."
        ) from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


class _Writer:
    """A statistic that writes the rows of each batch to their places in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._states: np.memmap[Any, Any] | None = None
        self._begun = time.monotonic()
        self._before = 0.0  # Seconds of earlier attempts, until they last saved.

    def seconds(self) -> float:
        """That the extraction took until now."""
        return self._before + time.monotonic() - self._begun

    def observe(self, batch: HiddenBatch) -> None:
        """Write the rows of a batch."""
        if self._states is None:  # In every process, once the first one has made the file.
            self._states = np.load(self.file, mmap_mode="r+")
        largest = max(abs(float(extreme)) for extreme in batch.rows.aminmax()) if batch.rows.numel() else 0.0
        if largest > float(np.finfo(self._states.dtype).max):
            raise FloatingPointError(
                f"a hidden state of size {largest} does not fit {self._states.dtype}; give dtype='float32' (of a "
                "recipe: features_dtype=float32 of model, model.statistics or model.redundancy)."
            )
        dtype = torch.float16 if self._states.dtype == np.float16 else torch.float32
        rows = batch.rows.transpose(0, 1).to(dtype, memory_format=torch.contiguous_format)  # (R, L, D)
        self._states[batch.positions.cpu().numpy()] = rows.cpu().numpy()

    def state_dict(self) -> dict[str, Any]:
        """The time it took: what was written is in the file, and with this call on the disk."""
        self.close()
        return {"seconds": self.seconds()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the time that earlier attempts took: what was written is in the file."""
        self._before = state["seconds"]

    def close(self) -> None:
        """Write to the disk what is still in memory."""
        if self._states is not None:
            self._states.flush()


def _examples(rows: datasets.Dataset, words: bool) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], int]:
    """Labels and sentence numbers of the examples of a split, in its order, and the number of lost words."""
    if not words:
        labels = np.asarray(rows["labels"])
        return labels, np.arange(len(labels), dtype=np.int64), 0
    flat = np.concatenate([np.asarray(line, dtype=np.int64) for line in rows["labels"]])
    sentences = np.repeat(np.arange(len(rows), dtype=np.int64), np.diff(word_starts(rows).numpy()))
    return flat[flat != IGNORED], sentences, sum(map(len, rows["lost"]))


def _prepare(beside: Path, plan: Mapping[str, Any]) -> None:
    """Keep the half-written folder of the same extraction, or begin a new one."""
    try:
        states = np.load(beside / "states.npy", mmap_mode="r")
        stored = json.loads((beside / _PLAN).read_text(encoding="utf-8"))
        if stored == plan and list(states.shape) == plan["shape"] and states.dtype == plan["dtype"]:
            return
    except (OSError, ValueError):
        pass  # None, or one without use.
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    states = beside / "states.npy"
    np.lib.format.open_memmap(states, mode="w+", dtype=plan["dtype"], shape=tuple(plan["shape"]))
    if hasattr(os, "posix_fallocate"):
        # The disk may lack the room: said now, by an error. Writing to the mapped memory would end in a signal.
        with states.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, states.stat().st_size)
    (beside / _PLAN).write_text(json.dumps(plan), encoding="utf-8")


def _is_there(folder: Path, plan: Mapping[str, Any]) -> bool:
    """Whether a folder holds just these features, undamaged."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        stored = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        hashes = stored.pop("sha256")
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        if folder.is_dir() and {file.name for file in folder.iterdir()} <= _FILES:
            return _rebuilt(folder)
        raise FileExistsError(f"{folder} is not empty and holds no features; choose another folder.") from error
    if differing := [name for name in plan if stored.get(name) != plan[name]]:
        raise FileExistsError(
            f"{folder} holds other features ({', '.join(differing)} differ); delete it, or choose another folder."
        )
    if all((folder / name).is_file() and checksum(folder / name) == value for name, value in hashes.items()):
        return True
    return _rebuilt(folder)


def _rebuilt(folder: Path) -> bool:
    rank_zero_warn(f"{folder} is damaged; its features are extracted again.")
    return False


def _is_first_process() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0
