"""Which weights each attention head and each neuron of the feed-forward layers owns, architecture by architecture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Where an architecture keeps the parts of a block, by their paths within the block.

    Args:
        blocks: The list of blocks, within the base model.
        attention: What has the number of heads.
        heads: That number's name there.
        inputs: Layers whose outputs the heads divide; those that a network lacks are passed over.
        output: The layer whose inputs they divide.
        up: The layer whose outputs are the neurons.
        down: The layer that reads them.
        width: Number of neurons in the config.
    """

    blocks: str = "encoder.layer"
    attention: str = "attention.self"
    heads: str = "num_attention_heads"
    inputs: tuple[str, ...] = ("attention.self.query", "attention.self.key", "attention.self.value")
    output: str = "attention.output.dense"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    width: str = "intermediate_size"


_BERT = Architecture()
_ARCHITECTURES = {
    "albert": Architecture(
        blocks="encoder.albert_layer_groups",
        attention="albert_layers.0.attention",
        inputs=tuple(f"albert_layers.0.attention.{name}" for name in ("query", "key", "value")),
        output="albert_layers.0.attention.dense",
        up="albert_layers.0.ffn",
        down="albert_layers.0.ffn_output",
    ),
    "bert": _BERT,
    "deberta-v2": Architecture(
        inputs=tuple(
            f"attention.self.{name}_proj" for name in ("query", "key", "value", "pos_key", "pos_query")
        ),  # the last two only where positions have weights of their own
    ),
    "distilbert": Architecture(
        blocks="transformer.layer",
        attention="attention",
        heads="n_heads",
        inputs=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        output="attention.out_lin",
        up="ffn.lin1",
        down="ffn.lin2",
        width="hidden_dim",
    ),
    "electra": _BERT,
    "roberta": _BERT,
}
SUPPORTED = tuple(_ARCHITECTURES)
"""The ``model_type`` of every architecture that parts can be removed from: those that were tested."""

_REFUSED = {
    "gpt2": "its layers are no nn.Linear, and torch-pruning would remove nothing, in silence",
    "modernbert": "it keeps query, key and value in one matrix, and both halves of a gated feed-forward layer",
    "mpnet": "all of its blocks share one position bias for each head",
    "t5": "all of its blocks share one position bias for each head",
    "mt5": "all of its blocks share one position bias for each head",
}


@dataclass(frozen=True)
class Groups:
    """The weights that each head or neuron of a block, or each hidden channel of a network, owns.

    Args:
        count: Number of heads, neurons or channels G.
        parts: Name of a parameter in the network, the parameter, and the dimension that is divided into G groups.
    """

    count: int
    parts: tuple[tuple[str, nn.Parameter, int], ...]

    def is_in(self, numbers: Sequence[int], size: int) -> Tensor:
        """Mark the entries, along a dimension of ``size``, that belong to some of the groups."""
        marked = torch.zeros(self.count, dtype=torch.bool, device="cpu")  # transformers builds networks on "meta"
        marked[list(numbers)] = True
        return marked.repeat_interleave(size // self.count)


@dataclass(frozen=True)
class BlockGroups:
    """The groups of one block."""

    heads: Groups
    neurons: Groups


def block_groups(network: PreTrainedModel) -> list[BlockGroups]:
    """Find the weights of each head and neuron, block by block.

    Args:
        network: A network of one of the `SUPPORTED` architectures, with or without a head.

    Raises:
        ValueError: If the architecture was not tested, or has parts that heads can't be removed from.
    """
    names = architecture_of(network)
    paths = {id(parameter): path for path, parameter in network.named_parameters()}
    found = []
    for block in blocks_of(network, names):

        def parts(layers: Sequence[nn.Linear], last: nn.Linear) -> tuple[tuple[str, nn.Parameter, int], ...]:
            owned = [(weight, 0) for layer in layers for weight in layer.parameters()]
            owned.append((last.get_parameter("weight"), 1))
            return tuple((paths[id(weight)], weight, dim) for weight, dim in owned)

        heads = getattr(block.get_submodule(names.attention), names.heads)
        up, down = linear_layer(block, names.up), linear_layer(block, names.down)
        found.append(
            BlockGroups(
                heads=Groups(heads, parts(input_layers(block, names), linear_layer(block, names.output))),
                neurons=Groups(up.out_features, parts([up], down)),
            )
        )
    return found


def architecture_of(network: PreTrainedModel) -> Architecture:
    """Find where an architecture keeps its parts.

    Args:
        network: Of `transformers`.

    Raises:
        ValueError: If removing parts of the architecture was not tested.
    """
    config: Any = network.base_model.config
    reason = None
    if network.config.model_type != config.model_type:
        config = network.config
        reason = "its blocks are those of another network, cut and read by a head of their own"
    elif config.model_type not in _ARCHITECTURES:
        reason = _REFUSED.get(config.model_type, "removing parts of this architecture's blocks was never tested")
    elif getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        reason = "it is used as a decoder (is_decoder)"
    elif config.model_type == "albert" and config.inner_group_num != 1:
        reason = f"each of its groups has {config.inner_group_num} blocks (inner_group_num)"
    if reason is not None:
        raise ValueError(
            f"Cannot remove parts of {config.model_type}: {reason}. Give an encoder of one of {', '.join(SUPPORTED)}."
        )
    return _ARCHITECTURES[config.model_type]


def blocks_of(network: PreTrainedModel, names: Architecture) -> list[nn.Module]:
    """Find the blocks; ALBERT's shared block is one."""
    return list(network.base_model.get_submodule(names.blocks).children())


def linear_layer(block: nn.Module, path: str) -> nn.Linear:
    """Find a layer of a block.

    Args:
        block: Of a network.
        path: Of the layer in the block.

    Raises:
        ValueError: If it is no `torch.nn.Linear`.
    """
    layer = block.get_submodule(path)
    if not isinstance(layer, nn.Linear):
        raise ValueError(f"{path} is {layer}, expected an nn.Linear. Load the network in float32, without adapters.")
    return layer


def input_layers(block: nn.Module, names: Architecture) -> list[nn.Linear]:
    """Find the layers of a block whose outputs its heads divide."""
    present = {path for path, _ in block.named_modules()}
    return [linear_layer(block, path) for path in names.inputs if path in present]
