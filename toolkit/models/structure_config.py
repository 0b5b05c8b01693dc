"""What the config of a network says of its heads, neurons and hidden channels, and what it says where it lacks fields.

In the supported architectures the size of a head is the hidden size divided by the number of heads. Their own fields
can say that all blocks have equally many heads and neurons, and that the heads fill the hidden size. Else an entry
``structure`` lists, for each block, the number of heads and of neurons, and the size of its heads where the fields
imply another one.
"""

import copy
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from toolkit.models.hidden_channels import embeddings_are_hidden

_WIDEST = 2**20  # A config.json may come from anywhere, and networks are built before their weights are seen.


def describe(
    network: PreTrainedModel,
    *,
    width: str,
    heads: Sequence[int],
    neurons: Sequence[int],
    hidden_size: int,
    head_size: int,
) -> None:
    """Write what is left into a new config of the network and its parts.

    Args:
        network: The network.
        width: Name of the config's field for the number of neurons.
        heads: Number of heads of each block.
        neurons: Number of neurons of each block.
        hidden_size: Number of hidden channels.
        head_size: Size of each head.
    """
    # The parts of a network share one object, but so do networks made from one config: the others keep it as it is.
    holders: list[Any] = [part for part in network.modules() if hasattr(part, "config")]
    new: dict[int, PreTrainedConfig] = {}
    for part in holders:
        if id(part.config) not in new:
            config: Any = copy.deepcopy(part.config)
            setattr(config, width, max(neurons))
            if config.hidden_size != hidden_size:
                set_hidden_size(config, hidden_size)
            config.structure = None
            if len({*neurons}) == len({*heads}) == 1 and hidden_size == heads[0] * head_size:
                config.num_attention_heads = heads[0]
                del config.structure
            else:
                config.structure = {"heads": list(heads), "neurons": list(neurons)}
                if hidden_size != config.num_attention_heads * head_size:
                    # Config classes take only numbers of heads that divide the hidden size; this one stands for none.
                    config.num_attention_heads = next(n for n in range(max(heads), 0, -1) if hidden_size % n == 0)
                    config.structure["head_sizes"] = [head_size] * len(heads)
            new[id(part.config)] = config
    olds = [(part, new[id(part.config)]) for part in holders]
    for part, config in olds:
        part.config = config


def set_hidden_size(config: Any, size: int) -> None:
    """Set the hidden size in a config, and the sizes that have to be the same.

    Args:
        config: Of one of the supported architectures; changed in place.
        size: The hidden size D.
    """
    if embeddings_are_hidden(config) and hasattr(config, "embedding_size"):
        config.embedding_size = size
    if hasattr(config, "pooler_hidden_size"):
        config.pooler_hidden_size = size
    config.hidden_size = size


def config_to_build(config: PreTrainedConfig) -> PreTrainedConfig:
    """Find the config of the network that is built first, and then sliced to what a stored config says.

    Args:
        config: With an entry ``structure``.

    Returns:
        The config itself or, where the entry has ``head_sizes``, one of as many heads as a block has at most, or as
        fill the hidden size.

    Raises:
        ValueError: If the sizes do not fit each other; config.json may come from anywhere.
    """
    stored: Any = config
    entry = stored.structure if isinstance(stored.structure, dict) else {}
    if "head_sizes" not in entry:
        return config
    sizes: Any = entry["head_sizes"]
    heads: Any = entry.get("heads")
    numbers = all(isinstance(own, list) and {*map(type, own)} == {int} and min(own) > 0 for own in (sizes, heads))
    fit = numbers and len({*sizes}) == 1 and len(sizes) == len(heads)
    count = max(-(-stored.hidden_size // sizes[0]), *heads) if fit else 0
    if not fit or count * sizes[0] > _WIDEST:
        raise ValueError(
            f"structure.head_sizes and structure.heads of config.json are {sizes!r:.80} and {heads!r:.80}, expected "
            "the same size for each block, and a number of heads. Store the network again with "
            "toolkit.models.storage.save"
        )
    wide: Any = copy.deepcopy(config)
    if not embeddings_are_hidden(config) and count * sizes[0] == getattr(config, "embedding_size", None):
        count += 1  # Of equal sizes, some architectures would be built without a projection of the embeddings.
    wide.num_attention_heads = count
    set_hidden_size(wide, count * sizes[0])
    return wide  # type: ignore[no-any-return]
