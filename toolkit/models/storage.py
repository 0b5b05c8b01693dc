"""Store compressed networks as folders that plain `transformers` reads, verified at once; load them again.

Sparse folders hold the zeros as a mask (see `toolkit.models.sparse_storage`): `load` reads them, and two lines make a
folder for plain `transformers` of one::

    from toolkit.models.storage import densify
    densify("runs/rpp-mrpc/model", "plain")

Networks of selected neurons have an architecture of the toolkit's own: `transformers` reads them once
`toolkit.models.neuron_model` is imported, as it is here.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from toolkit.files.writing import replacing
from toolkit.models.folder_checks import check_link, check_size
from toolkit.models.loading import load_with_head
from toolkit.models.model_card import head_of, mark, with_metadata
from toolkit.models.pretrained import load_config, quiet, reading, save_tokenizer
from toolkit.models.sparse_storage import SPARSE_FILE, Precision, is_sparse, read_sparse, round_weights, write_sparse
from toolkit.models.structure_storage import network_class
from toolkit.models.verification import compare_weights, rounded, verify

# Weights in whatever form, and the figures measured on the folder that they are in.
_LEFT_OUT = re.compile(r"\.(safetensors|bin|h5|msgpack|onnx|pth?|ckpt)\b|^row\.json$")


def save(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    config_yaml: str | None,
    card: str,
    example: Mapping[str, Tensor],
    overwrite: bool = False,
    sparse: bool = False,
    dtype: Precision = "float32",
) -> float:
    """Store a network with its tokenizer, recipe and model card; all of it or nothing.

    Everything is written beside `folder`, loaded back (with the plain ``AutoModel…`` class unless it is sparse),
    compared bit by bit (each weight, and the outputs on `example`) with the network, its weights rounded if `dtype`
    asks for that, and only then renamed. Call it in one process only.

    Args:
        network: The network; it is left as it is, in its mode and on its device.
        tokenizer: The tokenizer that belongs to it.
        folder: Where the weights, ``config.json``, tokenizer, ``recipe.yaml`` and ``README.md`` go.
        config_yaml: The resolved recipe; ``None`` leaves ``recipe.yaml`` out.
        card: The model card, in Markdown; metadata for the hub is put before it unless it has its own.
        example: A real tokenised batch, ``input_ids`` and so on ``(B, T)``; labels and index are ignored.
        overwrite: Whether an earlier network in `folder` is replaced.
        sparse: Whether the weights go into ``model.sparse.safetensors``, without their zeros, instead of
            ``model.safetensors``.
        dtype: Type of the stored values; float32 leaves all weights as they are.

    Returns:
        The largest difference that rounding makes to the outputs on `example`: 0 for float32. The card has it, too.

    Raises:
        FileExistsError: If `folder` holds something and `overwrite` is false.
        ValueError: If a weight is not finite, or too large for `dtype`, or `transformers` has no ``AutoModel…`` class
            for the network.
        RuntimeError: If what was loaded back differs from the network.
    """
    _check_place(folder, overwrite=overwrite)
    with replacing(folder) as staged:
        for name, weight in network.named_parameters():
            if not torch.isfinite(weight).all():
                raise ValueError(f"Weight {name} has NaN or infinite entries; the network is not stored in {folder}.")
        head = head_of(network.config, type(network).__name__)
        with quiet(hide_bars=True):
            network.save_pretrained(staged)
        save_tokenizer(tokenizer, staged)
        if sparse or dtype != "float32":
            _rewrite(staged, sparse=sparse, dtype=dtype)
        if config_yaml is not None:
            (staged / "recipe.yaml").write_text(config_yaml, encoding="utf-8")
        loaded = _loaded(network, staged, head)
        with reading(str(staged)):
            tokens = AutoTokenizer.from_pretrained(staged, trust_remote_code=False)
        difference = verify(network, loaded, tokenizer, tokens, example, dtype)
        if dtype != "float32":
            card = (
                f"{card.rstrip()}\n\nThe weights are rounded to {dtype}. On {len(example['input_ids'])} rows of its "
                f"data the network's outputs change by up to {difference:.3g}.\n"
            )
        card = with_metadata(card, head, network.config)
        (staged / "README.md").write_text(mark(card, network.config, sparse=sparse), encoding="utf-8")
    return difference


def load(folder: str | Path) -> PreTrainedModel:
    """Load a stored network, dense or sparse, in float32 and evaluation mode, with the head that it was stored with.

    Args:
        folder: A folder written by `save`, `sparsify`, `densify` or ``save_pretrained``.

    Raises:
        FileNotFoundError: If there is no such folder, or it holds no ``config.json`` or no safetensors.
        ValueError: If the head is unknown, the weights do not match the config, or a sparse file is damaged.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Give the folder of a stored network: <output>/model.")
    config = load_config(str(folder))
    if not isinstance(config.architectures, list) or not config.architectures:
        raise ValueError(f"{folder}/config.json names no architecture. Store the network with save_pretrained.")
    try:
        head = head_of(config, config.architectures[0])
    except ValueError as error:
        raise ValueError(f"{folder}/config.json: {error}") from error
    if is_sparse(folder):
        return _load_sparse(Path(folder), head, config, torch.float32)
    network, _ = load_with_head(str(folder), head, config, new_head=False)
    network.train(False)
    return network


