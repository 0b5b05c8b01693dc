"""What a network says about the sets that a task is judged on: kept, so that it can be scored and compared later."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from toolkit.files.writing import replacing
from toolkit.metrics import Scored, task_metrics
from toolkit.tasks import IGNORED, METRICS, Kind, Task

_SCHEMA = "1"
_TENSORS = ("outputs", "targets", "index")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a network says about a set, in the order of the set's rows.

    N sentences, C classes, W labelled words.

    Args:
        outputs: Classification: logits ``(N, C)``; regression: values ``(N,)``; tagging: label ids ``(W,)``, and -1,
            which is no label, for words that truncation cut off.
        targets: Label ids or values ``(N,)``; tagging: label ids ``(W,)``.
        index: Row of the set that each entry belongs to: ``0 … N - 1``, ``(N,)``; tagging: ``(W,)``, ascending,
            the words of a sentence in their order.
    """

    outputs: Tensor
    targets: Tensor
    index: Tensor


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a network says about every set that a task's results are judged on.

    Two judgements can be compared example by example if their tasks, labels and targets are the same.

    Args:
        name: Of the task.
        kind: Of the task.
        metrics: Of the task; the first is the one that tables are ordered by.
        labels: Names of the label ids; none for a regression.
        sets: Name of a set (``test``, then others like ``test_mismatched``) → the predictions.

    Example:
        >>> test = Predictions(outputs=torch.eye(2), targets=torch.tensor([0, 0]), index=torch.arange(2))
        >>> Judgement(name="own", kind="classification", metrics=("accuracy",), labels=("no", "yes"),
        ...           sets={"test": test}).scores()
        {'accuracy': 0.5}
    """

    name: str
    kind: Kind
    metrics: tuple[str, ...]
    labels: tuple[str, ...]
    sets: Mapping[str, Predictions]

    def scores(self) -> dict[str, float]:
        """Score every set.

        Returns:
            Metric → score. Those of further sets carry the set's name, as in ``accuracy_mismatched``. A metric that is
            not defined on the predictions is NaN.
        """
        return {
            f"{metric}{name.removeprefix('test')}": value
            for name, predictions in self.sets.items()
            for metric, value in score(self, predictions).items()
        }

    def write(self, file: Path) -> None:
        """Write a safetensors file, as a whole or not at all.

        Args:
            file: Its path; the folder is made if need be.
        """
        tensors = {
            f"{name}.{part}": getattr(predictions, part).contiguous()
            for name, predictions in self.sets.items()
            for part in _TENSORS
        }
        about = {"name": self.name, "kind": self.kind, "metrics": self.metrics, "labels": self.labels}
        with replacing(file) as staged:
            save_file(tensors, staged, {"schema": _SCHEMA, "judgement": json.dumps({**about, "sets": list(self.sets)})})

    @classmethod
    def read(cls, file: str | Path) -> "Judgement":
        """Read what `write` wrote.

        Args:
            file: Its path.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no predictions.
        """
        if not Path(file).is_file():
            raise FileNotFoundError(f"There are no predictions {file}; judge the network again.")
        try:
            with safe_open(file, framework="pt") as opened:
                about = json.loads((opened.metadata() or {})["judgement"])
                sets = {
                    name: Predictions(**{part: opened.get_tensor(f"{name}.{part}") for part in _TENSORS})
                    for name in about["sets"]
                }
            judgement = cls(
                name=about["name"],
                kind=about["kind"],
                metrics=tuple(about["metrics"]),
                labels=tuple(about["labels"]),
                sets=sets,
            )
            _check(judgement)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError, OSError, SafetensorError) as error:
            raise ValueError(f"{file} holds no predictions of a network ({error}); judge it again.") from error
        return judgement


def _check(judgement: Judgement) -> None:
    """Refuse what cannot be scored; a file may come from anywhere."""
    kind, size = judgement.kind, len(judgement.labels)
    words = (judgement.name, *judgement.metrics, *judgement.labels, *judgement.sets)
    if not all(isinstance(word, str) for word in words):
        raise ValueError("a name is no text")
    if not judgement.metrics or any(metric not in METRICS[kind] for metric in judgement.metrics):
        raise ValueError(f"the metrics {', '.join(judgement.metrics):.80} are not those of {kind}")
    for name, held in judgement.sets.items():
        wide = (len(held.targets), size) if kind == "classification" else (len(held.targets),)
        if held.outputs.shape != wide or not held.targets.shape == held.index.shape == (len(held.targets),):
            raise ValueError(f"the shapes of {name} do not belong together")
        if held.index.is_floating_point() or (kind != "regression" and held.targets.is_floating_point()):
            raise ValueError(f"{name} has numbers of the wrong type")
        if kind != "regression" and len(held.targets) and not 0 <= held.targets.min() <= held.targets.max() < size:
            raise ValueError(f"{name} has targets that are no label")
        lowest = -1 if kind == "tagging" else None  # What truncation cut off.
        if lowest is not None and len(held.outputs) and not lowest <= held.outputs.min() <= held.outputs.max() < size:
            raise ValueError(f"{name} has predictions that are no label")


def score(task: Scored, predictions: Predictions) -> dict[str, float]:
    """Compute every metric of a task on one set; a metric that is not defined on the predictions is NaN.

    Args:
        task: The task, with its labels, or a judgement on it.
        predictions: Of one set.
    """
    # One process judges, also inside a distributed run: the others must not be waited for.
    metrics = task_metrics(task, sync_on_compute=False)
    outputs, targets = predictions.outputs, predictions.targets
    if task.kind == "tagging":
        words = torch.unique_consecutive(predictions.index, return_counts=True)[1].tolist()
        outputs = pad_sequence([*torch.split(outputs, words)], batch_first=True, padding_value=0)  # (sentences, words)
        targets = pad_sequence([*torch.split(targets, words)], batch_first=True, padding_value=IGNORED)
    metrics.update(outputs, targets)
    values = metrics.compute()
    return {name: float(values[name]) for name in task.metrics}  # the task's order; torchmetrics sorts names


def judgement_of(task: Task, sets: Mapping[str, Predictions]) -> Judgement:
    """Put the predictions of a task's sets together.

    Args:
        task: The task, with its labels.
        sets: Name of a set → the predictions.
    """
    return Judgement(name=task.name, kind=task.kind, metrics=task.metrics, labels=task.labels, sets=dict(sets))
