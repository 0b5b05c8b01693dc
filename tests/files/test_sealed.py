"""Files with a checksum: whole or not there, and every change is seen."""

import random
from pathlib import Path

import pytest
import torch

from toolkit.files.sealed import is_sealed, save_sealed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.ckpt"
    save_sealed({"weight": torch.arange(1000.0), "step": 3}, path)
    return path


def test_other_readers_see_nothing_of_the_seal(file: Path) -> None:
    assert is_sealed(file)
    for weights_only in (True, False):
        content = torch.load(file, weights_only=weights_only)
        assert content["step"] == 3
        assert torch.equal(content["weight"], torch.arange(1000.0))


def test_every_bit_counts(file: Path) -> None:
    content = file.read_bytes()
    draw = random.Random(0)
    for place in [0, len(content) - 1, *(draw.randrange(len(content)) for _ in range(50))]:
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        file.write_bytes(changed)
        assert not is_sealed(file), place
    file.write_bytes(content)
    assert is_sealed(file)


@pytest.mark.parametrize("left", [0, 1, 40, 2000, -1, -40, -41])
def test_a_file_that_was_cut_is_not_whole(left: int, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:left])
    assert not is_sealed(file)


def test_a_file_without_a_seal_is_none(tmp_path: Path) -> None:
    torch.save({"step": 3}, tmp_path / "b.ckpt")
    assert not is_sealed(tmp_path / "b.ckpt")


def test_what_cannot_be_written_leaves_the_earlier_file(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises((AttributeError, RuntimeError, TypeError), match="pickle"):
        save_sealed({"weight": torch.ones(9), "no": (line for line in "ab")}, file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
