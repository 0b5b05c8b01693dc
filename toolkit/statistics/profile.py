"""What each layer of a network holds of a task: every statistic, from one pass over the data, and how it is shown."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning import Trainer
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import Tensor
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.files.json_files import write_json
from toolkit.models.pooling import Pooling
from toolkit.probing.layers import layer_scores
from toolkit.probing.linear import named_score
from toolkit.statistics.collect import collect
from toolkit.statistics.features import extract_features
from toolkit.statistics.hidden_states import Statistic
from toolkit.statistics.influence import BlockInfluence
from toolkit.statistics.similarity import LayerSimilarity
from toolkit.statistics.variability import ClassVariability
from toolkit.tasks import Task

_SCHEMA = 1
_BAR = 5  # Widest bar of a table, in characters.


@dataclass(frozen=True, kw_only=True)
class Profiling:
    """How the layers of a network are looked at.

    Args:
        pooling: What stands for a sentence: the mean of its tokens without special ones, its first token or its last.
            Of a tagging task every labelled word stands for itself.
        corrected: Correct class variability for the sampling noise of few examples per class.
        bins: Bins of equal width that the scores of a regression task are sorted into: the classes of variability.
        features_dtype: Of the hidden states on disk that probes are trained on; float16 takes half the space and keeps
            three digits.
    """

    pooling: Pooling = "mean"
    corrected: bool = False
    bins: int = 5
    features_dtype: Literal["float16", "float32"] = "float16"

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ValueError(f"model.statistics.bins is {self.bins}, but classes are needed: at least 2.")


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """Statistics of the layers 0 … B of a network of B blocks on a task; layer 0 is the output of the embeddings.

    Args:
        network: Name of the network.
        task: Name of the task.
        rows: Sentences, or labelled words, that the statistics are of.
        variability: Class variability ν of the layers 0 … B; lower tells the classes apart better.
        influence: 1 - cosine of a block's input and output, of the blocks 0 … B - 1.
        angular: Angular distance between all pairs of layers, as a share of half a turn, (B + 1, B + 1).
        similarity: Linear CKA between all pairs of layers, (B + 1, B + 1).
        probe: Score of a linear probe on each layer, on rows held out from its training; none if not asked for.
        cumulative_probe: The same of a probe on all layers up to each.
        probe_metric: What the probes are scored by.
    """

    network: str
    task: str
    rows: int
    variability: tuple[float, ...]
    influence: tuple[float, ...]
    angular: tuple[tuple[float, ...], ...]
    similarity: tuple[tuple[float, ...], ...]
    probe: tuple[float, ...] | None = None
    cumulative_probe: tuple[float, ...] | None = None
    probe_metric: str | None = None

    def __post_init__(self) -> None:
        num_layers = len(self.variability)
        tables = (self.angular, self.similarity)
        lists = (self.variability, *filter(None, (self.probe, self.cumulative_probe)))
        if (
            len(self.influence) != num_layers - 1
            or any(len(table) != num_layers or any(len(line) != num_layers for line in table) for table in tables)
            or any(len(scores) != num_layers for scores in lists)
        ):
            raise ValueError(
                f"The statistics of {self.network} on {self.task} are not all of {num_layers} layers; collect them "
                "again."
            )

    @property
    def num_blocks(self) -> int:
        """Blocks of the network."""
        return len(self.influence)

    def write(self, file: Path) -> None:
        """Write the profile as JSON, as a whole or not at all; numbers that are not finite become null."""
        write_json(file, {"schema": _SCHEMA, **asdict(self)})

    @classmethod
    def read(cls, file: Path) -> "LayerProfile":
        """Read what `write` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content.pop("schema") != _SCHEMA:
                raise KeyError("schema")
            return cls(**{name: _frozen(name, value) for name, value in content.items()})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{file} is no profile of layers; delete it to collect it again.") from error

    def __rich__(self) -> Group:
        table = Table(title=Text(f"{self.network} on {self.task}, {self.rows:,} rows"), title_justify="left")
        table.add_column("layer", justify="right", no_wrap=True)
        columns = {"variability": self.variability, "influence": (math.nan, *self.influence)}
        columns["CKA below"] = (math.nan, *(self.similarity[b][b + 1] for b in range(self.num_blocks)))
        if self.probe is not None and self.cumulative_probe is not None:
            columns["probe"] = self.probe
            columns["probe so far"] = self.cumulative_probe
        for name in columns:
            table.add_column(name, no_wrap=True)
        bars = [_with_bars(values) for values in columns.values()]
        for layer, cells in enumerate(zip(*bars, strict=True)):
            table.add_row(str(layer), *cells)
        lowest = int(np.nanargmin(self.variability[1:])) + 1 if np.isfinite(self.variability[1:]).any() else None
        notes = [
            "Layer 0: embeddings.",
            "Lower variability ν tells the classes apart better" + (f"; lowest at layer {lowest}." if lowest else "."),
            "A block of little influence, or whose output has a CKA near 1 with the layer below, changes little.",
        ]
        if self.probe is not None:
            notes.append(f"Probes: {self.probe_metric} on held-out rows, of each layer and of all layers so far.")
        return Group(table, Text(" ".join(notes)))


