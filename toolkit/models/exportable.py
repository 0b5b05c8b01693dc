"""What is exported of a network: a copy that can be traced, from its inputs in a fixed order to its logits."""

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolkit.models.encoder import max_positions
from toolkit.models.neuron_model import NeuronSelectionForSequenceClassification
from toolkit.models.pretrained import load_tokenizer
from toolkit.models.storage import load

SUPPORTED = (
    "albert",
    "bert",
    "deberta-v2",
    "distilbert",
    "electra",
    "gpt2",
    "llama",
    "modernbert",
    "mpnet",
    "qwen2",
    "roberta",
    "xlnet",
)
"""The ``model_type`` of every architecture whose export was tested."""

_HEADS = ("ForSequenceClassification", "ForTokenClassification")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_BATCHES = (1, 2, 5, 8, 16)  # In turns, of the sentences that are given as texts.

Batch = Mapping[str, Tensor]


class Logits(nn.Module):
    """A network from inputs in a fixed order to its logits alone."""

    def __init__(self, network: PreTrainedModel, names: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.names = names
        self.train(False)  # as exporters give the mode of the whole back to its parts

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            inputs: ``(B, T)`` each, in the order of the names.
        """
        given = dict(zip(self.names, inputs, strict=True))
        if isinstance(self.network, NeuronSelectionForSequenceClassification):
            return self._of_neurons(**given)
        logits: Tensor = self.network(**given, return_dict=True).logits
        return logits

    def _of_neurons(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Pool as `toolkit.models.pooling.pool` does, which has operators that ONNX lacks: by products and sums."""
        network: Any = self.network
        states = network.neurons(network.hidden_states(input_ids, attention_mask, token_type_ids))  # (B, T, k)
        order = attention_mask.cumsum(1)
        if network.config.pooling == "mean":
            chosen = attention_mask
            for number in network.config.special_ids:
                chosen = chosen * (input_ids != number)
            chosen = torch.where(chosen.sum(1, keepdim=True) > 0, chosen, attention_mask)
        else:
            wanted = 1 if network.config.pooling == "first" else order[:, -1:]
            chosen = attention_mask * (order == wanted)
        rows = (states * chosen[..., None]).sum(1) / chosen.sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = network.classifier(rows)
        return logits


def loaded_with_tokenizer(
    network: PreTrainedModel | str | Path, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A network and its tokenizer, of a folder or as they are given.

    Args:
        network: The network, or the folder of a stored one.
        tokenizer: The network's; that of the folder where there is none.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a network comes without a tokenizer.
    """
    if isinstance(network, str | Path):
        folder = network
        network = load(folder)
        tokenizer = tokenizer or load_tokenizer(str(folder))
    if tokenizer is None:
        raise ValueError("tokenizer is None, but a network in memory comes without one; give the network's.")
    return network, tokenizer


def exportable(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Any, tolerance: float
) -> tuple[PreTrainedModel, list[dict[str, Tensor]]]:
    """A copy of the network that can be traced, and the inputs it takes of the examples.

    Args:
        network: Is left as it is.
        tokenizer: The network's.
        examples: Sentences, or tokenised batches.
        tolerance: How far an output may be from PyTorch's.

    Raises:
        ValueError: If the architecture or its head was not tested, there are no examples, or `tolerance` is not
            positive.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}, but must be positive.")
    kind, name = model_type(network), type(network).__name__
    if kind not in SUPPORTED:
        raise ValueError(f"The export of {kind} was not tested. Give a network of one of {', '.join(SUPPORTED)}.")
    if not name.endswith(_HEADS):
        raise ValueError(f"The network is {name}; give one with a head for sequence or token classification.")
    examples = list(examples)
    if examples and isinstance(examples[0], str):
        examples = list(_tokenised(examples, tokenizer, network))
    if not examples:
        raise ValueError("There are no examples; give some real sentences, which the export is judged on.")
    if not {"input_ids", "attention_mask"} <= {*examples[0]}:
        raise ValueError(f"A batch has {', '.join(examples[0])}; it must have input_ids and attention_mask.")
    taken = inspect.signature(network.forward).parameters
    names = [name for name in _INPUTS if name in examples[0] and name in taken]
    judged = copy.deepcopy(network)
    nn.Module.to(judged, device="cpu", dtype=torch.float32)
    judged.train(False)
    if judged.config._attn_implementation not in (None, "eager", "sdpa"):  # kernels of GPUs can't be exported
        judged.set_attn_implementation("eager")
    judged.config.architectures = [name]
    for option in ("use_cache", "use_mems_eval"):  # decoders would return keys and values as well
        if hasattr(judged.config, option):
            setattr(judged.config, option, False)
    return judged, [{name: batch[name].cpu() for name in names} for batch in examples]


def model_type(network: PreTrainedModel) -> str:
    """The architecture, of networks of selected neurons that of their encoder.

    Args:
        network: Any.
    """
    return str(getattr(network.config, "encoder", network.config).model_type)


def _tokenised(
    sentences: Sequence[str], tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel
) -> Iterator[Batch]:
    length = max_positions(network.config)
    start, turn = 0, 0
    while start < len(sentences):
        chosen = list(sentences[start : start + _BATCHES[turn % len(_BATCHES)]])
        yield tokenizer(chosen, padding=True, truncation=length is not None, max_length=length, return_tensors="pt")
        start, turn = start + len(chosen), turn + 1


def traced(batch: Batch, tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Two rows with padding: tracing takes another path where there is none, and a single row becomes a constant."""
    return padded({name: tensor[:1, :8].repeat(2, 1) for name, tensor in batch.items()}, tokenizer, 2)


def padded(batch: Batch, tokenizer: PreTrainedTokenizerBase, columns: int) -> dict[str, Tensor]:
    """A batch with more padding, at the side where the tokenizer puts it.

    Args:
        batch: Inputs ``(B, T)``.
        tokenizer: The network's.
        columns: How many are added.
    """
    sides = (columns, 0) if tokenizer.padding_side == "left" else (0, columns)
    fill = {"input_ids": tokenizer.pad_token_id or 0}
    return {name: nn.functional.pad(tensor, sides, value=fill.get(name, 0)) for name, tensor in batch.items()}
