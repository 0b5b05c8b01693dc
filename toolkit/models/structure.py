"""Remove attention heads, neurons of the feed-forward layers and hidden channels, or mask them where they are.

What is kept is a `Structure`; `mask_structure` and `keep_structure` carry it out, the first by zeros and the second by
slicing, so that both networks compute the same. torch-pruning (Fang et al. 2023, https://arxiv.org/abs/2301.12900)
slices the layers.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn import Parameter
from transformers import PreTrainedModel

from toolkit.models.hidden_channels import (
    HiddenLayer,
    embeddings_are_hidden,
    hidden_groups,
    hidden_layers,
    num_channels,
)
from toolkit.models.masked_norm import mask_norms, slice_norm
from toolkit.models.structure_config import describe
from toolkit.models.structure_groups import (
    SUPPORTED,
    Groups,
    architecture_of,
    block_groups,
    blocks_of,
    input_layers,
    linear_layer,
)

__all__ = [
    "KINDS",
    "SUPPORTED",
    "Structure",
    "along",
    "block_groups",
    "check_structure",
    "groups_of",
    "keep_structure",
    "mask_structure",
    "whole_structure",
]

KINDS = ("heads", "neurons", "hidden")
"""What can be removed: attention heads, neurons of the feed-forward layers, hidden channels."""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What stays of each block, where ALBERT's shared block is one, and of the hidden states.

    Args:
        heads: For each block the numbers of the kept heads, ascending.
        neurons: For each block the numbers of the kept neurons of its feed-forward layer, ascending.
        hidden: Numbers of the kept hidden channels, ascending; the same for all blocks. ``None`` keeps all.
    """

    heads: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...] | None = None

    def kept(self, kind: str) -> tuple[tuple[int, ...], ...]:
        """The kept numbers of one of the `KINDS`: for each block, or of hidden channels once.

        There are none of hidden channels where all are kept without being named.
        """
        if kind == "hidden":
            return () if self.hidden is None else (self.hidden,)
        own: tuple[tuple[int, ...], ...] = getattr(self, kind)
        return own

    @classmethod
    def of(cls, kept: Mapping[str, Sequence[Sequence[int]]]) -> "Structure":
        """Make one of the kept numbers of each of the `KINDS`, as `kept` gives them."""
        heads, neurons, hidden = (tuple(map(tuple, kept[kind])) for kind in KINDS)
        return cls(heads=heads, neurons=neurons, hidden=hidden[0] if hidden else None)


def groups_of(network: PreTrainedModel, kind: str) -> list[Groups]:
    """Find the weights that belong together.

    Args:
        network: A network of one of the `SUPPORTED` architectures, with or without a head.
        kind: One of the `KINDS`.

    Returns:
        The groups of every block; hidden channels are one entry, as they run through all blocks.

    Raises:
        ValueError: If the architecture was not tested, or has parts that these can't be removed from.
    """
    if kind == "hidden":
        return [hidden_groups(network)]
    return [getattr(block, kind) for block in block_groups(network)]


def whole_structure(network: PreTrainedModel) -> Structure:
    """The structure of a network as it is: everything is kept."""
    blocks = block_groups(network)
    return Structure(
        heads=tuple(tuple(range(block.heads.count)) for block in blocks),
        neurons=tuple(tuple(range(block.neurons.count)) for block in blocks),
        hidden=tuple(range(num_channels(network))),
    )


