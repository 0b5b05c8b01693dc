r"""Store sparse weights as what is not zero and where it stands, in one safetensors file.

Each tensor takes the smallest of three schemes, for n entries of v bits, k of which are not zero:

====================  ==========================================================  ==============================
scheme                in the file                                                 bits
====================  ==========================================================  ==============================
``dense``             the tensor                                                  :math:`n v`
``bitmask``           one bit for each entry, and the values                      :math:`n + k v`
``N:M``               for each M entries of a row the number of the pattern       :math:`n / M \cdot
                      of the N that are kept, and the values                      (\lceil\log_2\binom{M}{N}\rceil
                                                                                  + N v)`
====================  ==========================================================  ==============================

A value is zero if all its bits are: -0.0 is stored. The manifest (scheme, shape and type of every tensor) is part of
the safetensors' header, so that it can neither get lost nor belong to another file, and ``config.json`` stays the
network's own. Bitmasks with packed values are the usual form of unstructured sparsity, patterns of N:M that of sparse
tensor cores (Mishra et al. 2021, arXiv 2104.08378, section 3).
"""

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Precision = Literal["float32", "float16", "bfloat16"]
Bytes = npt.NDArray[np.uint8]

SPARSE_FILE = "model.sparse.safetensors"  # Not a name that transformers reads: it would take masks for weights.
_MANIFEST, _VERSION = "sparse_storage", 1
_ENTRY = 128  # About what a second tensor adds to the header, in bytes.
_REMEDY = "Copy or store the network again."
_GROUPS = (2, 4, 8)  # M of N:M; divisors of 8, so that no group crosses a byte of the mask.
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # By bytes: NumPy has no bfloat16.
_FLOATS = ("F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2")
_POPCOUNT: Bytes = np.array([byte.bit_count() for byte in range(256)], dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Saving:
    """How a network's weights are stored.

    Args:
        sparse: Without their zeros, for which a mask stands: smaller, and read by ``toolkit.load`` alone.
        dtype: Type of the stored values. What is judged is the network that is stored.

    Raises:
        ValueError: If there is no such type.
    """

    sparse: bool = False
    dtype: Precision = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Precision):
            raise ValueError(f"saving.dtype is {self.dtype!r}, expected {', '.join(get_args(Precision))}.")


def round_weights(tensors: Mapping[str, Tensor], dtype: Precision) -> dict[str, Tensor]:
    """Round floating-point tensors to the type in which their values are stored.

    A warning says how many weights become zero: float16 ends at 6e-8.

    Args:
        tensors: By name; those of whole numbers stay as they are.
        dtype: The type; float32 leaves every tensor in the type that it has.

    Raises:
        ValueError: If `dtype` is none of the three, or a weight is too large for it.
    """
    if dtype not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"dtype is {dtype!r}, expected float32, float16 or bfloat16.")
    if dtype == "float32":
        return dict(tensors)
    rounded, vanished = {}, 0
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            rounded[name] = tensor
            continue
        rounded[name] = half = tensor.to(getattr(torch, dtype))
        if not torch.equal(half.isfinite(), tensor.isfinite()):
            largest = tensor.where(tensor.isfinite(), 0).abs().max().item()
            other = "bfloat16" if dtype == "float16" else "float32"
            raise ValueError(f"{name} has a weight of {largest:.4g}, too large for {dtype}; use {other}.")
        vanished += int(tensor.count_nonzero() - half.count_nonzero())
    if vanished:
        rank_zero_warn(f"{vanished} weights that are not zero become zero in {dtype}, as they are too small for it.")
    return rounded


def is_sparse(folder: str | Path) -> bool:
    """Tell whether a folder holds sparse weights.

    Args:
        folder: Of a stored network; a name of the hub is none.

    Raises:
        ValueError: If it holds dense weights as well: which ones are the network's nobody knows.
    """
    sparse = (Path(folder) / SPARSE_FILE).is_file()
    if sparse and (Path(folder) / "model.safetensors").is_file():
        raise ValueError(f"{folder} holds model.safetensors and {SPARSE_FILE}; delete the one that is out of date.")
    return sparse


def information_bound(tensors: Mapping[str, Tensor], dtype: Precision = "float32") -> int:
    r"""Compute the bytes of positions and values under the best scheme for each tensor, without any header.

    .. math:: \tfrac18 \sum_t \min\bigl(n v,\; n + k v,\; \tfrac nM (\log_2\tbinom MN + N v)\bigr)

    Args:
        tensors: By name; a tied one once.
        dtype: Of the stored values, as for `round_weights`.
    """
    bits = 0.0
    for tensor in round_weights(tensors, dtype).values():
        bits += min(_bits(tensor, math.log2).values())
    return math.ceil(bits / 8)


