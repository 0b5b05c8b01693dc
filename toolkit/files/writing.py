"""Files and folders that are there as a whole or not at all: written beside their place, then renamed."""

import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REPLACED = "replaced"

# What a process that was killed leaves: the folder of `tempfile` in which it wrote.
_LEFT = re.compile(r"\.(.+)-[a-z0-9_]{8}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place to write a file or a folder at, and rename it to `path` if the block raises nothing.

    At any moment `path` is the earlier one or the new one, as a whole; a folder is missing for the moment between two
    renamings. Nothing is left of a block that raises.

    Args:
        path: Of a file or a folder; the folders above it are made.

    Yields:
        A path of the same name on the same disk, at which nothing is yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as beside:
        staged = Path(beside) / path.name
        yield staged
        _grant_reading(staged, Path(beside) / "ordinary")
        if path.is_dir():
            path.rename(Path(beside) / _REPLACED)
        staged.replace(path)


def _grant_reading(staged: Path, ordinary: Path) -> None:
    """Give all files the permissions of ordinary new ones: safetensors and `tempfile` keep theirs from other users."""
    ordinary.touch()
    permissions = stat.S_IMODE(ordinary.stat().st_mode)
    for file in (staged, *staged.rglob("*")):
        if file.is_file() and not file.is_symlink():
            own = stat.S_IMODE(file.stat().st_mode)
            if own | permissions != own:
                file.chmod(own | permissions)


def write_text(file: Path, text: str) -> None:
    """Write a text in UTF-8, as a whole or not at all.

    Args:
        file: Where; the folders above it are made.
        text: The content.
    """
    with replacing(file) as staged:
        staged.write_text(text, encoding="utf-8")


def left_of(entry: Path) -> str | None:
    """Name of the file or folder that an entry is the half-written form of, if it is one.

    Args:
        entry: Of a folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "config.yaml") as staged:
        ...         left_of(staged.parent), left_of(staged)
        ...         staged.touch()
        ('config.yaml', None)
    """
    found = _LEFT.fullmatch(entry.name)
    if not found or not entry.is_dir():
        return None
    return found[1] if {inner.name for inner in entry.iterdir()} <= {found[1], _REPLACED} else None
