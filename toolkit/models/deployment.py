"""Make the network of selected neurons from an encoder and a linear probe on its hidden states."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from toolkit.models.layers import keep_layers, num_blocks
from toolkit.models.neuron_config import NeuronSelectionConfig
from toolkit.models.neuron_model import (
    NeuronSelectionForSequenceClassification,
    NeuronSelectionForTokenClassification,
    NeuronSelectionPreTrainedModel,
)
from toolkit.models.pooling import Pooling
from toolkit.models.pretrained import special_ids
from toolkit.tasks import Task

# Without any block these compute their embeddings. All others keep one: DeBERTa-v2 then has no output, ModernBERT's
# random weights have a width that is divided by the number of blocks, and decoders were not tried.
_BLOCKLESS = ("albert", "bert", "distilbert", "electra", "mpnet", "roberta", "xlnet")


def neuron_network(
    encoder: PreTrainedModel,
    neurons: Sequence[int] | Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    pooling: Pooling | None,
) -> NeuronSelectionForSequenceClassification | NeuronSelectionForTokenClassification:
    """Put an encoder, the numbers of its kept neurons and a linear head on them into one network.

    The blocks above the highest layer in use are cut off, with the pooler and, then, the norm behind the last block.
    If only the embeddings are in use, no block is left, or one where the architecture cannot do without.

    Args:
        encoder: The network whose layers the neurons belong to, with or without a head; it is left as it is.
        neurons: The k kept neurons n = layer · D + dimension, in the order of the weights' columns.
        weight: The head's weights ``(K, k)`` on raw features, K = 1 for a regression.
        bias: The head's biases ``(K,)``.
        task: What is predicted, with its labels; a tagging task gets a label for each token.
        tokenizer: The network's tokenizer; the ids that it adds around texts take no part in a mean.
        pooling: How the features of a sentence came about; ``None`` for a tagging task.

    Returns:
        The network, with the encoder's type, device and mode.

    Raises:
        ValueError: If the numbers and shapes do not fit each other, the task's labels are not known, or the
            encoder cannot be cut there.
    """
    columns = torch.as_tensor(neurons, dtype=torch.long).cpu()
    cut: Any = copy.deepcopy(encoder.base_model)  # a network, though torch's types do not say so
    cut.train(False)
    width, depth = cut.config.hidden_size, num_blocks(cut)
    _check(columns, weight, bias, (depth + 1) * width, task, pooling)
    columns, order = torch.sort(columns)
    layers, dimensions = columns // width, columns % width

    expected = _probe(cut)
    keep_layers(cut, range(max(1, int(layers.max()))))
    config = _config(cut, int(layers.max()))
    labels = task.labels or (task.name,)
    options: dict[str, str] = {}
    if task.kind != "tagging":
        options["problem_type"] = "regression" if task.kind == "regression" else "single_label_classification"
    described = NeuronSelectionConfig(
        encoder=config,
        kept=[dimensions[layers == layer].tolist() for layer in range(config.num_hidden_layers + 1)],
        pooling=pooling,
        special_ids=special_ids(tokenizer),
        final_norm=config.num_hidden_layers == depth,
        id2label=dict(enumerate(labels)),
        label2id={label: row for row, label in enumerate(labels)},
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )
    head: Any = (
        NeuronSelectionForTokenClassification if task.kind == "tagging" else NeuronSelectionForSequenceClassification
    )
    with torch.random.fork_rng(devices=[]):  # the random weights that come first are replaced
        network: NeuronSelectionForSequenceClassification | NeuronSelectionForTokenClassification
        network = head._from_config(described, dtype=cut.dtype)
    _copy_weights(cut, network.encoder)
    with torch.no_grad():
        network.classifier.weight.copy_(weight[:, order.to(weight.device)])
        network.classifier.bias.copy_(bias)
    network.to(cut.device)
    network.train(False)
    _verify(network, expected)
    network.train(encoder.training)
    return network


def _check(
    neurons: Tensor, weight: Tensor, bias: Tensor, num_neurons: int, task: Task, pooling: Pooling | None
) -> None:
    """Refuse numbers and shapes that do not fit each other or the task."""
    if (pooling is None) != (task.kind == "tagging"):
        raise ValueError(
            f"pooling is {pooling!r}, but task {task.name!r} is of kind {task.kind}; tagging takes null, the others "
            "say how the features of a sentence came about."
        )
    if task.kind != "regression" and not task.labels:
        raise ValueError(f"Task {task.name!r} does not know its labels yet; take it from its data (TaskData.task).")
    if neurons.ndim != 1 or not len(neurons) or len(neurons.unique()) < len(neurons):
        raise ValueError(f"neurons has shape {tuple(neurons.shape)}, expected a list of at least one, none repeated.")
    if neurons.min() < 0 or neurons.max() >= num_neurons:
        wrong = int(neurons.min() if neurons.min() < 0 else neurons.max())
        raise ValueError(f"neurons has {wrong}; the network has the neurons 0 to {num_neurons - 1}.")
    shape = (task.num_labels, len(neurons))
    if weight.shape != shape or bias.shape != shape[:1]:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)} and bias {tuple(bias.shape)}, expected {shape} and {shape[:1]}: "
            f"the outputs of task {task.name!r}, and the kept neurons."
        )


def _config(cut: PreTrainedModel, highest: int) -> PreTrainedConfig:
    """Describe the encoder up to its highest used layer."""
    config = copy.deepcopy(cut.config)
    config.name_or_path = ""  # a folder of this machine
    if highest == 0 and config.model_type in _BLOCKLESS:
        config.num_hidden_layers = 0
        if config.model_type == "albert":
            config.num_hidden_groups = 0
        if getattr(config, "structure", None) is not None:
            del config.structure  # Of blocks, of which none is left.
    return config


def _copy_weights(source: PreTrainedModel, target: PreTrainedModel) -> None:
    """Copy what the target has: neither a pooler, nor a block or norm above the highest used layer."""
    if missing := target.load_state_dict(source.state_dict(), strict=False).missing_keys:
        raise ValueError(
            f"{type(source).__name__} has no weight {missing[0]}, which its config asks for. Load it with "
            "toolkit.models.loading.load_network, or load_with_head."
        )


@torch.no_grad()
def _probe(encoder: PreTrainedModel) -> tuple[Tensor, ...]:
    """Compute the layers on a few tokens."""
    states: tuple[Tensor, ...] = encoder(**_tokens(encoder), output_hidden_states=True, return_dict=True).hidden_states
    return states


def _tokens(network: PreTrainedModel) -> dict[str, Tensor]:
    ids = torch.linspace(0, network.config.vocab_size - 1, 6, device=network.device).long()[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@torch.no_grad()
def _verify(network: NeuronSelectionPreTrainedModel, expected: Sequence[Tensor]) -> None:
    """Refuse an encoder whose layers are others once it is cut: an architecture may reach across its blocks."""
    states = network.hidden_states(**_tokens(network), token_type_ids=None)
    for layer, kept in enumerate(network.config.kept):
        if kept and not torch.allclose(states[layer], expected[layer], rtol=1e-3, atol=1e-4):
            difference = (states[layer] - expected[layer]).abs().max().item()
            raise ValueError(
                f"Layer {layer} of {type(network.encoder).__name__} changes by up to {difference:.3g} when the blocks "
                "above the highest used layer are cut off. Give an encoder such as BERT."
            )
