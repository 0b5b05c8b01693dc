"""Inside a pretrained transformer: its list of blocks, their prunable weights, and the positions that it has.

Tested: ALBERT, BERT, DeBERTa-v2, DistilBERT, ELECTRA, ModernBERT, MPNet, RoBERTa, XLNet, and the decoders GPT-2,
Llama and Qwen2.
"""

import re
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel


def transformer_blocks(network: PreTrainedModel) -> nn.ModuleList:
    """Find the list of transformer blocks.

    ALBERT shares weights between layers: its list has one entry for each group of layers, often a single one.

    Args:
        network: A network of `transformers`, with or without a head.

    Raises:
        ValueError: If the network is no stack of transformer blocks.
    """
    config: Any = network.base_model.config  # that of a network of selected neurons is no encoder's
    depth = config.num_hidden_layers
    lengths = {depth, getattr(config, "num_hidden_groups", depth)}
    for module in network.base_model.modules():  # outermost first
        if isinstance(module, nn.ModuleList) and len(module) in lengths and len({*map(type, module)}) <= 1:
            return module
    raise ValueError(f"{type(network).__name__} has no list of {depth} transformer blocks. Give one such as BERT.")


def max_positions(config: PreTrainedConfig) -> int | None:
    """Longest sequence in tokens that a network has positions for; ``None`` where positions are relative.

    RoBERTa's family counts positions from behind its padding token's number.
    """
    config = getattr(config, "encoder", config)  # of a network of selected neurons
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is not None and any(family in config.model_type for family in ("roberta", "camembert", "mpnet")):
        return positions - (config.pad_token_id or 0) - 1
    return positions if positions is not None and positions > 0 else None  # XLNet says -1


def prunable_weights(network: PreTrainedModel, targets: str = ".*") -> dict[str, nn.Parameter]:
    r"""Collect the weights that pruning may set to zero: the matrices of the transformer blocks.

    Biases, LayerNorms, embeddings (also those of relative positions and segments), pooler and head are left
    out. GPT-2's matrices are stored as (in, out); those of XLNet's attention are 3-D: (D, heads, D / heads).

    Args:
        network: A network of `transformers`, with or without a head.
        targets: Regular expression, searched in the parameters' names: ``attention``, ``layer\.[0-3]\.``.

    Returns:
        The parameters by their names in the network, in the network's order.

    Raises:
        ValueError: If `targets` is no regular expression, or matches no prunable weight.
    """
    try:
        pattern = re.compile(targets)
    except re.error as error:
        raise ValueError(f"targets {targets!r} is no regular expression: {error}.") from error
    inside = {id(parameter) for parameter in transformer_blocks(network).parameters()}
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    weights = {
        name: parameter
        for name, parameter in network.named_parameters()
        if parameter.ndim >= 2
        and id(parameter) in inside - embeddings
        and not re.search(r"bias$|embed", name.rpartition(".")[2])  # XLNet keeps these as bare 2-D parameters
    }
    chosen = {name: parameter for name, parameter in weights.items() if pattern.search(name)}
    if not chosen:
        names = list(weights)
        examples = ", ".join(names[:: len(names) // 3 + 1])
        raise ValueError(f"targets {targets!r} matches none of the {len(names)} prunable weights, e.g. {examples}.")
    return chosen
