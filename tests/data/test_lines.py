"""Lines of text files."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.data.lines import read_lines


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("\ufeffa\u2028b\x85c\x0bd\re\r\n\n\u00a0f\n\n\n".encode())
    assert read_lines(path) == ["a\u2028b\x85c\x0bd\re", "", "\u00a0f"]


def test_line_end_at_the_end_makes_no_difference(tmp_path: Path) -> None:
    for content in (b"a\nb", b"a\nb\n"):
        (tmp_path / "file").write_bytes(content)
        assert read_lines(tmp_path / "file") == ["a", "b"]


def test_byte_that_is_not_utf8_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + b"a\nb\nc\xe9d\n")
        with pytest.raises(ValueError, match=r"file, line 3: byte 0xe9 is not UTF-8; save the file as UTF-8"):
            read_lines(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing: no such file"):
        read_lines(tmp_path / "nothing")
