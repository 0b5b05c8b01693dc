"""The networks of a run: measured, and stored with their rows of the report."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from toolkit.console import is_first_process
from toolkit.data import TaskData
from toolkit.evaluation import costs
from toolkit.evaluation.judging import judge
from toolkit.evaluation.report import Report, Row
from toolkit.files.checksums import checksum
from toolkit.files.json_files import write_json
from toolkit.models import storage
from toolkit.models.encoder import max_positions, prunable_weights, transformer_blocks
from toolkit.models.model_card import is_own
from toolkit.models.sparse_storage import Saving
from toolkit.models.verification import rounded
from toolkit.modules.divergence import check_weights
from toolkit.options.values import lasting_yaml
from toolkit.pruning.masks import sparsity

Judging = Callable[[PreTrainedModel], tuple[Mapping[str, float], Mapping[str, Any]]]
ROW = "row.json"
_SUMS = "sha256"  # Beside the rows: the checksum of each file of weights.
LENGTH = 128  # Tokens of the sentence that MACs are stated for, or as many as the network takes.


def measure_network(
    network: PreTrainedModel,
    name: str,
    data: TaskData,
    output: Path,
    extras: Mapping[str, Any],
    *,
    seed: int,
    judging: Judging | None = None,
) -> Row:
    """Judge a network, keep its predictions, and count its parameters and operations.

    Args:
        network: With a head for the task.
        name: Of its row.
        data: Of the task.
        output: Folder of the run.
        extras: What else the row says.
        seed: Of the run.
        judging: Gives scores and further figures, where not the judged sets of a labelled task do.

    Raises:
        FloatingPointError: If a weight is not finite.
    """
    check_weights(network, name)
    further: Mapping[str, Any] = {}
    if judging is not None:
        scores, further = judging(network)
    else:
        judgement = judge(network, data)
        if is_first_process():
            judgement.write(predictions_file(output, name))
        scores = judgement.scores()
    # A network of selected neurons may have no block left.
    weights = prunable_weights(network) if len(transformer_blocks(network)) else {}
    length = min(LENGTH, max_positions(network.config) or LENGTH)
    return Row(
        name=name,
        task=data.task.name,
        seed=seed,
        scores=scores,
        parameters=costs.num_parameters(network),
        nonzero_parameters=costs.num_nonzero(network),
        sparsity=sparsity(weights) if weights else 0.0,
        total_sparsity=sparsity(dict(network.named_parameters())),
        macs=costs.macs(network, length=length),
        extras={**further, **extras},
    )


def store_network(
    network: PreTrainedModel,
    target: Path,
    data: TaskData,
    measured: Callable[[PreTrainedModel], Row],
    *,
    config: str,
    saving: Saving,
) -> None:
    """Measure a network as it is stored, store it, and write its row, which says that its stage is complete.

    Beside the row stand checksums of the files of weights, by which `damaged_file` judges them later.

    Args:
        network: What is stored; it is left on the CPU.
        target: Its folder.
        data: Of the task.
        measured: Gives the row of a network.
        config: The run's options as YAML, or an empty text.
        saving: How the weights are stored.
    """
    row = measured(rounded(network, saving.dtype))
    torch.nn.Module.to(network, "cpu")  # Where it is compared, bit by bit, with what was saved.
    example = next(iter(data.loader("dev")))
    storage.save(
        network,
        data.tokenizer,
        target,
        config_yaml=lasting_yaml(config) or None,
        card=model_card(row, network),
        example={key: value[:4] for key, value in example.items()},
        sparse=saving.sparse,
        dtype=saving.dtype,
        overwrite=True,  # An attempt may have ended between the saving and the row.
    )
    row = replace(row, bytes=costs.bytes_on_disk(target))
    write_json(target / ROW, {**Report((row,)).to_json(), _SUMS: _checksums(target)})


def damaged_file(folder: Path) -> str | None:
    """Name of a file that is not what was stored with a network's row; ``None`` if there is none.

    Of a network that was stored without checksums nothing can be said: ``None``.

    Args:
        folder: Of a network with its row.
    """
    try:
        stored = json.loads((folder / ROW).read_text(encoding="utf-8"))
        if _SUMS not in stored:
            return None
        expected = dict(stored[_SUMS])
    except (OSError, ValueError, TypeError, RecursionError):
        return ROW
    found = _checksums(folder)
    return next((name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)), None)


def check_network(folder: Path, remedy: str | None = None) -> None:
    """Refuse a network that was damaged since it was stored.

    Args:
        folder: Of a network with its row.
        remedy: A sentence that says what to do; by default for a network of the run itself.

    Raises:
        ValueError: If a file of weights, or the row, is not what was stored.
    """
    if name := damaged_file(folder):
        remedy = remedy or f"Delete {folder}, and the same command with resume=true makes it again."
        raise ValueError(f"The network in {folder} is damaged: {name} is not what was stored. {remedy}")


def predictions_file(output: Path, name: str) -> Path:
    """Where a run keeps what a network said about the judged sets.

    Args:
        output: The run's folder.
        name: Of the network's row.
    """
    return output / "predictions" / f"{re.sub('[^A-Za-z0-9_.-]+', '-', name)}.safetensors"


def read_row(folder: Path) -> Row:
    """Row of the network that is saved in a folder."""
    return Report.read(folder / ROW).rows[0]


def _checksums(folder: Path) -> dict[str, str]:
    """Checksums of a folder's files of weights, by their names."""
    return {file.name: checksum(file) for file in sorted(folder.glob("*.safetensors")) if file.is_file()}


def model_card(row: Row, network: PreTrainedModel) -> str:
    """What a saved network is, in Markdown."""
    scores = "\n".join(f"| {metric} | {value:.4f} |" for metric, value in row.scores.items())
    head = type(network).__name__
    kinds = ("TokenClassification", "MaskedLM", "SequenceClassification")
    auto = f"AutoModelFor{next(kind for kind in kinds if kind in head or kind == kinds[-1])}"
    loading = f"""from transformers import {auto}, AutoTokenizer

network = {auto}.from_pretrained("this folder")"""
    if is_own(network.config):
        loading = """import toolkit
from transformers import AutoTokenizer

network = toolkit.load("this folder")"""
    return f"""# {row.name} on {row.task}

Made with the Lightning compression toolkit; `recipe.yaml` holds every option of the run (seed {row.seed}).

| score on the judged set | |
| --- | --- |
{scores}
| sparsity of the prunable weights | {row.sparsity:.4f} |
| parameters | {row.parameters:,} |
| of them not zero | {row.nonzero_parameters:,} |

```python
{loading}
tokenizer = AutoTokenizer.from_pretrained("this folder")
```
"""
