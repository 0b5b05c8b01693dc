"""Sparse files give every bit back, are as small as the scheme allows, and refuse what was damaged."""

import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from toolkit.models.sparse_storage import (
    SPARSE_FILE,
    Precision,
    information_bound,
    is_sparse,
    read_sparse,
    round_weights,
    write_sparse,
)

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
BITS = {torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float64: torch.int64}


def sparse_matrix(rows: int, columns: int, sparsity: float, dtype: torch.dtype = torch.float32) -> Tensor:
    draw = torch.Generator().manual_seed(rows + columns)
    weight = torch.randn(rows, columns, generator=draw)
    return weight.masked_fill(torch.rand(rows, columns, generator=draw) < sparsity, 0).to(dtype)


def grouped_matrix(kept: int, group: int, rows: int = 64, columns: int = 96) -> Tensor:
    """Random weights with exactly N of each M entries of a row."""
    draw = torch.Generator().manual_seed(group)
    weight = torch.randn(rows * columns // group, group, generator=draw).abs() + 0.1
    ranks = torch.rand(weight.shape, generator=draw).argsort(-1).argsort(-1)
    return weight.masked_fill(ranks >= kept, 0).reshape(rows, columns)


def manifest(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as opened:
        entries: dict[str, Any] = json.loads(opened.metadata()["sparse_storage"])["tensors"]
    return entries


def rewrite(file: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], None]) -> None:
    """Change tensors and manifest of a file, which stays a good safetensors."""
    tensors = load_file(file)
    found = {"version": 1, "tensors": manifest(file)}
    change(tensors, found)
    save_file(tensors, file, {"sparse_storage": json.dumps(found)})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (8, 24), (2, 3, 8), (24, 4, 4)], ids=str)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 1.0])
