"""Heads: whether a stored one fits a task, and in which order its rows belong.

Label *names* decide, never positions: MNLI checkpoints exist in at least three label orders.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel


def label_rows(stored: Mapping[int, str], labels: Sequence[str]) -> list[int] | None:
    """Find the row of a stored head that belongs to each label of a task.

    Names are compared without regard to case. Transformers' placeholders ``LABEL_0, LABEL_1, …`` match only
    a task whose own labels have these very names.

    Args:
        stored: The stored head's row number → label name (``config.id2label``).
        labels: The task's label names in order.

    Returns:
        For each label its row in the stored head, or ``None`` where the two sets of names differ.

    Example:
        >>> label_rows({0: "CONTRADICTION", 1: "ENTAILMENT"}, ["entailment", "contradiction"])
        [1, 0]
        >>> label_rows({0: "LABEL_0", 1: "LABEL_1"}, ["negative", "positive"]) is None
        True
    """
    for fold in (str, str.casefold):
        rows = {fold(name): int(row) for row, name in stored.items()}
        names = [fold(label) for label in labels]
        if len(rows) == len(stored) == len(names) and rows.keys() == set(names):
            return [rows[name] for name in names]
    return None


def is_placeholder(stored: Mapping[int, str]) -> bool:
    """Tell whether the label names are transformers' defaults ``LABEL_<row>``, which carry no meaning.

    Args:
        stored: Row number → label name (``config.id2label``).
    """
    return all(re.fullmatch(r"label_\d+", name, re.IGNORECASE) for name in stored.values())


def output_layer(network: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Find the linear layer whose rows are the labels: the last one outside the encoder.

    Args:
        network: A network with a classification head.

    Returns:
        The layer's name in the network, and the layer.

    Raises:
        ValueError: If the head has no linear layer with one row per label.
    """
    encoder = f"{network.base_model_prefix}."
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        and not name.startswith(encoder)
        and module.out_features == network.config.num_labels
    ]
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no linear output layer with {network.config.num_labels} rows; "
            "use a network with a sequence or token classification head."
        )
    return layers[-1]


@torch.no_grad()
def order_rows(layer: nn.Linear, rows: Sequence[int]) -> None:
    """Put the rows of an output layer into another order, in place.

    Args:
        layer: The output layer, weight ``(C, D)``.
        rows: For each new row the old row that it takes.
    """
    order = torch.as_tensor(rows, device=layer.weight.device)
    layer.weight.copy_(layer.weight[order])
    if layer.bias is not None:
        layer.bias.copy_(layer.bias[order])
