"""The cache: built once, never half, rebuilt when damaged."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest

from toolkit.data.cache import cached, default_folder, digest


class Builder:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> datasets.Dataset:
        self.calls += 1
        return datasets.Dataset.from_dict({"input_ids": [[1, 2], [3]]})


def left_in(folder: Path) -> list[str]:
    """What a cache holds beside the lock, which stays."""
    return sorted({path.name for path in folder.iterdir()} - {".lock"})


def test_entry_is_built_once(tmp_path: Path) -> None:
    build = Builder()
    for _ in range(3):
        assert cached(tmp_path / "new" / "folder", "entry", build)["input_ids"][:] == [[1, 2], [3]]
    assert build.calls == 1
    assert left_in(tmp_path / "new" / "folder") == ["entry"]
    assert (tmp_path / "new" / "folder" / ".lock").stat().st_mode & 0o777 == 0o666  # Other users of the folder lock it.


@pytest.mark.parametrize("damage", ["cut", "flip", "manifest", "missing", "file"])
def test_damaged_entry_is_built_again(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build = Builder()
    cached(tmp_path, "entry", build)
    entry = tmp_path / "entry"
    [table] = entry.glob("*.arrow")
    content = bytearray(table.read_bytes())
    if damage == "cut":
        table.write_bytes(content[:100])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        table.write_bytes(content)
    elif damage == "manifest":
        (entry / "sha256.json").write_text("{")
    elif damage == "missing":
        table.unlink()
    else:
        for path in entry.iterdir():
            path.unlink()
        entry.rmdir()
        entry.write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        assert cached(tmp_path, "entry", build)["input_ids"][:] == [[1, 2], [3]]
    assert "damaged" in caplog.text
    assert build.calls == 2
    assert cached(tmp_path, "entry", build) is not None
    assert build.calls == 2
    assert left_in(tmp_path) == ["entry"]


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build() -> datasets.Dataset:
        raise ValueError("line 3")

    with pytest.raises(ValueError, match="line 3"):
        cached(tmp_path, "entry", build)
    assert left_in(tmp_path) == []


def test_first_of_two_builders_wins(tmp_path: Path) -> None:
    outer = Builder()

    def build() -> datasets.Dataset:
        cached(tmp_path, "entry", outer)  # another process finishes in the meantime
        return outer()

    assert len(cached(tmp_path, "entry", build)) == 2
    assert left_in(tmp_path) == ["entry"]


BUILD = """
import sys, time
from pathlib import Path
from toolkit.data.cache import cached
def build():
    Path(sys.argv[2]).touch()
    time.sleep(600)
cached(Path(sys.argv[1]), "slow", build)
"""


def test_what_a_killed_process_left_is_removed_and_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    ready = [tmp_path / "killed", tmp_path / "living"]
    processes = [subprocess.Popen([sys.executable, "-c", BUILD, str(folder), str(file)]) for file in ready]
    try:
        limit = time.monotonic() + 120
        while not all(file.exists() for file in ready) and time.monotonic() < limit:
            time.sleep(0.02)
        assert len(left_in(folder)) == 2
        processes[0].kill()
        processes[0].wait()
        cached(folder, "entry", Builder())
        [building, entry] = left_in(folder)
        assert building.startswith(".building-")
        assert entry == "entry"
        assert processes[1].poll() is None
    finally:
        for process in processes:
            process.kill()
            process.wait()
    cached(folder, "another", Builder())
    assert left_in(folder) == ["another", "entry"]


def test_digest_depends_on_every_value_and_not_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2, "é"]}) == digest({"b": [2, "é"], "a": 1})
    assert len({digest(value) for value in (["a", "b"], ["ab"], ["b", "a"], [["a"], "b"], ["a", "b", None])}) == 5


def test_folder_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("TOOLKIT_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "lightning-compression-toolkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "lightning-compression-toolkit"
