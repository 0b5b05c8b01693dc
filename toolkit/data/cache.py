"""Tokenised splits on disk: found by content, written in one step, rebuilt when damaged, swept of what was killed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from filelock import FileLock, Timeout

from toolkit.files.checksums import checksum

logger = logging.getLogger(__name__)
_MANIFEST = "sha256.json"
_BUILDING = ".building-"  # What a folder's name begins with in which an entry is written.
_LOCK = ".lock"


def default_folder() -> Path:
    """Folder of the cache: ``TOOLKIT_CACHE``, else the platform's folder for caches."""
    if folder := os.environ.get("TOOLKIT_CACHE"):
        return Path(folder)
    if sys.platform == "win32":
        parent = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        parent = Path.home() / "Library" / "Caches"
    else:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return parent / "lightning-compression-toolkit"


def digest(content: Any) -> str:
    """Hash of anything that JSON can hold, 32 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    # Surrogates cannot come from UTF-8 files, but they can from a user's own code.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def cached(folder: Path, name: str, build: Callable[[], datasets.Dataset]) -> datasets.Dataset:
    """Load a data set from the cache, or build it and store it there.

    An entry is written beside its place and renamed, so that no process ever sees half of one; of several processes
    that build the same entry the first wins. The entry lists the hashes of its files: one that does not match is
    built again. What processes left that were killed while they built is removed before the next entry is built.

    Args:
        folder: Folder of the cache; made if missing.
        name: Name of the entry; it must depend on everything that the content depends on.
        build: Makes the data set.

    Raises:
        PermissionError: If the folder cannot be written.
    """
    entry = folder / name
    if _is_intact(entry):
        return datasets.load_from_disk(str(entry))
    if entry.exists():
        logger.warning("%s: the cached entry is damaged; it is built again", entry)
    with _beside(folder) as beside:
        _save(build(), beside / "new")
        if entry.exists() and not _is_intact(entry):
            os.replace(entry, beside / "damaged")
        try:
            os.rename(beside / "new", entry)
        except OSError:
            if not _is_intact(entry):  # else another process was faster
                raise
    return datasets.load_from_disk(str(entry))


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder of this process's own in the cache, locked while it is there: others remove those without a lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Nobody sweeps between the making of a folder and its locking. Others who share the cache take this lock, too.
        with FileLock(folder / _LOCK, mode=0o666):
            _sweep(folder)
            beside = Path(tempfile.mkdtemp(dir=folder, prefix=_BUILDING))
            held = FileLock(beside / _LOCK)
            held.acquire()
    except PermissionError as error:
        raise PermissionError(f"{folder}: the cache cannot be written; set data.cache or TOOLKIT_CACHE") from error
    try:
        yield beside
    finally:
        held.release()
        shutil.rmtree(beside, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed: the operating system released their locks."""
    for left in folder.glob(f"{_BUILDING}*"):
        lock = FileLock(left / _LOCK)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):  # It is being built in, has just been removed, or is another user's.
            continue
        lock.release()
        shutil.rmtree(left, ignore_errors=True)


def _save(data: datasets.Dataset, entry: Path) -> None:
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        data.save_to_disk(str(entry))
    finally:
        if shown:
            enable_progress_bars()
    hashes = {path.name: checksum(path) for path in sorted(entry.iterdir())}
    (entry / _MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")


def _is_intact(entry: Path) -> bool:
    try:
        hashes = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
        return bool(hashes) and all(checksum(entry / name) == value for name, value in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False
