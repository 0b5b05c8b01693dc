"""Which weights each hidden channel owns: its slice of everything that writes, normalises or reads the hidden states.

Each block adds to the hidden states, whose width D is the hidden size: a channel can't be removed from one block alone.
It goes from the embeddings, from every block, from the pooler and from the head at once.
"""

import re
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from toolkit.models.structure_groups import Architecture, Groups, architecture_of, blocks_of, input_layers

# What the axes of a weight run over: the hidden channels "h", the channels of the embeddings "e", and something else
# ".". A bias has the first axis. Pooler and transforms before an output layer give as many channels as they read, for
# all architectures build them so. Outside the blocks, by the path within the network without its base's name.
_EMBEDDINGS = r"embeddings\.(word|position|token_type)_embeddings"
_AXES = {
    "albert": {
        _EMBEDDINGS: ".e",
        r"embeddings\.LayerNorm": "e",
        r"encoder\.embedding_hidden_mapping_in": "he",
        r"pooler": "hh",
        r"classifier|sop_classifier\.classifier|qa_outputs": ".h",
        r"predictions": ".",
        r"predictions\.dense": "eh",
        r"predictions\.LayerNorm": "e",
        r"predictions\.decoder": ".e",
    },
    "bert": {
        _EMBEDDINGS: ".h",
        r"embeddings\.LayerNorm": "h",
        r"pooler\.dense": "hh",
        r"classifier|cls\.seq_relationship|qa_outputs": ".h",
        r"cls\.predictions": ".",
        r"cls\.predictions\.transform\.dense": "hh",
        r"cls\.predictions\.transform\.LayerNorm": "h",
        r"cls\.predictions\.decoder": ".h",
    },
    "deberta-v2": {
        _EMBEDDINGS: ".e",
        r"embeddings\.embed_proj": "he",
        r"embeddings\.LayerNorm": "h",
        r"encoder\.rel_embeddings": ".h",
        r"encoder\.LayerNorm|encoder\.conv\.LayerNorm": "h",
        r"encoder\.conv\.conv": "hh.",
        r"pooler\.dense": "hh",
        r"classifier|qa_outputs": ".h",
        r"cls\.predictions|lm_predictions\.lm_head": ".",
        r"cls\.predictions\.transform\.dense": "eh",
        r"cls\.predictions\.transform\.LayerNorm": "e",
        r"cls\.predictions\.decoder": ".e",
        r"lm_predictions\.lm_head\.dense": "hh",
        r"lm_predictions\.lm_head\.LayerNorm": "h",
    },
    "distilbert": {
        _EMBEDDINGS: ".h",
        r"embeddings\.LayerNorm": "h",
        r"pre_classifier|vocab_transform": "hh",
        r"vocab_layer_norm": "h",
        r"classifier|vocab_projector|qa_outputs": ".h",
    },
    "electra": {
        _EMBEDDINGS: ".e",
        r"embeddings\.LayerNorm": "e",
        r"embeddings_project": "he",
        r"classifier\.dense|discriminator_predictions\.dense": "hh",
        r"classifier(\.out_proj)?|discriminator_predictions\.dense_prediction|qa_outputs": ".h",
        r"generator_predictions\.dense": "eh",
        r"generator_predictions\.LayerNorm": "e",
        r"generator_lm_head": ".e",
    },
    "roberta": {
        _EMBEDDINGS: ".h",
        r"embeddings\.LayerNorm": "h",
        r"pooler\.dense|classifier\.dense|lm_head\.dense": "hh",
        r"classifier(\.out_proj)?|lm_head\.decoder|qa_outputs": ".h",
        r"lm_head": ".",
        r"lm_head\.layer_norm": "h",
    },
}
_PROJECTED = {"albert": "encoder.embedding_hidden_mapping_in"}  # whatever the widths; the others only where they differ


@dataclass(frozen=True)
class HiddenLayer:
    """A layer whose weight runs over the hidden channels.

    Args:
        path: Within the network.
        module: The layer.
        dims: Dimensions of its weight that do. Its bias does where 0 is among them.
    """

    path: str
    module: nn.Module
    dims: tuple[int, ...]


