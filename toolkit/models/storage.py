"""Store compressed networks as folders that plain `transformers` reads, verified at once; load them again.

Networks of selected neurons have an architecture of the toolkit's own: `transformers` reads them once
`toolkit.models.neuron_model` is imported, as it is here.
"""

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from toolkit.models.encoder import load_with_head
from toolkit.models.neuron_config import NeuronSelectionConfig
from toolkit.models.pretrained import load_config, quiet, reading

# What the hub calls the job of each head.
_HEADS: dict[Any, str] = {
    AutoModelForSequenceClassification: "text-classification",
    AutoModelForTokenClassification: "token-classification",
    AutoModelForMaskedLM: "fill-mask",
    AutoModelForCausalLM: "text-generation",
    AutoModel: "feature-extraction",
}

_LOADING = """\
The architecture is one of `lightning-compression-toolkit`, which has to be installed: `toolkit.load("this folder")`
loads the network, and so do the `Auto…` classes of `transformers` after `import toolkit.models.neuron_model`.
"""


def save(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    config_yaml: str | None,
    card: str,
    example: Mapping[str, Tensor],
    overwrite: bool = False,
) -> None:
    """Store a network with its tokenizer, recipe and model card; all of it or nothing.

    Everything is written beside `folder`, loaded back with the plain ``AutoModel…`` class, compared (each
    weight, and the outputs on `example`, bit by bit), and only then renamed. Call it in one process only.

    Args:
        network: The network; it is left as it is, in its mode and on its device.
        tokenizer: The tokenizer that belongs to it.
        folder: Where ``model.safetensors``, ``config.json``, tokenizer, ``recipe.yaml`` and ``README.md`` go.
        config_yaml: The resolved recipe; ``None`` leaves ``recipe.yaml`` out.
        card: The model card, in Markdown; metadata for the hub is put before it unless it has its own.
        example: A real tokenised batch, ``input_ids`` and so on ``(B, T)``; labels and index are ignored.
        overwrite: Whether an earlier network in `folder` is replaced.

    Raises:
        FileExistsError: If `folder` holds something and `overwrite` is false.
        ValueError: If a weight is not finite, or `transformers` has no ``AutoModel…`` class for the network.
        RuntimeError: If what was loaded back differs from the network.
    """
    if folder.exists() and not (folder.is_dir() and (overwrite or not any(folder.iterdir()))):
        raise FileExistsError(f"{folder} is not empty; choose another folder, or delete it.")
    for name, weight in network.named_parameters():
        if not torch.isfinite(weight).all():
            raise ValueError(f"Weight {name} has NaN or infinite entries; the network is not stored in {folder}.")
    head = _head_of(network.config, type(network).__name__)

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        staged = Path(beside) / folder.name
        with quiet(hide_bars=True):
            network.save_pretrained(staged)
            tokenizer.save_pretrained(staged)
        if config_yaml is not None:
            (staged / "recipe.yaml").write_text(config_yaml, encoding="utf-8")
        (staged / "README.md").write_text(_with_metadata(card, head, network.config), encoding="utf-8")
        _verify(network, tokenizer, staged, head, example)
        if folder.exists():
            folder.rename(Path(beside) / "replaced")
        staged.rename(folder)


def load(folder: str | Path) -> PreTrainedModel:
    """Load a stored network, in float32 and evaluation mode, with the head that it was stored with.

    Args:
        folder: A folder written by `save` or by ``save_pretrained``.

    Raises:
        FileNotFoundError: If there is no such folder, or it holds no ``config.json`` or no safetensors.
        ValueError: If the head is unknown or the weights do not match the config.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Give the folder of a stored network: <output>/model.")
    config = load_config(str(folder))
    if not config.architectures:
        raise ValueError(f"{folder}/config.json names no architecture. Store the network with save_pretrained.")
    head = _head_of(config, config.architectures[0])
    network, _ = load_with_head(str(folder), head, config, new_head=False)
    network.train(False)
    return network


def _head_of(config: PreTrainedConfig, architecture: str) -> Any:
    """Find the ``AutoModel…`` class that makes `architecture` from `config`."""
    for head in _HEADS:
        mapping = head._model_mapping
        if type(config) in mapping and mapping[type(config)].__name__ == architecture:
            return head
    raise ValueError(
        f"transformers has no AutoModel class for {architecture}; use a network with a sequence classification, "
        "token classification, masked language model or causal language model head, or none."
    )


def _with_metadata(card: str, head: Any, config: PreTrainedConfig) -> str:
    """Put metadata for the hub before a card, and behind it how to load what `transformers` does not know alone."""
    own = isinstance(config, NeuronSelectionConfig)
    if own:
        card = f"{card.rstrip()}\n\n{_LOADING}"
    if card.startswith("---\n"):
        return card
    metadata = {
        "library_name": "lightning-compression-toolkit" if own else "transformers",
        "pipeline_tag": _HEADS[head],
        "tags": ["compression", "lightning-compression-toolkit", *(["neuron-selection"] if own else [])],
    }
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n\n{card}"


def _verify(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    head: Any,
    example: Mapping[str, Tensor],
) -> None:
    """Load what was written and compare: weights, outputs on the example, and the tokenizer's ids."""
    with reading(str(folder)):
        loaded = head.from_pretrained(folder, dtype=network.dtype, use_safetensors=True).to(network.device)
        tokens = AutoTokenizer.from_pretrained(folder)
    expected, found = network.state_dict(), loaded.state_dict()
    differing = [
        name
        for name in sorted(expected.keys() | found.keys())
        if name not in expected or name not in found or not torch.equal(expected[name], found[name])
    ]
    if differing:
        raise RuntimeError(
            f"{len(differing)} weights differ after loading, among them {differing[0]}; nothing was stored. "
            "The network has a form that its config.json cannot express."
        )
    inputs = {name: tensor.to(network.device) for name, tensor in example.items() if name not in ("labels", "index")}
    difference = (_outputs(network, inputs) - _outputs(loaded, inputs)).abs().max().item()
    if difference != 0.0:
        raise RuntimeError(
            f"Outputs differ by up to {difference:.3g} after loading; nothing was stored. "
            "The network computes something that its config.json does not express."
        )
    text = tokenizer.decode(example["input_ids"][0], skip_special_tokens=True)
    if tokens(text)["input_ids"] != tokenizer(text)["input_ids"] or len(tokens) != len(tokenizer):
        raise RuntimeError(
            "AutoTokenizer gives other ids than the tokenizer; nothing was stored. "
            "Take the tokenizer from toolkit.models.encoder.load_tokenizer."
        )


@torch.inference_mode()
def _outputs(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    # A copy, as the kernels' choice may depend on how memory is aligned: weights from a file are not.
    network = copy.deepcopy(network)
    network.train(False)
    with torch.autocast(network.device.type, enabled=False):
        outputs: Tensor = network(**inputs)[0]
    return outputs
