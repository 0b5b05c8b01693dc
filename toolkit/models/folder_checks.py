"""What is refused of a network's folder before transformers reads it: a folder may come from anywhere."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from transformers import PreTrainedConfig
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils.peft_utils import find_adapter_config_file

_CONFIG_BYTES = 4 * 2**20  # Of config.json; the numbers of kept neurons of a large network take 3 MB.
_BLOCKS = 1000
# Modules, weights and buffers: a block of an encoder has some forty; a stored weight's name takes more than 16 bytes.
_PARTS, _FEW, _NAME = 100 * _BLOCKS, 5000, 16
_LABELS = 10_000  # transformers names each that is counted before it judges any.
# Configs make lists of as many entries as these say, and networks as many modules.
_COUNTS = re.compile(r"(layers|groups|blocks|stages|depths|repeats|group_num|n(um)?_layer|attention_types)$")
_GROWTH, _FRESH = 16, 50_000_000  # Heads that were removed are built at first; a new head needs some weights, too.
_ATTENTION = ("eager", "sdpa", "flex_attention")  # Other names may stand for kernels of the hub.
_CODE = "Code of a network's folder is never run. If transformers has the architecture, remove the entry."


def check_folder(folder: Path) -> None:
    """Refuse a folder whose files would run code, load something else, or lead out of it.

    Args:
        folder: Holds a ``config.json``.

    Raises:
        ValueError: If its config is no object of a sensible size, names code (``auto_map``), kernels, quantised
            weights, another config or an adapter's base network, counts more blocks or labels than networks have, or
            its index names weights outside the folder or in another format.
    """
    config = read_object(folder / "config.json", _CONFIG_BYTES)
    _check_entries(config, str(folder / "config.json"))
    if config.get("configuration_files"):
        raise ValueError(f"{folder / 'config.json'} names configuration_files to read in its place; remove the entry.")
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file():
        _check_entries(read_object(tokenizer, _CONFIG_BYTES), str(tokenizer))
    if (folder / "adapter_config.json").exists():
        raise _adapter(str(folder))
    _check_index(folder)


def check_hub_network(source: str) -> None:
    """Refuse what a network on the hub can ask for, as `check_folder` does of a folder's, before its config is built.

    Args:
        source: Its name there.

    Raises:
        OSError: If the hub does not deliver its config.
        ValueError: If its config names code, kernels or quantised weights, or counts more blocks or labels than
            networks have, or it is an adapter.
    """
    config, _ = PreTrainedConfig.get_config_dict(source)
    _check_entries(config, f"The config of {source}")
    if find_adapter_config_file(source) is not None:
        raise _adapter(source)


def check_hub_tokenizer(source: str) -> None:
    """Refuse a tokenizer on the hub whose config names code.

    Args:
        source: Its name there.

    Raises:
        OSError: If the hub cannot be asked.
        ValueError: If it does.
    """
    _check_entries(get_tokenizer_config(source), f"The tokenizer's config of {source}")


def check_config(config: PreTrainedConfig, source: str) -> None:
    """Refuse a config that names code or quantised weights however it came by them.

    Args:
        config: As it was read.
        source: Where from.

    Raises:
        ValueError: If it does.
    """
    if getattr(config, "auto_map", None):
        raise ValueError(f"The config of {source} has an entry auto_map. {_CODE}")
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"The config of {source} has a quantization_config; give a network with float weights.")


def _check_entries(entries: Mapping[str, Any], holder: str) -> None:
    """Refuse single entries of a config, those of configs within it, too."""
    for key, value in _entries(entries):
        if key == "auto_map" and value:
            raise ValueError(f"{holder} has an entry auto_map: {value!r:.80}. {_CODE}")
        if key.endswith("attn_implementation") and value not in (None, *_ATTENTION):
            raise ValueError(
                f"{holder} asks for the attention kernel {value!r:.80}, which would be downloaded; give one of "
                f"{', '.join(_ATTENTION)}, or remove the entry."
            )
        if (key.endswith("experts_implementation") or "kernel_config" in key or key == "use_kernels") and value:
            raise ValueError(f"{holder} asks for kernels, {key}: {value!r:.80}; remove the entry.")
        if key == "quantization_config" and value is not None:
            raise ValueError(f"{holder} has a quantization_config; give a network with float weights.")
        if _COUNTS.search(key) and (count := _largest(value)) > _BLOCKS:
            raise ValueError(f"{holder} has {key} {count!r:.80}, expected at most {_BLOCKS}.")
        labels = len(value) if key == "id2label" and isinstance(value, dict | list) else 0
        if key == "num_labels":
            labels = _largest(value)
        if labels > _LABELS:
            raise ValueError(f"{holder} has {labels!r:.80} labels ({key}), expected at most {_LABELS}.")


def _largest(value: Any) -> Any:
    """The largest number in a value, or in lists of lists of them; 0 if there is none."""
    largest: Any = 0
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, int | float) and part > largest:
            largest = part
    return largest


def _adapter(source: str) -> ValueError:
    return ValueError(
        f"{source} holds an adapter (adapter_config.json), whose base network is elsewhere; merge the two and save the "
        "network."
    )


def check_size(folder: Path, architecture: Any, config: PreTrainedConfig) -> None:
    """Refuse a config that asks for far more memory than the stored weights could fill.

    transformers draws what is missing at random before it can be judged. Built here are shapes alone, without memory,
    and no more of them than are allowed: numbers that nobody has thought of make modules, too.

    Args:
        folder: Holds the weights.
        architecture: Class of the network; a class with ``_from_config``.
        config: The network's configuration.

    Raises:
        ValueError: If it has more than a thousand blocks or a hundred thousand parts, or many times the weights or
            parts that are stored.
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
    with torch.device("meta"), _bounded(_GROWTH * stored + _FRESH, stored):
        architecture._from_config(config)


@contextmanager
def _bounded(values: int, stored: int) -> Iterator[None]:
    """Stop a network that is being built as soon as it has too many parts, or these too many values."""
    most = min(_PARTS, _FEW + stored // _NAME)
    built, parts, thread = 0, 0, threading.get_ident()

    def count(_: nn.Module, name: str, part: nn.Module | Tensor | None) -> None:
        nonlocal built, parts
        if part is None or threading.get_ident() != thread:
            return
        parts += 1
        built += part.numel() if isinstance(part, Tensor) else 0
        if built > values or parts > most:
            wanted = f"{built:,} weights" if built > values else f"{parts:,} modules and tensors"
            raise ValueError(
                f"config.json asks for at least {wanted}, but {stored:,} weights at most are stored; they do not "
                "belong together"
            )

    hooks = [
        registration.register_module_module_registration_hook(count),
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


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
    """Every key with its value, those of configs within a config, too; names of labels are no keys."""
    parts = [config]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            yield from part.items()
            parts.extend(value for key, value in part.items() if key not in ("id2label", "label2id"))
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