def profile_layers(
    network: PreTrainedModel,
    data: TaskData,
    *,
    name: str,
    folder: Path,
    options: Profiling = Profiling(),
    probe: bool = False,
    trainer: Callable[..., Trainer] = Trainer,
) -> LayerProfile:
    """Collect every statistic of the layers on the training set, in one pass.

    The probes are trained on the features of the training set and scored on dev, which takes a second pass over dev.

    Args:
        network: A network of `transformers`, with any head.
        data: The task.
        name: Of the network.
        folder: For the features that probes need, and for what a resumed pass needs.
        options: How the layers are looked at.
        probe: Whether to train linear probes, too.
        trainer: Makes the trainer that runs the passes.
    """
    task = data.task
    num_layers, size = network.config.num_hidden_layers + 1, network.config.hidden_size
    edges = _edges(task, options.bins)
    num_classes = len(edges) + 1 if edges is not None else len(task.labels)
    variability = ClassVariability(num_layers, size, num_classes, corrected=options.corrected, edges=edges)
    influence = BlockInfluence(num_layers)
    similarity = LayerSimilarity(num_layers, size)
    statistics: Sequence[Statistic] = (variability, influence, similarity)
    scores: dict[str, Any] = {}
    if probe:
        root = folder / "features"
        extraction: dict[str, Any] = {
            "dtype": options.features_dtype, "pooling": options.pooling, "trainer": trainer
        }  # fmt: skip
        train = extract_features(network, data, "train", root / "train", statistics=statistics, **extraction)
        dev = extract_features(network, data, "dev", root / "dev", **extraction)
        # Spans need whole sentences; words are scored one by one.
        metric = "accuracy" if task.kind == "tagging" else task.metrics[0]
        classes = len(task.labels) or None
        probes = layer_scores(train, dev, num_classes=classes, score=named_score(metric, classes))
        scores = {
            "probe": tuple(map(float, probes.independent)),
            "cumulative_probe": tuple(map(float, probes.cumulative)),
            "probe_metric": metric,
        }
    else:
        collect(
            network, data, statistics, pooling=options.pooling, trainer=trainer,
            resume_file=folder / "statistics.ckpt",
        )  # fmt: skip
    return LayerProfile(
        network=name,
        task=task.name,
        rows=int(variability.count.sum()),
        variability=tuple(variability.compute().tolist()),
        influence=tuple(influence.influence().tolist()),
        angular=_table(influence.angular()),
        similarity=_table(similarity.compute()),
        **scores,
    )


def _edges(task: Task, bins: int) -> tuple[float, ...] | None:
    """Borders between the bins of a regression task's scores; none of a task that has classes."""
    if task.kind != "regression":
        return None
    if task.score_range is None:
        raise ValueError(f"Task {task.name!r} gives no score_range, so its scores cannot be put into bins; give one.")
    return tuple(np.linspace(*task.score_range, bins + 1)[1:-1].tolist())


def _table(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(line) for line in values.tolist())


def _frozen(name: str, value: Any) -> Any:
    """Lists as tuples, and null in them as what it stood for: classes that cannot be told apart, or no number."""
    if isinstance(value, list):
        missing = math.inf if name == "variability" else math.nan
        return tuple(missing if part is None else _frozen(name, part) for part in value)
    return value


def _with_bars(values: Sequence[float]) -> list[str]:
    """Each value with a bar; the longest is the greatest finite one."""
    finite = [abs(value) for value in values if math.isfinite(value)]
    greatest = max(finite, default=0.0) or 1.0
    return [
        "" if math.isnan(value) else f"{value:>5.3g} {'█' * round(_BAR * min(1.0, abs(value) / greatest))}"
        for value in values
    ]
