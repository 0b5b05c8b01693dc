"""Drop whole transformer blocks, so that plain `transformers` reads what is left and computes the same.

Blocks are counted from 0; block b reads layer b and writes layer b + 1 of ``output_hidden_states``, where layer 0 is
the output of the embeddings. A network is refused where its config cannot say what would be left.
"""

import copy
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from toolkit.models.encoder import transformer_blocks

SUPPORTED = (
    "albert",
    "bert",
    "deberta-v2",
    "distilbert",
    "electra",
    "gemma3_text",
    "gpt2",
    "llama",
    "mistral",
    "modernbert",
    "mpnet",
    "qwen2",
    "qwen3",
    "roberta",
    "xlnet",
)
"""The ``model_type`` of every architecture whose blocks can be dropped: those that were tested."""

_FIRST_OWNS_POSITIONS = "block 0 of each of its stacks owns the relative position bias that all blocks use"
_REFUSED = {"mt5": _FIRST_OWNS_POSITIONS, "t5": _FIRST_OWNS_POSITIONS}


def num_blocks(network: PreTrainedModel) -> int:
    """Count the transformer blocks that a sentence passes; ALBERT's one block counts once for each pass.

    Args:
        network: A network of `transformers`, with or without a head.

    Returns:
        The number of blocks; ``output_hidden_states`` gives one layer more, the output of the embeddings.
    """
    depth: int = network.config.num_hidden_layers
    return depth


def keep_layers(network: PreTrainedModel, blocks: Sequence[int]) -> None:
    """Keep some transformer blocks in ascending order and drop the others, in place.

    Each kept block keeps its weights, its kind of attention (``layer_types``), and gets its new place in the cache of
    ``generate``. Embeddings, the norm after the last block, head and ties stay. What is left is written into a new
    config: ``network.config`` is another object afterwards. Build the optimizer afterwards, too: one built earlier
    still holds the weights of dropped blocks.

    - ALBERT shares one block among all passes: dropping takes passes away, which saves computation and no parameter.
      Which of the passes are kept makes no difference, only how many.
    - DeBERTa-v2's convolution (``conv_kernel_size``) is part of block 0, and goes with it.
    - ModernBERT's block 0 has no norm before its attention, unlike every other block; it has to be kept.

    Args:
        network: A network of one of the `SUPPORTED` architectures, with or without a head.
        blocks: Which blocks to keep, counted from 0; their order does not matter.

    Raises:
        ValueError: If `blocks` is empty, repeats a block, or has one that does not exist or is no int; if the
            architecture was not tested; or if no config expresses what would be left. Nothing has changed then.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 10}
        >>> network = BertModel(BertConfig(num_hidden_layers=4, **sizes))
        >>> keep_layers(network, [0, 3])
        >>> len(network.encoder.layer), network.config.num_hidden_layers
        (2, 2)
    """
    _check_architecture(network.config)
    kept = _check_blocks(blocks, num_blocks(network))
    _check_expressible(network, kept)
    modules = transformer_blocks(network)

    if network.config.model_type != "albert":
        for block in reversed(range(len(modules))):
            if block not in kept:
                del modules[block]
    for number, module in enumerate(modules):
        own: list[Any] = [part for part in module.modules() if isinstance(getattr(part, "layer_idx", None), int)]
        for part in own:
            part.layer_idx = number  # where the block's keys and values are cached
    if getattr(network.config, "conv_kernel_size", 0) > 0 and kept[0] != 0:
        encoder: Any = network.base_model
        encoder.encoder.conv = None
    # The parts of a network share one object, but so do networks made from one config: the others keep it as it is.
    holders: list[Any] = [part for part in network.modules() if hasattr(part, "config")]
    old: dict[int, PreTrainedConfig] = {id(part.config): part.config for part in holders}
    new = {number: _describe(config, kept) for number, config in old.items()}
    for part in holders:
        part.config = new[id(part.config)]


