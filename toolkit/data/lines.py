"""Lines of a UTF-8 text file, exactly as they are, and the errors of a file that is none."""

from __future__ import annotations

from pathlib import Path


def read_lines(path: Path) -> list[str]:
    r"""Read the lines of a UTF-8 file; only ``\n`` ends a line.

    `str.splitlines` and text mode also split on U+0085, U+2028 or a lone carriage return, which occur inside rows of
    published files. A byte-order mark and the carriage returns of Windows line ends are dropped, and so are empty
    lines at the end of the file.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not UTF-8; the message names the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind the byte-order mark, and its object is what it was given.
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