def densify(folder: str | Path, target: str | Path) -> None:
    """Store a sparse network with its zeros, so that plain `transformers` reads it if it knows its architecture.

    Networks of selected neurons, and those with blocks of different shapes, remain for `load`. The weights are those
    that `load` gives for the sparse folder, bit by bit: rounded ones stay so, in float32.
    Nothing appears in `target` before it was loaded and compared.

    Args:
        folder: What `save` wrote with ``sparse=True``, or `sparsify`.
        target: The new folder.

    Raises:
        FileNotFoundError: If `folder` is no sparse one.
        FileExistsError: If `target` holds something.
        ValueError: If the sparse file is damaged.
    """
    if not is_sparse(folder):
        raise FileNotFoundError(f"{folder} holds no {SPARSE_FILE}; give a folder that was stored with sparse=True.")
    _convert(Path(folder), Path(target), sparse=False, dtype="float32")


def sparsify(folder: str | Path, target: str | Path, *, dtype: Precision = "float32") -> None:
    """Store a network of a folder sparsely in another.

    Tokenizer, config and card go with it; subfolders and weights in other forms do not. Nothing appears in `target`
    before it was loaded and compared.

    Args:
        folder: A stored network, sparse or not.
        target: The new folder.
        dtype: Type of the stored values; float32 leaves all weights as they are.

    Raises:
        FileNotFoundError: If `folder` holds no network with safetensors.
        FileExistsError: If `target` holds something.
        ValueError: If a weight is too large for `dtype`, or the weights do not match the config.
    """
    _convert(Path(folder), Path(target), sparse=True, dtype=dtype)


def _convert(folder: Path, target: Path, *, sparse: bool, dtype: Precision) -> None:
    """Copy a folder with its weights in another form."""
    _check_place(target, overwrite=False)
    with replacing(target) as staged:
        network = load(folder)
        staged.mkdir()
        for file in folder.iterdir():
            check_link(file)
            if file.is_file() and (file.suffix == ".safetensors" or not _LEFT_OUT.search(file.name)):
                shutil.copy(file, staged)
        _rewrite(staged, sparse=sparse, dtype=dtype)
        compare_weights(rounded(network, dtype).state_dict(), load(staged).state_dict())
        card = staged / "README.md"
        if card.is_file():
            text = mark(card.read_text(encoding="utf-8"), network.config, sparse=sparse)
            card.write_text(text, encoding="utf-8")


def _rewrite(folder: Path, *, sparse: bool, dtype: Precision) -> None:
    """Replace the weights of a folder by the same in another form."""
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    files = [folder / SPARSE_FILE] if is_sparse(folder) else sorted(folder.glob("model*.safetensors"))
    for file in files:
        if file.name == SPARSE_FILE:
            tensors, metadata = read_sparse(file)
            continue
        with safe_open(file, "pt") as opened:
            metadata |= opened.metadata() or {}
            tensors |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  no mapping
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    if sparse:
        write_sparse(tensors, folder / SPARSE_FILE, dtype, metadata)
        return
    save_file(round_weights(tensors, dtype), folder / "model.safetensors", metadata)
    if dtype != "float32":
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text = json.dumps({**config, "dtype": dtype}, indent=2, sort_keys=True)
        (folder / "config.json").write_text(f"{text}\n", encoding="utf-8")


def _check_place(folder: Path, *, overwrite: bool) -> None:
    """Refuse to write over a file, or over a folder that holds something, unless it may be replaced."""
    if folder.exists() and not (folder.is_dir() and (overwrite or not any(folder.iterdir()))):
        raise FileExistsError(f"{folder} is not empty; choose another folder, or delete it.")


def _load_sparse(folder: Path, head: Any, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """Load a sparse folder, all of whose weights must be the config's."""
    with reading(str(folder)):
        check_size(folder, head._model_mapping[type(config)], config)
    tensors, _ = read_sparse(folder / SPARSE_FILE)
    reader = network_class(head, config)
    if reader is head:
        reader = head._model_mapping[type(config)]  # the AutoModel… classes want a folder
    with reading(str(folder)):
        network, report = reader.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=dtype,
            ignore_mismatched_sizes=True,  # judged below
            output_loading_info=True,
        )
        if (folder / "generation_config.json").is_file():
            network.generation_config = GenerationConfig.from_pretrained(folder)
    mismatched = {key for key, *_ in report["mismatched_keys"]}
    for problem, names in (
        ("lacks", {*report["missing_keys"]}),
        ("has another shape for", mismatched),
        ("has a surplus", {*report["unexpected_keys"]}),
    ):
        if names:
            raise ValueError(
                f"{folder / SPARSE_FILE} {problem} {min(names)}; it does not belong to config.json "
                f"({config.model_type}). Store the network again."
            )
    network.name_or_path = str(folder)
    loaded: PreTrainedModel = network
    return loaded


def _loaded(network: PreTrainedModel, folder: Path, head: Any) -> PreTrainedModel:
    """Load what was just written of a network, in its type and on its device."""
    config = load_config(str(folder))
    if is_sparse(folder):
        loaded = _load_sparse(folder, head, config, network.dtype)
    else:
        with reading(str(folder)):
            loaded = network_class(head, config).from_pretrained(folder, dtype=network.dtype, use_safetensors=True)
    torch.nn.Module.to(loaded, network.device)
    return loaded