def _describe(config: PreTrainedConfig, kept: Sequence[int]) -> PreTrainedConfig:
    """Make the config of the kept blocks."""
    config = copy.deepcopy(config)
    depth = config.num_hidden_layers
    config.num_hidden_layers = len(kept)  # also where the architecture calls it n_layer or n_layers
    if getattr(config, "layer_types", None) is not None:  # goes before any rule, such as global_attn_every_n_layers
        config.layer_types = [config.layer_types[block] for block in kept]
    if hasattr(config, "max_window_layers"):  # Qwen: the blocks before this one attend to everything
        config.max_window_layers = sum(block < config.max_window_layers for block in kept)
    structure = getattr(config, "structure", None)  # of heads and neurons, where blocks differ in them
    if structure is not None:  # ALBERT's blocks share one entry
        config.structure = {
            name: [counts[block] for block in kept] if len(counts) == depth else counts
            for name, counts in structure.items()
        }
    if getattr(config, "conv_kernel_size", 0) > 0 and kept[0] != 0:
        config.conv_kernel_size = 0
    return config


def first_block_stays(network: PreTrainedModel) -> bool:
    """Whether block 0 cannot be dropped: ModernBERT's is the only one without a norm before its attention."""
    return bool(network.config.model_type == "modernbert")


def _check_architecture(config: PreTrainedConfig) -> None:
    """Refuse what was not tested: dropping blocks of it may change what the kept ones compute, in silence."""
    if config.model_type not in SUPPORTED:
        reason = _REFUSED.get(config.model_type, "dropping blocks of this architecture was never tested")
        raise ValueError(f"Cannot drop blocks of {config.model_type}: {reason}. Give one of {', '.join(SUPPORTED)}.")


def _check_blocks(blocks: Sequence[int], depth: int) -> list[int]:
    """Sort the numbers of the blocks to keep; refuse what names no set of blocks."""
    wrong = [block for block in blocks if not isinstance(block, int) or isinstance(block, bool)]
    if wrong:
        raise ValueError(f"blocks has {wrong[0]!r}, which is no int; give numbers from 0 to {depth - 1}.")
    kept = sorted(blocks)
    if not kept:
        raise ValueError(f"blocks is empty; keep at least one of the blocks 0 to {depth - 1}.")
    if len({*kept}) < len(kept):
        raise ValueError(f"blocks {kept} repeats a block; name each block to keep once.")
    if kept[0] < 0 or kept[-1] >= depth:
        raise ValueError(f"blocks {kept} is out of range; the network has the blocks 0 to {depth - 1}.")
    return kept


def _check_expressible(network: PreTrainedModel, kept: Sequence[int]) -> None:
    """Refuse where a network made from the new config would compute something else than the kept blocks."""
    config = network.config
    depth = config.num_hidden_layers
    renumbered = list(kept) != list(range(len(kept)))
    problem = None
    if config.model_type == "albert" and (config.num_hidden_groups, config.inner_group_num) != (1, 1):
        problem = (
            f"ALBERT with num_hidden_groups {config.num_hidden_groups} and inner_group_num {config.inner_group_num} "
            "spreads its groups evenly over the passes. Give one with a single block (both are 1)"
        )
    elif first_block_stays(network) and kept[0] != 0:
        problem = (
            f"blocks {list(kept)} drops block 0 of ModernBERT, the only one without a norm before its attention; "
            f"block {kept[0]} would lose its norm on loading. Keep block 0"
        )
    elif renumbered and getattr(config, "scale_attn_by_inverse_layer_idx", False):
        problem = (
            f"scale_attn_by_inverse_layer_idx divides attention by the number of the block, which blocks {list(kept)} "
            "would change. Keep the first blocks, without a gap"
        )
    elif getattr(config, "is_heterogeneous", False):
        problem = "Its config has settings for single blocks (per_layer_config). Give a network without any"
    else:
        for name, value in config.to_dict().items():
            if "layer" in name and name != "layer_types" and isinstance(value, list | tuple) and len(value) == depth:
                problem = (
                    f"The config's {name} may say something of each of the {depth} blocks, and it is not known what. "
                    "Delete this entry if the network does not need it"
                )
    if problem is not None:
        raise ValueError(f"{problem}.")
