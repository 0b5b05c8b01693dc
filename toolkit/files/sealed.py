"""Files of tensors that end with a checksum: whole and as they were written, or not read at all."""

import hashlib
import io
from pathlib import Path
from typing import IO, Any, cast

import torch

from toolkit.files.writing import replacing

_MARK = b"\nsha256:"  # Behind the archive that torch writes, whose readers leave alone what follows it.
_SEAL = len(_MARK) + hashlib.sha256().digest_size
_CHUNK = 2**20


def save_sealed(content: Any, file: Path) -> None:
    """Write tensors, and what else ``torch.save`` takes, beside a file's place, seal and rename them.

    At any moment the file is the earlier one or the new one, as a whole. ``torch.load`` reads it as any other; only
    `is_sealed` sees that a single bit has changed since, which ``torch.load`` does not.

    Args:
        content: What is written.
        file: Where; the folders above it are made.

    Raises:
        OSError: If it cannot be written, perhaps behind another error as its context; nothing is left of the attempt.
    """
    with replacing(file) as staged, staged.open("wb") as opened:
        hashing = _Hashing(opened)
        torch.save(content, cast(IO[bytes], hashing))
        opened.write(_MARK + hashing.hash.digest())


def is_sealed(file: Path) -> bool:
    """Whether a file was written by `save_sealed` and is, to the last bit, what it was then."""
    length = file.stat().st_size - _SEAL
    if length < 0:
        return False
    found = hashlib.sha256()
    with file.open("rb") as opened:
        while part := opened.read(min(_CHUNK, length)):
            found.update(part)
            length -= len(part)
        return opened.read() == _MARK + found.digest()


class _Hashing(io.RawIOBase):
    """Hashes what passes through to a file: reading it again would take as long as writing it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self.hash.update(part)
        return self.file.write(part)
