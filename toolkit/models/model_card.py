"""Model cards: what a stored network says of itself to people and to the hub, and which class loads it."""

import re
from typing import Any

import yaml
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
)

from toolkit.models.neuron_config import NeuronSelectionConfig
from toolkit.models.sparse_storage import SPARSE_FILE

HEADS: dict[Any, str] = {
    AutoModelForSequenceClassification: "text-classification",
    AutoModelForTokenClassification: "token-classification",
    AutoModelForMaskedLM: "fill-mask",
    AutoModelForCausalLM: "text-generation",
    AutoModel: "feature-extraction",
}
"""``AutoModel…`` class → what the hub calls the job of its head."""

_LIBRARY = "lightning-compression-toolkit"
_LOADING = """\
The architecture is one of `lightning-compression-toolkit`, which has to be installed: `toolkit.load("this folder")`
loads the network, and so do the `Auto…` classes of `transformers` after `import toolkit.models.neuron_model`.
"""

_IRREGULAR = """\
The blocks have shapes of their own, which `structure` in `config.json` lists and plain `transformers` does not know:
`toolkit.load("this folder")` of `lightning-compression-toolkit` loads the network.
"""

_SPARSE = f"""\
The weights are in `{SPARSE_FILE}`, where a mask stands for the zeros: `toolkit.load("this folder")` of
`lightning-compression-toolkit` loads the network. These two lines store it with its zeros:

```python
from toolkit.models.storage import densify
densify("this folder", "plain folder")
```
"""


def head_of(config: PreTrainedConfig, architecture: str) -> Any:
    """Find the ``AutoModel…`` class that makes a network of a config.

    Args:
        config: Of the network.
        architecture: Name of its class.

    Raises:
        ValueError: If `transformers` has none.
    """
    for head in HEADS:
        mapping = head._model_mapping
        if type(config) in mapping and mapping[type(config)].__name__ == architecture:
            return head
    raise ValueError(
        f"transformers has no AutoModel class for {architecture}; use a network with a sequence classification, "
        "token classification, masked language model or causal language model head, or none."
    )


def is_own(config: PreTrainedConfig) -> bool:
    """Whether plain `transformers` cannot load a network of this config, which is of selected neurons or irregular.

    Args:
        config: Of the network.
    """
    return isinstance(config, NeuronSelectionConfig) or getattr(config, "structure", None) is not None


def with_metadata(card: str, head: Any, config: PreTrainedConfig) -> str:
    """Put metadata for the hub before a card, and behind it how to load what `transformers` does not know alone.

    Args:
        card: In Markdown; metadata of its own stay.
        head: The ``AutoModel…`` class that loads the network.
        config: Of the network.
    """
    selected = isinstance(config, NeuronSelectionConfig)
    if own := is_own(config):
        card = f"{card.rstrip()}\n\n{_LOADING if selected else _IRREGULAR}"
    if card.startswith("---\n"):
        return card
    metadata = {
        "library_name": _LIBRARY if own else "transformers",
        "pipeline_tag": HEADS[head],
        "tags": ["compression", _LIBRARY, *(["neuron-selection"] if selected else [])],
    }
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n\n{card}"


def mark(card: str, config: PreTrainedConfig, *, sparse: bool) -> str:
    """Make a card say how the weights are stored, and in the hub's metadata which library reads them.

    Args:
        card: What `with_metadata` gave.
        config: Of the network.
        sparse: Whether zeros are stored as a mask.
    """
    card = card.replace(f"\n{_SPARSE}", "")
    if sparse:
        card = f"{card.rstrip()}\n\n{_SPARSE}"
    library = _LIBRARY if sparse or is_own(config) else "transformers"
    return re.sub(rf"(\A---\n(?:.+\n)*?library_name: )(?:transformers|{_LIBRARY})\n", rf"\g<1>{library}\n", card)
