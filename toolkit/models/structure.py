"""Remove attention heads and neurons of the feed-forward layers from a network, or zero them where they are.

What is kept is a `Structure`; `mask_structure` and `keep_structure` carry it out, the first by zeros and the second by
slicing, so that both networks compute the same. torch-pruning (Fang et al. 2023, https://arxiv.org/abs/2301.12900)
slices the linear layers.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class _Names:
    """Where an architecture keeps the parts of a block, by their paths within the block."""

    blocks: str = "encoder.layer"  # within the base model
    attention: str = "attention.self"  # has the number of heads
    heads: str = "num_attention_heads"
    inputs: tuple[str, ...] = ("attention.self.query", "attention.self.key", "attention.self.value")
    output: str = "attention.output.dense"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    width: str = "intermediate_size"  # in the config


_BERT = _Names()
_ARCHITECTURES = {
    "albert": _Names(
        blocks="encoder.albert_layer_groups",
        attention="albert_layers.0.attention",
        inputs=tuple(f"albert_layers.0.attention.{name}" for name in ("query", "key", "value")),
        output="albert_layers.0.attention.dense",
        up="albert_layers.0.ffn",
        down="albert_layers.0.ffn_output",
    ),
    "bert": _BERT,
    "deberta-v2": _Names(
        inputs=tuple(
            f"attention.self.{name}_proj" for name in ("query", "key", "value", "pos_key", "pos_query")
        ),  # the last two only where positions have weights of their own
    ),
    "distilbert": _Names(
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
"""The ``model_type`` of every architecture whose heads and neurons can be removed: those that were tested."""

_REFUSED = {
    "gpt2": "its layers are no nn.Linear, and torch-pruning would remove nothing, in silence",
    "modernbert": "it keeps query, key and value in one matrix, and both halves of a gated feed-forward layer",
    "mpnet": "all of its blocks share one position bias for each head",
    "t5": "all of its blocks share one position bias for each head",
    "mt5": "all of its blocks share one position bias for each head",
}


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What stays of each block; ALBERT's shared block is one.

    Args:
        heads: For each block the numbers of the kept heads, ascending.
        neurons: For each block the numbers of the kept neurons of its feed-forward layer, ascending.
    """

    heads: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Groups:
    """The weights that each head, or each neuron, of a block owns.

    Args:
        count: Number of heads or neurons G.
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
    names = _names(network)
    paths = {id(parameter): path for path, parameter in network.named_parameters()}
    found = []
    for block in _blocks(network, names):

        def parts(layers: Sequence[nn.Linear], last: nn.Linear) -> tuple[tuple[str, nn.Parameter, int], ...]:
            owned = [(weight, 0) for layer in layers for weight in layer.parameters()]
            owned.append((last.get_parameter("weight"), 1))
            return tuple((paths[id(weight)], weight, dim) for weight, dim in owned)

        heads = getattr(block.get_submodule(names.attention), names.heads)
        up, down = _linear(block, names.up), _linear(block, names.down)
        found.append(
            BlockGroups(
                heads=Groups(heads, parts(_inputs(block, names), _linear(block, names.output))),
                neurons=Groups(up.out_features, parts([up], down)),
            )
        )
    return found


def whole_structure(network: PreTrainedModel) -> Structure:
    """The structure of a network as it is: everything is kept."""
    blocks = block_groups(network)
    return Structure(
        heads=tuple(tuple(range(block.heads.count)) for block in blocks),
        neurons=tuple(tuple(range(block.neurons.count)) for block in blocks),
    )


@torch.no_grad()
def mask_structure(network: PreTrainedModel, structure: Structure) -> None:
    """Zero the weights of the heads and neurons that are not kept, in place.

    The network then computes what `keep_structure` leaves: a head without values and a neuron without weights, whose
    columns in the next matrix are zero, too, contribute nothing.

    Args:
        network: A network of one of the `SUPPORTED` architectures.
        structure: What is kept.

    Raises:
        ValueError: As `keep_structure`.
    """
    blocks = _checked(network, structure)
    for block, heads, neurons in zip(blocks, structure.heads, structure.neurons, strict=True):
        for groups, kept in ((block.heads, heads), (block.neurons, neurons)):
            for _, weight, dim in groups.parts:
                alive = groups.is_in(kept, weight.shape[dim]).to(weight.device)
                weight.masked_fill_(~alive if weight.ndim == 1 or dim == 1 else ~alive[:, None], 0)


def keep_structure(network: PreTrainedModel, structure: Structure) -> None:
    """Remove the heads and neurons that are not kept, in place.

    Everything else stays, ties with the embeddings included. What is left is written into a new config:
    ``network.config`` is another object afterwards. Equal widths of all blocks go into the config's own field. What it
    has no field for, fewer heads of the same size or widths that differ, becomes its entry ``structure``: plain
    `transformers` then refuses the stored weights, whose shapes are others, and `toolkit.load` reads them. Build the
    optimizer afterwards.

    Args:
        network: A network of one of the `SUPPORTED` architectures, with or without a head.
        structure: What is kept.

    Raises:
        ValueError: If the architecture was not tested, or the structure is not one of the network. Nothing has changed
            then.
        RuntimeError: If not just the weights of the removed groups are gone.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 10}
        >>> network = BertModel(BertConfig(num_hidden_layers=1, **sizes))
        >>> keep_structure(network, Structure(heads=((0, 1),), neurons=((1, 4, 6, 7),)))
        >>> network.config.intermediate_size, network.encoder.layer[0].output.dense
        (4, Linear(in_features=4, out_features=8, bias=True))
    """
    blocks = _checked(network, structure)
    before = _num_parameters(network)
    removed = 0
    for block, heads, neurons in zip(blocks, structure.heads, structure.neurons, strict=True):
        for groups, kept in ((block.heads, heads), (block.neurons, neurons)):
            sizes = [weight.numel() // groups.count for _, weight, _ in groups.parts]
            removed += (groups.count - len(kept)) * sum(sizes)

    names = _names(network)
    for number, module in enumerate(_blocks(network, names)):
        up, down, output = (_linear(module, name) for name in (names.up, names.down, names.output))
        alive = blocks[number].neurons.is_in(structure.neurons[number], up.out_features)
        _slice([up], down, alive)
        alive = blocks[number].heads.is_in(structure.heads[number], output.in_features)
        _slice(_inputs(module, names), output, alive)
        attention: Any = module.get_submodule(names.attention)
        setattr(attention, names.heads, len(structure.heads[number]))
        if hasattr(attention, "all_head_size"):
            attention.all_head_size = len(structure.heads[number]) * attention.attention_head_size
    _describe(network, names, structure)

    if before - _num_parameters(network) != removed:
        raise RuntimeError(
            f"{removed} weights were to be removed from {type(network).__name__}, but "
            f"{before - _num_parameters(network)} are gone. Load the network again, and report its architecture."
        )


def _slice(layers: Sequence[nn.Linear], last: nn.Linear, alive: Tensor) -> None:
    """Remove outputs of some layers, and the inputs of the next that read them."""
    gone = (~alive).nonzero().flatten().tolist()
    if not gone:
        return
    trained = [(layer, [weight.requires_grad for weight in layer.parameters()]) for layer in (*layers, last)]
    for layer in layers:
        torch_pruning.prune_linear_out_channels(layer, gone)
    torch_pruning.prune_linear_in_channels(last, gone)
    for layer, flags in trained:  # torch-pruning makes new parameters, which forget that they were frozen
        for weight, flag in zip(layer.parameters(), flags, strict=True):
            weight.requires_grad_(flag)


def _describe(network: PreTrainedModel, names: _Names, structure: Structure) -> None:
    """Write what is left into a new config of the network and its parts."""
    widths = [len(kept) for kept in structure.neurons]
    counts = [len(kept) for kept in structure.heads]
    # The parts of a network share one object, but so do networks made from one config: the others keep it as it is.
    holders: list[Any] = [part for part in network.modules() if hasattr(part, "config")]
    new: dict[int, PreTrainedConfig] = {}
    for part in holders:
        if id(part.config) not in new:
            config: Any = copy.deepcopy(part.config)
            setattr(config, names.width, max(widths))
            config.structure = None
            if len({*widths}) > 1 or any(count != config.num_attention_heads for count in counts):
                config.structure = {"heads": counts, "neurons": widths}
            else:
                del config.structure
            new[id(part.config)] = config
    olds = [(part, new[id(part.config)]) for part in holders]
    for part, config in olds:
        part.config = config


def _names(network: PreTrainedModel) -> _Names:
    """Find where an architecture keeps its parts; refuse what was not tested, before anything is changed."""
    config: Any = network.base_model.config
    reason = None
    if config.model_type not in _ARCHITECTURES:
        reason = _REFUSED.get(config.model_type, "removing parts of this architecture's blocks was never tested")
    elif getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        reason = "it is used as a decoder (is_decoder)"
    elif config.model_type == "albert" and config.inner_group_num != 1:
        reason = f"each of its groups has {config.inner_group_num} blocks (inner_group_num)"
    if reason is not None:
        raise ValueError(
            f"Cannot remove heads or neurons of {config.model_type}: {reason}. Give an encoder of one of "
            f"{', '.join(SUPPORTED)}."
        )
    return _ARCHITECTURES[config.model_type]


def _blocks(network: PreTrainedModel, names: _Names) -> list[nn.Module]:
    return list(network.base_model.get_submodule(names.blocks).children())


def _linear(block: nn.Module, path: str) -> nn.Linear:
    layer = block.get_submodule(path)
    if not isinstance(layer, nn.Linear):
        raise ValueError(f"{path} is {layer}, expected an nn.Linear. Load the network in float32, without adapters.")
    return layer


def _inputs(block: nn.Module, names: _Names) -> list[nn.Linear]:
    present = {path for path, _ in block.named_modules()}
    return [_linear(block, path) for path in names.inputs if path in present]


def _checked(network: PreTrainedModel, structure: Structure) -> list[BlockGroups]:
    """Refuse a structure that is not one of the network."""
    blocks = block_groups(network)
    for name in ("heads", "neurons"):
        kept = getattr(structure, name)
        if len(kept) != len(blocks):
            raise ValueError(f"The structure has {name} for {len(kept)} blocks, but the network has {len(blocks)}.")
        for number, (block, own) in enumerate(zip(blocks, kept, strict=True)):
            count = getattr(block, name).count
            if not own or list(own) != sorted({*own}) or own[0] < 0 or own[-1] >= count:
                raise ValueError(
                    f"Block {number} is to keep the {name} {_short(own)}; give at least one of its {count}, by their "
                    "numbers from 0, ascending."
                )
    return blocks


def _short(numbers: Sequence[int]) -> str:
    return f"{list(numbers[:8])}{' …' if len(numbers) > 8 else ''}"


def _num_parameters(network: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
