"""Files and folders are there as a whole or not at all."""

import os
from pathlib import Path

import pytest

from toolkit.files.writing import left_of, replacing, write_text


def test_a_file_replaces_the_earlier_one(tmp_path: Path) -> None:
    file = tmp_path / "above" / "a.txt"
    for text in ("first", "größer"):
        write_text(file, text)
        assert file.read_text(encoding="utf-8") == text
        assert [path.name for path in file.parent.iterdir()] == ["a.txt"]


def test_a_folder_replaces_the_earlier_one_and_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("first", "second"):
        with replacing(folder) as staged:
            staged.mkdir()
            (staged / name).touch()
        assert [path.name for path in folder.iterdir()] == [name]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_are_readable_as_the_user_wishes(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "model") as staged:
            staged.mkdir()
            (staged / "private").touch(mode=0o600)
            (staged / "program").touch(mode=0o700)
            (tmp_path / "elsewhere").touch(mode=0o600)
            (staged / "link").symlink_to(tmp_path / "elsewhere")
        with replacing(tmp_path / "file") as staged:
            staged.touch(mode=0o600)
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("model/private", "model/program", "file")}
    assert modes == {"model/private": 0o640, "model/program": 0o740, "file": 0o640}
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o600


def test_what_raises_leaves_the_earlier_one(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "first")
    with pytest.raises(UnicodeEncodeError):  # A lone surrogate, which UTF-8 does not have.
        write_text(file, "half \ud800")
    assert file.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["config.yaml", ".owner", "a-b.c", "model"])
def test_what_is_being_written_is_told_from_what_is_whole(name: str, tmp_path: Path) -> None:
    with replacing(tmp_path / name) as staged:
        staged.touch()
        assert left_of(staged.parent) == name
        (staged.parent / "something").touch()
        assert left_of(staged.parent) is None  # Someone else's.
    assert left_of(tmp_path / name) is None
