"""What is refused of a network's folder before transformers reads it: a folder may come from anywhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

_CONFIG_BYTES = 4 * 2**20  # Of config.json; the numbers of kept neurons of a large network take 3 MB.
_BLOCKS = 1000
_GROWTH, _FRESH = 16, 50_000_000  # Heads that were removed are built at first; a new head needs some weights, too.
_ATTENTION = ("eager", "sdpa", "flex_attention")  # Other names may stand for kernels of the hub.
_CODE = "Code of a network's folder is never run. If transformers has the architecture, remove the entry."


def check_folder(folder: Path) -> None:
    """Refuse a folder whose files would run code, load something else, or lead out of it.

    Args:
        folder: Holds a ``config.json``.

    Raises:
        ValueError: If its config is no object of a sensible size, names code (``auto_map``), kernels, quantised weights
            or an adapter's base network, or its index names weights outside the folder or in another format.
    """
    file = folder / "config.json"
    config = read_object(file, _CONFIG_BYTES)
    for holder in (file, folder / "tokenizer_config.json"):
        entries = config if holder == file else read_object(holder, _CONFIG_BYTES) if holder.is_file() else {}
        for key, value in _entries(entries):
            if key == "auto_map" and value:
                raise ValueError(f"{holder} has an entry auto_map: {value!r:.80}. {_CODE}")
            if key.endswith("attn_implementation") and value not in (None, *_ATTENTION):
                raise ValueError(
                    f"{holder} asks for the attention kernel {value!r:.80}, which would be downloaded; give one of "
                    f"{', '.join(_ATTENTION)}, or remove the entry."
                )
            if key == "quantization_config" and value is not None:
                raise ValueError(f"{holder} has a quantization_config; give a network with float weights.")
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder} holds an adapter (adapter_config.json), whose base network is elsewhere; merge the two and save "
            "the network."
        )
    _check_index(folder)


def check_config(config: PreTrainedConfig, source: str) -> None:
    """Refuse what a config from the hub can hold, as `check_folder` does of a folder's.

    Args:
        config: As it was read.
        source: Where from.

    Raises:
        ValueError: If it names code or quantised weights.
    """
    if getattr(config, "auto_map", None):
        raise ValueError(f"The config of {source} has an entry auto_map. {_CODE}")
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"The config of {source} has a quantization_config; give a network with float weights.")


def check_size(folder: Path, architecture: Any, config: PreTrainedConfig) -> None:
    """Refuse a config that asks for far more memory than the stored weights could fill.

    transformers draws what is missing at random before it can be judged. Built here are shapes alone, without memory.

    Args:
        folder: Holds the weights.
        architecture: Class of the network; a class with ``_from_config``.
        config: The network's configuration.

    Raises:
        ValueError: If it has more than a thousand blocks, or many times the weights that are stored.
    """
    for part in (config, getattr(config, "encoder", None)):
        blocks = getattr(part, "num_hidden_layers", None)
        if blocks is not None and not 0 <= blocks <= _BLOCKS:
            raise ValueError(f"config.json has num_hidden_layers {blocks}, expected 0 to {_BLOCKS}")
    # Of a dense file a weight takes a byte at least; of a sparse one a bit.
    stored = sum(
        file.stat().st_size * (8 if ".sparse." in file.name else 1)
        for file in folder.glob("*.safetensors")
        if file.is_file()
    )
    with torch.device("meta"):
        built = sum(weight.numel() for weight in architecture._from_config(config).parameters())
    if built > _GROWTH * stored + _FRESH:
        raise ValueError(
            f"config.json asks for {built:,} weights, but {stored:,} at most are stored; they do not belong together"
        )


def check_link(file: Path) -> None:
    """Refuse to copy a link that leads out of its folder: what it stands for may be no part of a network.

    Args:
        file: In a network's folder. Links of the hub's cache lead into its folder ``blobs`` and are copied.

    Raises:
        ValueError: If it leads elsewhere.
    """
    folder = file.parent.resolve()
    allowed = (folder, folder.parent.parent / "blobs") if folder.parent.name == "snapshots" else (folder,)
    if file.is_symlink() and not any(file.resolve().is_relative_to(place) for place in allowed):
        raise ValueError(f"{file} is a link to {file.resolve()}, outside the folder; put the file itself there.")


def read_object(file: Path, largest: int) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        file: Its path.
        largest: Number of bytes that are too many.

    Raises:
        ValueError: If it is larger, or no JSON object in UTF-8.
    """
    remedy = "Save the network again with save_pretrained."
    if (size := file.stat().st_size) > largest:
        raise ValueError(f"Cannot load {file}: it has {size:,} bytes, expected {largest:,} at most. {remedy}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Cannot load {file}: it is no JSON in UTF-8 ({error}). {remedy}") from error
    if not isinstance(content, dict):
        raise ValueError(f"Cannot load {file}: it holds no JSON object. {remedy}")
    return content


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, those of configs within a config, too."""
    parts = [config]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            yield from part.items()
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(entry for entry in part if isinstance(entry, dict | list))


def _check_index(folder: Path) -> None:
    """Weights in several files are named by an index: each must be a safetensors file of the folder itself."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    files = read_object(index, 64 * 2**20).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{index} has no weight_map. Save the network again with save_pretrained.")
    for name, file in files.items():
        if not isinstance(file, str) or file != Path(file).name or not file.endswith(".safetensors"):
            raise ValueError(
                f"{index} says that {name:.80} is in {file!r:.80}; "
                "give names of safetensors files in the folder itself."
            )
