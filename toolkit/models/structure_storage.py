"""Load networks whose heads and widths no field of their config expresses.

The entry ``structure`` of ``config.json`` says how many of each every block has, and how wide its heads are where that
is not the hidden size divided by their number; it is written by `toolkit.models.structure.keep_structure`.
"""

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from toolkit.models.structure import Structure, block_groups, keep_structure
from toolkit.models.structure_config import config_to_build


def network_class(head: Any, config: PreTrainedConfig) -> Any:
    """Find what has the ``from_pretrained`` that reads a stored network.

    Args:
        head: One of transformers' ``AutoModel…`` classes, which knows an architecture for `config`.
        config: The network's configuration.

    Returns:
        `head` itself, unless the config has an entry ``structure``: then a class that is built as the architecture is,
        and sliced before its weights are read. What it reads is an instance of the architecture itself.
    """
    if getattr(config, "structure", None) is None:
        return head
    architecture: Any = head._model_mapping[type(config)]

    class Sliced(architecture):  # type: ignore[misc]
        """The architecture with the heads and widths that its config lists."""

        def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
            super().__init__(config_to_build(config), *args, **kwargs)
            keep_structure(self, stored_structure(self, config))
            self.__class__ = architecture

    # transformers looks up by these what a network can record and what its file names.
    Sliced.__name__, Sliced.__qualname__, Sliced.__module__ = (
        architecture.__name__,
        architecture.__qualname__,
        architecture.__module__,
    )
    return Sliced


def stored_structure(network: PreTrainedModel, config: PreTrainedConfig) -> Structure:
    """Read from a config how many heads and neurons each block keeps of those that the network is built with.

    Args:
        network: Built by `toolkit.models.structure_config.config_to_build`, and not sliced yet.
        config: The stored one, with an entry ``structure``.

    Raises:
        ValueError: If the entry does not fit the network; config.json may come from anywhere.
    """
    stored: Any = config
    entry = stored.structure
    blocks = block_groups(network)
    for name in ("heads", "neurons"):
        counts = entry.get(name) if isinstance(entry, dict) else None
        sizes = [getattr(block, name).count for block in blocks]
        if (
            not isinstance(counts, list)
            or len(counts) != len(sizes)
            or not all(type(count) is int and 1 <= count <= size for count, size in zip(counts, sizes, strict=True))
        ):
            raise ValueError(
                f"structure.{name} of config.json is {counts!r:.80}, expected one number for each of {len(sizes)} "
                f"blocks, from 1 to {max(sizes)}. Store the network again with toolkit.models.storage.save"
            )
    return Structure(
        heads=tuple(tuple(range(count)) for count in entry["heads"]),
        neurons=tuple(tuple(range(count)) for count in entry["neurons"]),
        hidden=tuple(range(stored.hidden_size)),
    )
