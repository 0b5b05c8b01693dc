"""Load a pretrained transformer with the head of a task, or with one for masked tokens.

Networks are those of `transformers`; only safetensors are read, and remote code is never run.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from toolkit.models.encoder import transformer_blocks
from toolkit.models.folder_checks import check_size
from toolkit.models.heads import is_placeholder, label_rows, order_rows, output_layer
from toolkit.models.pretrained import MINILM, load_config, load_tokenizer, reading, resolve_network
from toolkit.models.sparse_storage import SPARSE_FILE, is_sparse, read_sparse
from toolkit.models.structure_storage import network_class
from toolkit.tasks import Task


def load_network(name: str, task: Task, *, dropout: float | None = None, trained: bool = False) -> PreTrainedModel:
    """Load a pretrained network, in float32, with the head that a task needs.

    A stored head is kept if its label names are the task's (upper and lower case alike), with its rows put
    into the task's order. Any other stored head gets a new output layer, with a warning: other labels mean
    other rows, and transformers' placeholders ``LABEL_0, …`` say nothing about the order. New weights depend
    on torch's global seed alone, not on what was drawn since it was set.

    Args:
        name: The network's name or folder (see `resolve_network`).
        task: What the head predicts; its labels are known.
        dropout: Replaces every dropout probability of the network; ``None`` keeps them.
        trained: Whether a head that would start anew is an error: the network judges or teaches as it is.

    Raises:
        FileNotFoundError: If there is no such folder or hub name, or it has no safetensors.
        ValueError: If the network has no such head, its weights do not match its config, the task's labels
            are not known, or `dropout` is outside [0, 1).
    """
    _check_dropout(dropout)
    if task.kind != "regression" and not task.labels:
        raise ValueError(f"Task {task.name!r} does not know its labels yet; take it from its data (TaskData.task).")
    config = load_config(name)
    head = AutoModelForTokenClassification if task.kind == "tagging" else AutoModelForSequenceClassification
    labels = task.labels or (task.name,)
    rows = _stored_rows(name, config, head, task, warn=not trained)
    if rows is None and trained:
        raise ValueError(
            f"{name} was not fine-tuned on {task.name}: it has no head with the labels {', '.join(labels[:4])}. "
            "Give a network that was."
        )
    if rows is None:
        config.num_labels = len(labels)
    if task.kind != "tagging":
        config.problem_type = "regression" if task.kind == "regression" else "single_label_classification"
    if type(config) not in AutoModelForMaskedLM._model_mapping:
        # Decoders classify from the last token that is no padding: config and tokenizer must agree on it.
        config.pad_token_id = load_tokenizer(name).pad_token_id
    network, _ = load_with_head(name, head, config, new_head=rows is None, dropout=dropout)
    if rows is not None:
        order_rows(output_layer(network)[1], rows)
    network.config.id2label = dict(enumerate(labels))
    network.config.label2id = {label: row for row, label in enumerate(labels)}
    return network


def load_masked_lm(name: str, *, dropout: float | None = None, trained: bool = False) -> PreTrainedModel:
    """Load a pretrained encoder, in float32, with its masked language model head.

    Args:
        name: The network's name or folder (see `resolve_network`).
        dropout: Replaces every dropout probability of the network; ``None`` keeps them.
        trained: Whether a head that would start anew is an error: the network teaches as it is.

    Raises:
        FileNotFoundError: If there is no such folder or hub name, or it has no safetensors.
        ValueError: If the network has no such head, its weights do not match its config, or `dropout` is outside
            [0, 1).
    """
    _check_dropout(dropout)
    network, fresh = load_with_head(name, AutoModelForMaskedLM, load_config(name), new_head=True, dropout=dropout)
    head = sorted(key for key in fresh if not key.startswith(f"{network.base_model_prefix}."))
    if head and trained:
        raise ValueError(
            f"{name} has no masked language model head, only one of random numbers ({', '.join(head)}). "
            "Give a network that was trained on masked tokens."
        )
    if head:
        rank_zero_info(f"{name} has no masked language model head; {', '.join(head)} start from random numbers.")
    return network


def load_with_head(
    name: str, head: Any, config: PreTrainedConfig, *, new_head: bool, dropout: float | None = None
) -> tuple[PreTrainedModel, set[str]]:
    """Load a network, in float32, through one of transformers' ``AutoModel…`` classes.

    Args:
        name: The network's name or folder (see `resolve_network`).
        head: The class, e.g. ``AutoModelForMaskedLM``.
        config: The network's configuration, in which `dropout` is written.
        new_head: Whether the head may start from random numbers; its output layer then always does.
        dropout: Replaces every dropout probability of the network; ``None`` keeps them.

    Returns:
        The network, and the names of the weights that were not stored.

    Raises:
        FileNotFoundError: If there is no such folder or hub name, or it has no safetensors.
        ValueError: If the network has no such head, weights are missing, of another shape, or left over, or `dropout`
            is outside [0, 1).
    """
    _check_dropout(dropout)
    architecture = _class_of(name, head, config)
    if dropout is not None:
        _set_dropout(getattr(config, "encoder", config), dropout)  # that of a network of selected neurons
    source = resolve_network(name)
    if Path(source).is_dir():
        with reading(source):
            check_size(Path(source), architecture, config)
    reader = network_class(head, config)
    weights = read_sparse(Path(source) / SPARSE_FILE)[0] if is_sparse(source) else None
    if weights is not None and reader is head:
        reader = architecture  # The AutoModel… classes want a folder.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch.initial_seed())
        with reading(source):
            network, report = reader.from_pretrained(
                source if weights is None else None,
                state_dict=weights,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # judged below
                output_loading_info=True,
            )
        fresh = _check_weights(name, network, report, new_head=new_head)
        if new_head and head is not AutoModelForMaskedLM:
            layer_name, layer = output_layer(network)
            if f"{layer_name}.weight" not in fresh:  # another task's rows, though of the same shape
                new = head.from_config(config, dtype=torch.float32).get_submodule(layer_name)
                layer.load_state_dict(new.state_dict())
    if dropout is not None:
        for module in network.modules():
            if isinstance(module, nn.Dropout):  # some probabilities are in no config
                module.p = dropout
    return network, fresh


def _class_of(name: str, head: Any, config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Find the class that an ``AutoModel…`` class makes of a config."""
    if type(config) not in head._model_mapping:
        kind = head.__name__.removeprefix("AutoModelFor")
        raise ValueError(
            f"{name} ({config.model_type}) has no {kind} head. Give an encoder such as BERT or {MINILM!r}."
        )
    architecture: type[PreTrainedModel] = head._model_mapping[type(config)]
    return architecture


