"""Errors of the machine are recognised in whatever words a library says them; others are left alone."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from toolkit.runs.faults import explained, is_full, is_memory


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError("1000000 requested and 131056 written"),
    ],
)
def test_a_full_disk_is_recognised(error: Exception, tmp_path: Path) -> None:
    assert is_full(error)
    says = rf"The disk of {tmp_path} is full .* data\.cache=FOLDER"
    with pytest.raises(OSError, match=says) as raised, explained(tmp_path, "data.cache"):
        raise error
    assert raised.value.__cause__ is error


def test_a_full_disk_behind_another_error_is_recognised() -> None:
    def as_torch_does() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    with pytest.raises(RuntimeError) as raised:
        as_torch_does()
    assert is_full(raised.value)


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "No such file"), RuntimeError("mat1 and mat2"), KeyError("a")])
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    assert not is_full(error)
    assert not is_memory(error)
    with pytest.raises(type(error)) as raised, explained(tmp_path):
        raise error
    assert raised.value is error


def test_a_file_elsewhere_does_not_blame_the_folder(tmp_path: Path) -> None:
    elsewhere = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "data" / "train.tsv"))
    with pytest.raises(PermissionError) as raised, explained(tmp_path / "run"):
        raise elsewhere
    assert raised.value is elsewhere
    with pytest.raises(OSError, match="run cannot be written"), explained(tmp_path / "run"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "run" / "config.yaml"))


def test_memory_is_recognised_in_the_words_of_each_library(tmp_path: Path) -> None:
    for allocate in (lambda: torch.empty(2**52), lambda: np.empty(2**52), lambda: bytearray(2**60)):
        says = r"The machine's memory is not enough .* Halve data\.batch_size"
        with pytest.raises(MemoryError, match=says), explained(tmp_path):
            allocate()


def test_the_exit_after_an_interrupt_is_an_interrupt(tmp_path: Path) -> None:
    def as_lightning_does() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904

    with pytest.raises(KeyboardInterrupt), explained(tmp_path):
        as_lightning_does()
    with pytest.raises(SystemExit), explained(tmp_path):
        raise SystemExit(1)
