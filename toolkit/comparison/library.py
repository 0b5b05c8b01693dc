"""The evaluator in code and notebooks, without recipes: judge networks, take their costs, compare them."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from transformers import PreTrainedModel

from toolkit.comparison.costs import COSTS, costs_of, written
from toolkit.comparison.outcomes import Outcome
from toolkit.comparison.results import Results
from toolkit.data import TaskData
from toolkit.evaluation import costs
from toolkit.evaluation.costs import Latency, Timing
from toolkit.evaluation.judging import judge
from toolkit.evaluation.predictions import Judgement
from toolkit.evaluation.row import Row
from toolkit.models import storage
from toolkit.models.encoder import max_positions, prunable_weights, transformer_blocks
from toolkit.models.heads import label_rows, order_rows, output_layer
from toolkit.models.loading import load_network
from toolkit.options.messages import nearest
from toolkit.pruning.masks import sparsity
from toolkit.tasks import Task

Network = str | Path | PreTrainedModel
"""A network in memory, or the folder that holds one."""


def evaluate(network: Network, task: str | Task | TaskData, **data: Any) -> Judgement:
    """Judge a classifier or a tagger on a task, as the recipes do.

    Labels are matched by their names, whatever their order in the network.

    Args:
        network: A folder, of this toolkit or of `transformers`, or a network in memory; it is left as it is.
        task: Name of a task, a task of your own, or its data. Of a network in memory without a folder, give the data:
            ``TaskData(task, network=TOKENIZER)``.
        data: Options of :class:`toolkit.data.TaskData`, such as ``root`` and ``limit_eval``.

    Returns:
        The predictions; `Judgement.scores` gives the scores of every judged set.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the network has no head for the task, or its labels are not the task's.

    Example::

        from toolkit.evaluation import evaluate

        evaluate("runs/rpp-mrpc/model", "mrpc", root="data").scores()
    """
    held = _data(network, task, data)
    return judge(_judged(network, held.task), held)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a network costs.

    Args:
        parameters: Number of parameters; tied ones count once.
        nonzero_parameters: How many of them are not zero.
        sparsity: Share of zeros among the prunable weights.
        total_sparsity: Share of zeros among all parameters.
        macs: Multiply-accumulates of a forward pass over one sentence of the length that latency is measured at.
        bytes: Size of its weight files; None for a network in memory.
        latency_ms: Of a forward pass; None if it was not measured.
    """

    parameters: int
    nonzero_parameters: int
    sparsity: float
    total_sparsity: float
    macs: int
    bytes: int | None = None
    latency_ms: Latency | None = None

    def __rich__(self) -> Table:
        table = Table("cost", "value", show_header=False)
        amounts = costs_of(Row(name="", task="", seed=None, scores={}, **vars(self)))
        for held in COSTS:
            if held.key in amounts:
                table.add_row(held.label.replace("\n", " "), written(amounts[held.key], held.unit))
        table.add_row("sparsity, prunable", f"{100 * self.sparsity:.1f} %")
        return table


def cost(network: Network, timing: Timing = Timing()) -> Cost:
    """Take everything that a network costs.

    Args:
        network: A folder, of this toolkit or of `transformers`, or a network in memory; it is left as it is.
        timing: How latency is measured; ``Timing(seconds=0)`` leaves it out.

    Raises:
        FileNotFoundError: If there is no such folder.

    Example::

        from toolkit.evaluation import cost

        cost("runs/rpp-mrpc/model").latency_ms.median
    """
    loaded = network if isinstance(network, PreTrainedModel) else storage.load(network)
    length = min(timing.length, max_positions(loaded.config) or timing.length)
    # A network of selected neurons may have no block left.
    weights = prunable_weights(loaded) if len(transformer_blocks(loaded)) else {}
    return Cost(
        parameters=costs.num_parameters(loaded),
        nonzero_parameters=costs.num_nonzero(loaded),
        sparsity=sparsity(weights) if weights else 0.0,
        total_sparsity=sparsity(dict(loaded.named_parameters())),
        macs=costs.macs(loaded, length=length),
        bytes=None if isinstance(network, PreTrainedModel) else costs.bytes_on_disk(network),
        latency_ms=costs.timed([loaded], timing)[0] if timing.seconds else None,
    )