@torch.no_grad()
def mask_structure(network: PreTrainedModel, structure: Structure) -> None:
    """Zero the weights of what is not kept, and leave hidden channels out of the LayerNorms, in place.

    The network then computes what `keep_structure` leaves: a head without values and a neuron without weights, whose
    columns in the next matrix are zero, too, contribute nothing. Nor does a hidden channel that nothing writes or
    reads; but mean and variance of a LayerNorm are over zeros, too, so that a
    `toolkit.models.masked_norm.MaskedLayerNorm` takes the place of each. Hidden states keep their shape, with zeros
    for the removed channels. It is made to be trained and then sliced, not to be stored.

    Args:
        network: A network of one of the `SUPPORTED` architectures.
        structure: What is kept.

    Raises:
        ValueError: As `keep_structure`.
    """
    for groups, kept in _checked(network, structure):
        for _, weight, dim in groups.parts:
            alive = groups.is_in(kept, weight.shape[dim]).to(weight.device)
            weight.masked_fill_(~along(alive, weight, dim), 0)
    if structure.hidden is not None and len(structure.hidden) < num_channels(network):
        norms = [layer.path for layer in hidden_layers(network) if isinstance(layer.module, nn.LayerNorm)]
        mask_norms(network, norms, structure.hidden)


def along(values: Tensor, weight: Tensor, dim: int) -> Tensor:
    """Shape one value for each entry of a dimension so that it is broadcast over a weight.

    Args:
        values: One dimension.
        weight: Any shape.
        dim: The dimension of the weight that has as many entries.

    Example:
        >>> along(torch.tensor([1, 2]), torch.ones(2, 3), 0).shape
        torch.Size([2, 1])
    """
    return values.view([-1 if other == dim else 1 for other in range(weight.ndim)])