def num_channels(network: PreTrainedModel) -> int:
    """Count the hidden channels D of a network, which its config calls the hidden size."""
    config: Any = network.base_model.config
    return int(config.hidden_size)


def embeddings_are_hidden(config: Any) -> bool:
    """Tell whether the embeddings are hidden states themselves, and no layer projects them to the hidden size."""
    width = getattr(config, "embedding_size", config.hidden_size)
    return config.model_type not in _PROJECTED and width == config.hidden_size


def hidden_layers(network: PreTrainedModel) -> list[HiddenLayer]:
    """Find all layers that hidden channels can be removed from.

    Args:
        network: A network of one of the supported architectures, with or without a head.

    Raises:
        ValueError: If the architecture was not tested, or has a layer of which it is not known whether it reads or
            writes the hidden states.
    """
    axes = _axes_in_blocks(network, architecture_of(network))
    config: Any = network.base_model.config
    runs = {"h": True, "e": embeddings_are_hidden(config), ".": False}
    base = f"{network.base_model_prefix}."
    found = []
    for path, module in network.named_modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        outside = [of for known, of in _AXES[config.model_type].items() if re.fullmatch(known, path.removeprefix(base))]
        of = axes.get(path) or (outside[0] if outside else None)
        if of is None or getattr(module, "groups", 1) != 1:
            what = f"it is not known what {path} ({type(module).__name__}) does with them"
            if of is not None:
                what = f"{path} divides them into {module.groups} groups"
            raise ValueError(
                f"Cannot remove hidden channels of {type(network).__name__}: {what}. Remove heads and neurons only, "
                "or give a network for classification, tagging or masked language modelling."
            )
        dims = tuple(dim for dim, axis in enumerate(of) if runs[axis])
        if dims:
            _check_sizes(path, module, dims, config.hidden_size)
            found.append(HiddenLayer(path, module, dims))
    return found


def hidden_groups(network: PreTrainedModel) -> Groups:
    """Find the weights of each hidden channel.

    A weight that two layers share counts once. One that runs over the channels twice, as the pooler's does, is owned
    by two of them.

    Args:
        network: A network of one of the supported architectures, with or without a head.

    Raises:
        ValueError: As `hidden_layers`.
    """
    layers = {layer.path: layer for layer in hidden_layers(network)}
    parts = []
    for name, weight in network.named_parameters():  # each once
        path, _, kind = name.rpartition(".")
        if path in layers:
            dims = layers[path].dims if kind == "weight" else tuple(dim for dim in layers[path].dims if dim == 0)
            parts += [(name, weight, dim) for dim in dims]
    return Groups(num_channels(network), tuple(parts))


def _axes_in_blocks(network: PreTrainedModel, names: Architecture) -> dict[str, str]:
    """Name what the axes of the blocks' layers run over."""
    paths = {id(module): path for path, module in network.named_modules()}
    axes: dict[str, str] = {}
    for block in blocks_of(network, names):
        readers = [*input_layers(block, names), block.get_submodule(names.up)]
        writers = [block.get_submodule(names.output), block.get_submodule(names.down)]
        axes |= {paths[id(layer)]: ".h" for layer in readers} | {paths[id(layer)]: "h." for layer in writers}
        axes |= {paths[id(module)]: "h" for module in block.modules() if isinstance(module, nn.LayerNorm)}
    return axes


def _check_sizes(path: str, module: nn.Module, dims: tuple[int, ...], hidden_size: int) -> None:
    """Refuse a network whose layers are not as wide as its config says."""
    shape = tuple(module.get_parameter("weight").shape)
    if any(shape[dim] != hidden_size for dim in dims):
        raise ValueError(
            f"The weight of {path} has the shape {shape}, expected {hidden_size} (hidden_size) in its dimensions "
            f"{dims}. Load a network that fits its config."
        )
