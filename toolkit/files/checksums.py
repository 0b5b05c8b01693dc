"""Checksums of files, which tell whether one is still what was written."""

import hashlib
from pathlib import Path


def checksum(file: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits.

    Args:
        file: Of any size; it is read in parts.

    Raises:
        OSError: If it cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "empty"
        ...     file.touch()
        ...     checksum(file)[:16]
        'e3b0c44298fc1c14'
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