def test_every_bit_comes_back(dtype: torch.dtype, shape: tuple[int, ...], sparsity: float, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(1)
    # Larger than what a second entry of the header costs, so that no scheme is left out.
    repeated = (400 * shape[0], *shape[1:])
    weight = torch.randn(repeated, generator=draw).to(dtype)
    weight[torch.rand(repeated, generator=draw) < sparsity] = 0
    flat = weight.view(-1)
    flat[0], flat[1], flat[-1] = -0.0, torch.finfo(dtype).smallest_normal / 2, float("nan")
    before = weight.view(BITS[dtype]).clone()
    write_sparse({"weight": weight}, tmp_path / "file")
    found, _ = read_sparse(tmp_path / "file")
    assert found["weight"].dtype == dtype
    assert found["weight"].shape == repeated
    assert torch.equal(found["weight"].view(BITS[dtype]), before)
    assert torch.equal(weight.view(BITS[dtype]), before)


@pytest.mark.parametrize(("kept", "group"), [(1, 2), (2, 4), (1, 4), (4, 8), (2, 8), (7, 8)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_patterns_come_back(kept: int, group: int, dtype: torch.dtype, tmp_path: Path) -> None:
    weight = grouped_matrix(kept, group).to(dtype)
    weight[:2, :group] = 0  # groups with fewer than N
    weight[1, 0] = -0.0
    write_sparse({"weight": weight}, tmp_path / "file")
    found, _ = read_sparse(tmp_path / "file")
    assert manifest(tmp_path / "file")["weight"]["scheme"] == f"{kept}:{group}"
    assert torch.equal(found["weight"].view(BITS[dtype]), weight.view(BITS[dtype]))


def test_all_patterns_of_a_group(tmp_path: Path) -> None:
    groups = [
        [float(number in chosen) for number in range(8)]
        for count in range(5)
        for chosen in itertools.combinations(range(8), count)
    ]
    weight = torch.tensor(groups) * torch.arange(1, 9)
    # Repeated groups of four, so that the pattern is smaller than a mask although some groups have fewer.
    full = [group for group in groups if sum(group) == 4]
    weight = torch.cat([weight, torch.tensor(full * 80)])
    write_sparse({"weight": weight}, tmp_path / "file")
    assert manifest(tmp_path / "file")["weight"]["scheme"] == "4:8"
    assert torch.equal(read_sparse(tmp_path / "file")[0]["weight"], weight)


def test_bitmask_of_the_file(tmp_path: Path) -> None:
    """Entry i is bit i % 8, from the lowest, of byte i // 8 of the mask; values follow in their order."""
    weight = sparse_matrix(37, 29, 0.8)
    write_sparse({"weight": weight}, tmp_path / "file")
    stored = load_file(tmp_path / "file")
    mask, values = stored["weight::mask"].tolist(), iter(stored["weight::values"].tolist())
    unpacked = [next(values) if mask[i // 8] >> i % 8 & 1 else 0.0 for i in range(weight.numel())]
    assert unpacked == weight.reshape(-1).tolist()
    assert next(values, None) is None


def test_index_of_the_file(tmp_path: Path) -> None:
    """A group of 2:4 takes three bits, from the lowest: the number of its pattern, patterns ascending as numbers."""
    weight = grouped_matrix(2, 4)
    write_sparse({"weight": weight}, tmp_path / "file")
    stored = load_file(tmp_path / "file")
    index, values = stored["weight::index"].tolist(), iter(stored["weight::values"].tolist())
    bits = [byte >> place & 1 for byte in index for place in range(8)]
    patterns = [0b0011, 0b0101, 0b0110, 0b1001, 0b1010, 0b1100]
    unpacked = []
    for group in range(weight.numel() // 4):
        number = sum(bits[3 * group + place] << place for place in range(3))
        unpacked += [next(values) if patterns[number] >> entry & 1 else 0.0 for entry in range(4)]
    assert unpacked == weight.reshape(-1).tolist()
    assert next(values, None) is None


def test_smallest_scheme_is_chosen(tmp_path: Path) -> None:
    across = grouped_matrix(2, 4).T.contiguous()  # groups of columns are no pattern
    tensors = {
        "full": sparse_matrix(64, 96, 0.0),
        "nearly full": sparse_matrix(64, 96, 0.02),
        "sparse": sparse_matrix(64, 96, 0.5),
        "few": sparse_matrix(64, 96, 0.95),
        "empty": torch.zeros(64, 96),
        "pattern": grouped_matrix(2, 4),
        "across": across,
        "odd": grouped_matrix(2, 4).reshape(-1)[:-2].reshape(2, -1),  # its rows do not divide into groups
        "tiny": torch.tensor([0.0, 1.0, 0.0, 0.0]),
        "ids": torch.zeros(512, dtype=torch.int64),
        "number": torch.tensor(0.0),
        "none": torch.zeros(0, 4),
    }
    write_sparse(tensors, tmp_path / "file", metadata={"format": "pt"})
    schemes = {name: entry["scheme"] for name, entry in manifest(tmp_path / "file").items()}
    assert schemes == {
        "full": "dense",
        "nearly full": "dense",
        "sparse": "bitmask",
        "few": "bitmask",
        "empty": "bitmask",
        "pattern": "2:4",
        "across": "bitmask",
        "odd": "bitmask",
        "tiny": "dense",
        "ids": "dense",
        "number": "dense",
        "none": "dense",
    }
    found, metadata = read_sparse(tmp_path / "file")
    assert metadata == {"format": "pt"}
    assert found.keys() == tensors.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )


@pytest.mark.parametrize("sparsity", [0.6, 0.8, 0.9])
@pytest.mark.parametrize(("dtype", "width"), [("float32", 32), ("float16", 16), ("bfloat16", 16)])
@pytest.mark.filterwarnings("ignore:.*become zero in float16")
def test_file_is_within_three_per_cent_of_the_bound(
    sparsity: float, dtype: Precision, width: int, tmp_path: Path
) -> None:
    """Of the whole file, header included, for matrices of a MiniLM."""
    tensors = {"up": sparse_matrix(1536, 384, sparsity), "down": sparse_matrix(384, 1536, sparsity)}
    entries = sum(tensor.numel() for tensor in tensors.values())
    values = sum(sum(value != 0 for value in tensor.half().reshape(-1).tolist()) for tensor in tensors.values())
    if dtype != "float16":
        values = sum(sum(value != 0 for value in tensor.reshape(-1).tolist()) for tensor in tensors.values())
    bound = (entries + width * values) / 8
    write_sparse(tensors, tmp_path / "file", dtype)
    assert information_bound(tensors, dtype) == math.ceil(bound)
    assert bound <= (tmp_path / "file").stat().st_size <= 1.03 * bound


@pytest.mark.parametrize(("kept", "group", "patterns"), [(1, 2, 2), (2, 4, 6), (4, 8, 70)])
@pytest.mark.parametrize(("dtype", "width"), [("float32", 32), ("bfloat16", 16)])
def test_patterns_are_within_three_per_cent_of_the_bound(
    kept: int, group: int, patterns: int, dtype: Precision, width: int, tmp_path: Path
) -> None:
    tensors = {"up": grouped_matrix(kept, group, 1536, 384)}
    bound = 1536 * 384 / group * (math.log2(patterns) + kept * width) / 8
    write_sparse(tensors, tmp_path / "file", dtype)
    assert information_bound(tensors, dtype) == math.ceil(bound)
    assert bound <= (tmp_path / "file").stat().st_size <= 1.03 * bound


def test_bound_takes_the_dense_form_where_it_is_smaller() -> None:
    tensors = {"full": torch.ones(100, 7), "ids": torch.zeros(9, dtype=torch.int64)}
    assert information_bound(tensors) == 4 * 700 + 8 * 9
    assert information_bound(tensors, "float16") == 2 * 700 + 8 * 9


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_values(dtype: Precision, tmp_path: Path) -> None:
    tensors = {"sparse": sparse_matrix(64, 96, 0.7), "dense": torch.randn(50), "ids": torch.arange(70000)}
    write_sparse(tensors, tmp_path / "file", dtype)
    stored = load_file(tmp_path / "file")
    assert {name: stored[name].dtype for name in ("sparse::values", "dense")} == dict.fromkeys(
        ("sparse::values", "dense"), getattr(torch, dtype)
    )
    found, _ = read_sparse(tmp_path / "file")
    for name in ("sparse", "dense"):
        expected = tensors[name].numpy().astype("float16") if dtype == "float16" else nearest_bfloat16(tensors[name])
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], torch.as_tensor(expected).float())
    assert torch.equal(found["ids"], tensors["ids"])


def nearest_bfloat16(weight: Tensor) -> Tensor:
    """Of the 16 upper bits, and those plus one, the nearer; the even of two as near."""
    bits = weight.view(torch.int32)
    return (bits + 0x7FFF + (bits >> 16 & 1) & -0x10000).view(torch.float32)


def test_weights_too_large_or_too_small() -> None:
    with pytest.raises(ValueError, match=r"head has a weight of 7e\+04, too large for float16; use bfloat16"):
        round_weights({"head": torch.tensor([1.0, -7e4])}, "float16")
    with pytest.raises(ValueError, match=r"head has a weight of 3\.4e\+38, too large for bfloat16; use float32"):
        round_weights({"head": torch.tensor([3.4e38])}, "bfloat16")
    with pytest.warns(UserWarning, match="^2 weights that are not zero become zero in float16"):
        rounded = round_weights({"head": torch.tensor([1e-9, -1e-9, 0.0, -0.0, 1.0])}, "float16")
    assert rounded["head"].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    round_weights({"head": torch.tensor([7e4, 1e-9])}, "bfloat16")
    with pytest.raises(ValueError, match="dtype is 'int8', expected float32, float16 or bfloat16"):
        round_weights({}, "int8")  # type: ignore[arg-type]


def test_names_that_would_collide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weight::mask cannot be stored sparsely"):
        write_sparse({"weight::mask": torch.ones(3)}, tmp_path / "file")


def drop(key: str) -> Callable[[dict[str, Tensor], dict[str, Any]], None]:
    return lambda tensors, _: tensors.__delitem__(key)


def put(key: str, change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor], dict[str, Any]], None]:
    return lambda tensors, _: tensors.update({key: change(tensors[key])})


def entry(name: str, **values: object) -> Callable[[dict[str, Tensor], dict[str, Any]], None]:
    return lambda _, found: found["tensors"][name].update(values)


DAMAGE = {
    "no mask": (drop("masked::mask"), "lacks masked::mask"),
    "no values": (drop("grouped::values"), "lacks grouped::values"),
    "no dense tensor": (drop("full"), "lacks full"),
    "a value too few": (put("masked::values", lambda t: t[1:]), r"masked::values .* a value for each bit of the mask"),
    "a group too few": (put("grouped::values", lambda t: t[2:]), r"grouped::values .* 2 values for each 4 entries"),
    "a short mask": (put("masked::mask", lambda t: t[:-1]), "masked::mask .* a bit for each entry"),
    "a short index": (put("grouped::index", lambda t: t[:-1]), "grouped::index .* 3 bits for each 4 entries"),
    "a flipped bit": (put("masked::mask", lambda t: t ^ (torch.arange(len(t)) == 5)), "masked::values .* a value for"),
    "beyond the end": (put("masked::mask", lambda t: t | 128), "masked::mask .* marks entries beyond the shape"),
    "no pattern": (put("grouped::index", lambda t: t | 255), "grouped::index .* has the pattern 7, but 2:4 has 6"),
    "floats for a mask": (put("masked::mask", lambda t: t.float()), "masked::mask .* has the type F32, expected U8"),
    "ids for values": (put("masked::values", lambda t: t.int()), "masked::values .* has the type I32, expected F32"),
    "a huge shape": (entry("masked", shape=[10**9, 10**9]), r"masked::mask .* expected \[125000000000000000\]"),
    "a huge pattern": (entry("grouped", shape=[10**9, 10**9]), "grouped::index .* expected"),
    "a huge dense shape": (entry("full", shape=[10**9, 10**9]), "full .* that of the manifest"),
    "a negative shape": (entry("masked", shape=[-37, -29]), r"masked .* has the shape \[-37, -29\]"),
    "a broken shape": (entry("masked", shape=[37.5]), r"masked .* has the shape \[37\.5\]"),
    "no shape": (entry("masked", shape=None), "masked .* has the shape None"),
    "an empty shape": (entry("masked", shape=[0, 5]), "unknown scheme 'bitmask'"),
    "an unknown type": (entry("masked", dtype="save"), "masked .* type 'save'"),
    "an unknown scheme": (entry("masked", scheme="huffman"), "masked .* has the unknown scheme 'huffman'"),
    "all of a group": (entry("grouped", scheme="4:4"), "grouped .* has the unknown scheme '4:4'"),
    "other groups": (entry("masked", scheme="2:4"), "masked .* has the unknown scheme '2:4'"),
    "surplus": (lambda tensors, _: tensors.update(more=torch.ones(2)), "holds more, which its manifest does not name"),
    "a later version": (lambda _, found: found.update(version=2), "version 2 of the manifest, expected 1"),
    "no tensors": (lambda _, found: found.update(tensors=[1]), "no readable manifest"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_before_memory_is_taken(kind: str, tmp_path: Path) -> None:
    change, message = DAMAGE[kind]
    file = tmp_path / SPARSE_FILE
    tensors = {"masked": sparse_matrix(37, 29, 0.7), "grouped": grouped_matrix(2, 4), "full": torch.ones(3)}
    write_sparse(tensors, file)
    rewrite(file, lambda *_: None)
    assert torch.equal(read_sparse(file)[0]["masked"], tensors["masked"])
    rewrite(file, change)
    started = time.monotonic()
    with pytest.raises(ValueError, match=message) as raised:
        read_sparse(file)
    assert time.monotonic() - started < 5
    assert "again" in str(raised.value) or "Update" in str(raised.value)
    assert str(file) in str(raised.value)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    file = tmp_path / SPARSE_FILE
    with pytest.raises(ValueError, match=r"cannot be read: .*Copy or store the network again"):
        read_sparse(file)
    save_file({"weight": torch.ones(3)}, file)
    with pytest.raises(ValueError, match="no readable manifest"):
        read_sparse(file)
    write_sparse({"weight": sparse_matrix(37, 29, 0.7)}, file)
    whole = file.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cannot be read"):
            read_sparse(file)


def test_folder_with_both_forms_is_refused(tmp_path: Path) -> None:
    assert not is_sparse(tmp_path)
    (tmp_path / SPARSE_FILE).write_bytes(b"")
    assert is_sparse(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="delete the one that is out of date"):
        is_sparse(tmp_path)
