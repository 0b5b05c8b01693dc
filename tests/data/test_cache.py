"""The cache: built once, never half, rebuilt when damaged."""

from __future__ import annotations

import logging
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


def test_entry_is_built_once(tmp_path: Path) -> None:
    build = Builder()
    for _ in range(3):
        assert cached(tmp_path / "new" / "folder", "entry", build)["input_ids"][:] == [[1, 2], [3]]
    assert build.calls == 1
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["entry"]


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
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build() -> datasets.Dataset:
        raise ValueError("line 3")

    with pytest.raises(ValueError, match="line 3"):
        cached(tmp_path, "entry", build)
    assert not list(tmp_path.iterdir())


def test_first_of_two_builders_wins(tmp_path: Path) -> None:
    outer = Builder()

    def build() -> datasets.Dataset:
        cached(tmp_path, "entry", outer)  # another process finishes in the meantime
        return outer()

    assert len(cached(tmp_path, "entry", build)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


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