def write_sparse(
    tensors: Mapping[str, Tensor], file: Path, dtype: Precision = "float32", metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors into one file, each by the scheme that is the smallest for it.

    Args:
        tensors: By name, on any device; a tied one once.
        file: The file; it is replaced.
        dtype: Of the stored values, as for `round_weights`.
        metadata: Of the safetensors that the tensors come from; `read_sparse` gives it back.

    Raises:
        ValueError: If a weight does not fit into `dtype`, or a name has ``::``, which separates mask and values.
    """
    stored: dict[str, Tensor] = {}
    entries = {}
    for name, tensor in round_weights(tensors, dtype).items():
        if "::" in name:
            raise ValueError(f"The tensor {name} cannot be stored sparsely: its name has '::'. Rename it.")
        bits = _bits(tensor, lambda patterns: (patterns - 1).bit_length())
        scheme = min(bits, key=lambda kind: bits[kind] + (kind != "dense") * 8 * _ENTRY)
        entries[name] = {
            "scheme": scheme,
            "shape": list(tensor.shape),
            "dtype": str(tensors[name].dtype).removeprefix("torch."),
        }
        parts = [tensor.detach().cpu().contiguous()] if scheme == "dense" else _encode(tensor, scheme)
        stored |= zip(_keys(name, scheme), parts, strict=True)
    manifest = json.dumps({"version": _VERSION, "tensors": entries}, separators=(",", ":"))
    save_file(stored, file, metadata={**(metadata or {}), _MANIFEST: manifest})


def read_sparse(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the dense tensors back, bit by bit, in the type that they had before they were rounded.

    Sizes are compared before anything is unpacked: a damaged file cannot ask for more memory than eight entries for
    each byte of its masks.

    Args:
        file: What `write_sparse` wrote.

    Returns:
        The tensors by name, and the metadata given to `write_sparse`.

    Raises:
        ValueError: If the file is damaged or of another kind; it names the tensor.
    """
    try:
        with safe_open(file, "pt") as opened:
            metadata = dict(opened.metadata() or {})
            entries = _manifest(metadata.pop(_MANIFEST, ""), file)
            surplus = {*opened.keys()}.difference(*(_keys(name, entry["scheme"]) for name, entry in entries.items()))
            if surplus:
                raise ValueError(f"{file} holds {min(surplus)}, which its manifest does not name. {_REMEDY}")
            tensors = {name: _read(opened, file, name, **entry) for name, entry in entries.items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} cannot be read: {error}. {_REMEDY}") from error
    return tensors, metadata


def _integers(tensor: Tensor) -> npt.NDArray[Any]:
    """Show the bits of a tensor's entries as whole numbers, (n,)."""
    numbers: npt.NDArray[Any] = tensor.detach().cpu().reshape(-1).view(_INTEGERS[tensor.itemsize]).numpy()
    return numbers


def _bits(tensor: Tensor, index_bits: Callable[[int], float]) -> dict[str, float]:
    """Compute the size of each scheme that can hold a tensor, in bits; `index_bits` of a group, from its patterns."""
    size, value = tensor.numel(), 8 * tensor.itemsize
    bits: dict[str, float] = {"dense": size * value}
    if not tensor.is_floating_point() or not size:
        return bits
    counts = np.bincount(np.packbits(_integers(tensor) != 0, bitorder="little"), minlength=256)
    bits["bitmask"] = size + int(counts @ _POPCOUNT) * value
    found = np.flatnonzero(counts)
    for group in _GROUPS:
        if tensor.ndim and tensor.shape[-1] % group == 0:
            parts = [(found >> shift) & (2**group - 1) for shift in range(0, 8, group)]
            kept = int(_POPCOUNT[parts].max())  # N: the most values that any group has
            if 0 < kept < group:
                bits[f"{kept}:{group}"] = size // group * (index_bits(math.comb(group, kept)) + kept * value)
    return bits


def _keys(name: str, scheme: str) -> list[str]:
    """Name the tensors of the file that make up one tensor."""
    if scheme == "dense":
        return [name]
    return [f"{name}::{'mask' if scheme == 'bitmask' else 'index'}", f"{name}::values"]


@functools.cache
def _patterns(kept: int, group: int) -> tuple[Bytes, Bytes, Bytes]:
    """Number the patterns of N entries among M.

    Returns:
        The patterns as bits of a byte, ascending; the number of each; and for each byte of up to N entries the
        pattern of exactly N that it is completed to, with its lowest free bits.
    """
    patterns = [byte for byte in range(2**group) if byte.bit_count() == kept]
    numbers, completed = np.zeros(256, dtype=np.uint8), np.zeros(256, dtype=np.uint8)
    numbers[patterns] = range(len(patterns))
    for byte in sorted(range(2**group), key=int.bit_count, reverse=True):
        if byte.bit_count() == kept:
            completed[byte] = byte
        elif byte.bit_count() < kept:
            completed[byte] = completed[byte | (byte + 1)]
    return np.array(patterns, dtype=np.uint8), numbers, completed


def _encode(tensor: Tensor, scheme: str) -> list[Tensor]:
    """Pack the positions, and gather the values."""
    entries = _integers(tensor)
    kept = entries != 0
    if scheme == "bitmask":
        positions = np.packbits(kept, bitorder="little")
    else:
        count, group = map(int, scheme.split(":"))
        patterns, numbers, completed = _patterns(count, group)
        masks = completed[np.packbits(kept.reshape(-1, group), axis=1, bitorder="little")]  # (groups, 1)
        kept = np.unpackbits(masks, axis=1, count=group, bitorder="little").reshape(-1).view(bool)
        width = (len(patterns) - 1).bit_length()
        positions = np.packbits(
            np.unpackbits(numbers[masks], axis=1, count=width, bitorder="little"), bitorder="little"
        )
    return [torch.from_numpy(positions), torch.from_numpy(entries[kept]).view(tensor.dtype)]


def _manifest(text: str, file: Path) -> dict[str, dict[str, Any]]:
    """Read the manifest and check its form."""
    try:
        manifest = json.loads(text)
        version = manifest["version"]
        entries = {
            name: {key: entry[key] for key in ("scheme", "shape", "dtype")}
            for name, entry in manifest["tensors"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} has no readable manifest of sparse tensors. {_REMEDY}") from error
    if version != _VERSION:
        raise ValueError(f"{file} has version {version!r} of the manifest, expected {_VERSION}. Update the toolkit.")
    for name, entry in entries.items():
        scheme, shape, dtype = entry["scheme"], entry["shape"], str(entry["dtype"])
        whole = isinstance(shape, list) and all(type(length) is int and length >= 0 for length in shape)
        if not whole or not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ValueError(f"{name} of {file} has the shape {shape} and type {dtype!r}. {_REMEDY}")
        if scheme != "dense":
            found = re.fullmatch("([1-7]):([248])", str(scheme))
            grouped = found and found[1] < found[2] and shape and shape[-1] % int(found[2]) == 0
            if not (grouped or scheme == "bitmask") or not math.prod(shape):
                raise ValueError(f"{name} of {file}, of shape {shape}, has the unknown scheme {scheme!r}. {_REMEDY}")
    return entries


def _read(opened: Any, file: Path, name: str, *, scheme: str, shape: list[int], dtype: str) -> Tensor:
    """Unpack one tensor."""

    def check(part: str, expected: list[int], what: str, *types: str) -> None:
        if part not in opened.keys():  # noqa: SIM118  no mapping
            raise ValueError(f"{file} lacks {part}. {_REMEDY}")
        found = opened.get_slice(part)
        if found.get_shape() != expected:
            raise ValueError(
                f"{part} of {file} has the shape {found.get_shape()}, expected {expected}: {what}. {_REMEDY}"
            )
        if types and found.get_dtype() not in types:
            raise ValueError(f"{part} of {file} has the type {found.get_dtype()}, expected {types[0]}. {_REMEDY}")

    target, size, parts = getattr(torch, dtype), math.prod(shape), _keys(name, scheme)
    if scheme == "dense":
        check(name, shape, "that of the manifest")
        dense: Tensor = opened.get_tensor(name).to(target)
        return dense
    if scheme == "bitmask":
        check(parts[0], [-(-size // 8)], f"a bit for each entry of {shape}", "U8")
        bits = np.unpackbits(opened.get_tensor(parts[0]).numpy(), bitorder="little")
        count = int(np.count_nonzero(bits))
        if bits[size:].any():
            raise ValueError(f"{parts[0]} of {file} marks entries beyond the shape {shape}. {_REMEDY}")
        check(parts[1], [count], "a value for each bit of the mask", *_FLOATS)
        kept = bits[:size].view(bool)
    else:
        num_kept, group = map(int, scheme.split(":"))
        patterns = _patterns(num_kept, group)[0]
        width, groups = (len(patterns) - 1).bit_length(), size // group
        check(parts[0], [-(-groups * width // 8)], f"{width} bits for each {group} entries of {shape}", "U8")
        check(parts[1], [groups * num_kept], f"{num_kept} values for each {group} entries of {shape}", *_FLOATS)
        index = np.unpackbits(opened.get_tensor(parts[0]).numpy(), count=groups * width, bitorder="little")
        numbers = np.packbits(index.reshape(-1, width), axis=1, bitorder="little")  # (groups, 1)
        if groups and numbers.max() >= len(patterns):
            raise ValueError(
                f"{parts[0]} of {file} has the pattern {numbers.max()}, but {scheme} has {len(patterns)}. {_REMEDY}"
            )
        kept = np.unpackbits(patterns[numbers], axis=1, count=group, bitorder="little").reshape(-1).view(bool)
    values = opened.get_tensor(parts[1])
    entries = torch.zeros(size, dtype=_INTEGERS[values.itemsize])
    entries.numpy()[kept] = _integers(values)
    return entries.view(values.dtype).reshape(shape).to(target)