def keep_structure(network: PreTrainedModel, structure: Structure) -> None:
    """Remove what is not kept, in place.

    Everything else stays, ties with the embeddings included. What is left is written into a new config:
    ``network.config`` is another object afterwards. Equal widths of all blocks go into the config's own fields, as do
    heads and hidden size where the kept heads fill it. What it has no field for, fewer heads of the same size, a hidden
    size that they do not fill, or widths that differ, becomes its entry ``structure``: plain `transformers` then
    refuses the stored weights, whose shapes are others, and `toolkit.load` reads them. Build the optimizer afterwards.

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
    shapes = {name: list(weight.shape) for name, weight in network.named_parameters()}
    for groups, kept in _checked(network, structure):
        for name, weight, dim in groups.parts:
            shapes[name][dim] = weight.shape[dim] // groups.count * len(kept)

    names = architecture_of(network)
    blocks = blocks_of(network, names)
    head_size = 0
    for module, heads, neurons in zip(blocks, structure.heads, structure.neurons, strict=True):
        up, down, output = (linear_layer(module, name) for name in (names.up, names.down, names.output))
        attention: Any = module.get_submodule(names.attention)
        head_size = output.in_features // getattr(attention, names.heads)
        _slice([up], down, Groups(up.out_features, ()), neurons)
        _slice(input_layers(module, names), output, Groups(output.in_features // head_size, ()), heads)
        setattr(attention, names.heads, len(heads))
        if hasattr(attention, "all_head_size"):
            attention.all_head_size = len(heads) * head_size
    hidden_size = num_channels(network)
    if structure.hidden is not None and len(structure.hidden) < hidden_size:
        _slice_hidden(network, hidden_layers(network), structure.hidden)
        hidden_size = len(structure.hidden)
    describe(
        network,
        width=names.width,
        heads=[len(kept) for kept in structure.heads],
        neurons=[len(kept) for kept in structure.neurons],
        hidden_size=hidden_size,
        head_size=head_size,
    )

    found = {name: list(weight.shape) for name, weight in network.named_parameters()}
    if found != shapes:
        wrong = next(name for name in {**shapes, **found} if shapes.get(name) != found.get(name))
        raise RuntimeError(
            f"{wrong} of {type(network).__name__} has the shape {found.get(wrong)} after the removal, expected "
            f"{shapes.get(wrong)}. Load the network again, and report its architecture."
        )


def _slice(layers: Sequence[nn.Linear], last: nn.Linear, groups: Groups, kept: Sequence[int]) -> None:
    """Remove outputs of some layers, and the inputs of the next that read them."""
    gone = (~groups.is_in(kept, last.in_features)).nonzero().flatten().tolist()
    if gone:
        for layer in layers:
            _prune(layer, torch_pruning.prune_linear_out_channels, gone)
        _prune(last, torch_pruning.prune_linear_in_channels, gone)


def _slice_hidden(network: PreTrainedModel, layers: Sequence[HiddenLayer], kept: Sequence[int]) -> None:
    """Remove hidden channels of all layers that run over them; those that share a weight share the new one."""
    gone = sorted({*range(num_channels(network))} - {*kept})
    new: dict[int, tuple[Parameter, Parameter]] = {}  # The old weights are kept alive, so that no two have one id.
    for layer in layers:
        module = layer.module
        if isinstance(module, nn.LayerNorm):
            network.set_submodule(layer.path, slice_norm(module, kept))
            continue
        old = module.get_parameter("weight")
        for dim in layer.dims:
            _prune(module, _PRUNERS[type(module), dim], gone)
        _, module.weight = new.setdefault(id(old), (old, module.get_parameter("weight")))


_PRUNERS: dict[tuple[type[nn.Module], int], Callable[[nn.Module, Sequence[int]], nn.Module]] = {
    (nn.Embedding, 1): torch_pruning.prune_embedding_out_channels,
    (nn.Linear, 0): torch_pruning.prune_linear_out_channels,
    (nn.Linear, 1): torch_pruning.prune_linear_in_channels,
    (nn.Conv1d, 0): torch_pruning.prune_conv_out_channels,
    (nn.Conv1d, 1): torch_pruning.prune_conv_in_channels,
}


def _prune(layer: nn.Module, pruner: Callable[[nn.Module, Sequence[int]], nn.Module], gone: Sequence[int]) -> None:
    """Prune a layer; torch-pruning makes new parameters, which forget that they were frozen."""
    trained = {name: weight.requires_grad for name, weight in layer.named_parameters()}
    pruner(layer, gone)
    for name, weight in layer.named_parameters():
        weight.requires_grad_(trained[name])


def check_structure(network: PreTrainedModel, structure: Structure) -> None:
    """Refuse a structure that is not one of the network; nothing is changed.

    Args:
        network: A network of `transformers`.
        structure: What is to be kept.

    Raises:
        ValueError: As `keep_structure`.
    """
    _checked(network, structure)


def _checked(network: PreTrainedModel, structure: Structure) -> list[tuple[Groups, Sequence[int]]]:
    """List the groups of a network with what is kept of each."""
    found: list[tuple[Groups, Sequence[int]]] = []
    blocks = block_groups(network)
    for name in ("heads", "neurons"):
        kept = getattr(structure, name)
        if len(kept) != len(blocks):
            raise ValueError(f"The structure has {name} for {len(kept)} blocks, but the network has {len(blocks)}.")
        for number, (block, own) in enumerate(zip(blocks, kept, strict=True)):
            groups = getattr(block, name)
            _check_numbers(f"Block {number}", name, own, groups.count)
            found.append((groups, own))
    config: Any = network.base_model.config
    if structure.hidden is not None:
        _check_numbers("The network", "hidden channels", structure.hidden, config.hidden_size)
        if len(structure.hidden) < config.hidden_size:
            found.append((hidden_groups(network), structure.hidden))
            _check_projection(config, len(structure.hidden))
    return found


def _check_numbers(who: str, what: str, kept: Sequence[int], count: int) -> None:
    if not kept or list(kept) != sorted({*kept}) or kept[0] < 0 or kept[-1] >= count:
        short = f"{list(kept[:8])}{' …' if len(kept) > 8 else ''}"
        raise ValueError(
            f"{who} is to keep the {what} {short}; give at least one of its {count}, by their numbers from 0, "
            "ascending."
        )


def _check_projection(config: Any, hidden_size: int) -> None:
    """Refuse a hidden size that means another architecture: without a projection of the embeddings."""
    narrow = copy.deepcopy(config)
    narrow.hidden_size = hidden_size
    if embeddings_are_hidden(narrow) and not embeddings_are_hidden(config):
        raise ValueError(
            f"{hidden_size} hidden channels are as many as the embeddings have (embedding_size), and "
            f"{config.model_type} then has no layer between them. Keep one channel more or fewer."
        )