def _stored_rows(name: str, config: PreTrainedConfig, head: Any, task: Task, *, warn: bool) -> list[int] | None:
    """Tell which row of the stored head belongs to each label; ``None`` if the head has to start anew."""
    if _class_of(name, head, config).__name__ not in (config.architectures or ()):
        return None
    stored = {int(row): label for row, label in (config.id2label or {}).items()}
    rows = [0] if task.kind == "regression" and len(stored) == 1 else label_rows(stored, task.labels)
    if rows is None and warn:
        what = f"are not those of {task.name}"
        if is_placeholder(stored):
            what = "have no meaning; to keep the head, name them in id2label of its config.json"
        some = ", ".join(list(stored.values())[:4]) + (", …" if len(stored) > 4 else "")
        rank_zero_warn(f"The output layer of {name} starts anew: its labels {some} {what}.")
    return rows


def _check_dropout(dropout: float | None) -> None:
    if dropout is not None and not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; give a probability in [0, 1), or null to keep the network's own.")


def _set_dropout(config: PreTrainedConfig, dropout: float) -> None:
    """Write one probability to every dropout entry of a config; each architecture has names of its own."""
    for key, value in config.to_dict().items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if re.search("dropout|pdrop", key) and (value is None or number):
            setattr(config, key, dropout)


def _check_weights(name: str, network: PreTrainedModel, report: dict[str, Any], *, new_head: bool) -> set[str]:
    """Accept a new head and a missing pooler, which masked-LM checkpoints lack; refuse everything else."""
    encoder = f"{network.base_model_prefix}."
    missing = set(report["missing_keys"])
    mismatched = {key for key, *_ in report["mismatched_keys"]}
    pooler = {key for key in missing if key.startswith(encoder) and "pooler" in key}
    head = {key for key in missing | mismatched if new_head and not key.startswith(encoder)}
    problems = {
        "lack": missing - pooler - head,
        "have another shape for": mismatched - head,
        "have more blocks than config.json says:": _beyond_last_block(name, network, report["unexpected_keys"]),
    }
    for problem, keys in problems.items():
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ValueError(
                f"The weights of {name} {problem} {min(keys)}{more}; they do not belong to its config.json "
                f"({network.config.model_type}). Save the network again."
            )
    if pooler:
        rank_zero_info(f"{name} has no pooler; {', '.join(sorted(pooler))} start from random numbers.")
    return missing | mismatched


def _beyond_last_block(name: str, network: PreTrainedModel, unexpected: Iterable[str]) -> set[str]:
    """Find stored weights of blocks that the network does not have: transformers drops them in silence."""
    try:
        blocks = transformer_blocks(network)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    path = next(path for path, module in network.base_model.named_modules() if module is blocks)
    number = re.compile(rf"(?:^|\.){re.escape(path)}\.(\d+)\.")
    return {key for key in unexpected if (found := number.search(key)) and int(found[1]) >= len(blocks)}