def compare(
    networks: Mapping[str, Network] | Sequence[str | Path],
    task: str | Task | TaskData,
    *,
    timing: Timing = Timing(),
    resamples: int = 2000,
    **data: Any,
) -> Results:
    """Judge networks on a task, and test the differences on the same examples.

    Args:
        networks: By the names that tables shall have; or folders, which are called by their paths. The first is the
            one that the others are measured by.
        task: Name of a task, a task of your own, or its data.
        timing: How latency is measured, of all networks in turns; ``Timing(seconds=0)`` leaves it out.
        resamples: Of bootstraps and permutations.
        data: Options of :class:`toolkit.data.TaskData`, such as ``root`` and ``limit_eval``.

    Returns:
        Scores, costs, intervals and tests; `Results.write` writes the tables and figures into a folder.

    Raises:
        ValueError: If there is no network, or one has no head for the task.

    Example::

        from toolkit.evaluation import compare

        results = compare({"dense": "runs/dense/model", "sparse": "runs/sparse/model"}, "mrpc", root="data")
        rich.print(results)
        results.write("runs/dense-and-sparse")
    """
    if isinstance(networks, str | Path):
        raise ValueError(f"networks is {networks}, one network; give a list of folders, or networks by their names.")
    named = dict(networks) if isinstance(networks, Mapping) else {str(folder): folder for folder in networks}
    if not named:
        raise ValueError("networks is empty; give at least one.")
    held = {name: _data(network, task, data) for name, network in named.items()}
    judged = {name: _judged(network, held[name].task) for name, network in named.items()}
    times: list[Latency | None] = [*costs.timed([*judged.values()], timing)] if timing.seconds else [None] * len(judged)
    outcomes = []
    for (name, network), time in zip(named.items(), times, strict=True):
        judgement = judge(judged[name], held[name])
        price = replace(
            cost(judged[name], Timing(seconds=0)),
            bytes=None if isinstance(network, PreTrainedModel) else costs.bytes_on_disk(network),
            latency_ms=time,
        )
        row = Row(name=name, task=held[name].task.name, seed=0, scores=judgement.scores(), **vars(price))
        outcomes.append(Outcome(method=name, task=row.task, seed=0, row=row, judgement=judgement))
    return Results.gather(outcomes, baseline=next(iter(named)), resamples=resamples)


def _data(network: Network, task: str | Task | TaskData, options: dict[str, Any]) -> TaskData:
    """The task's data, in the words of the network's own tokenizer."""
    if isinstance(task, TaskData):
        if options:
            raise ValueError(f"the task is given with its data, which {', '.join(options)} cannot change.")
        return task
    known = inspect.signature(TaskData).parameters
    for key in options:
        if key not in known:
            hint = nearest(key, known) or "one of " + ", ".join(known)
            raise ValueError(f"the data have no option {key}; did you mean {hint}?")
    folder = network.config._name_or_path if isinstance(network, PreTrainedModel) else str(network)
    if not folder:
        raise ValueError(
            "the network does not say where its tokenizer is; give the data: TaskData(task, network=TOKENIZER)."
        )
    return TaskData(task, network=folder, **options)


def _judged(network: Network, task: Task) -> PreTrainedModel:
    """The network with its labels in the task's order."""
    if not isinstance(network, PreTrainedModel):
        return load_network(str(network), task, trained=True)
    stored = {int(row): label for row, label in (network.config.id2label or {}).items()}
    rows = [0] if task.kind == "regression" and len(stored) == 1 else label_rows(stored, task.labels)
    if rows is None:
        raise ValueError(
            f"the network's labels {', '.join(list(stored.values())[:4])} are not those of {task.name}, "
            f"{', '.join(task.labels[:4]) or 'one value'}; name them in id2label of its config."
        )
    if rows == sorted(rows):
        return network
    network = copy.deepcopy(network)
    with torch.no_grad():
        order_rows(output_layer(network)[1], rows)
    return network
