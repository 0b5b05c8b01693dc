"""What an analysis of redundancy found: numbers, stored in JSON."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group

from toolkit.files.json_files import write_json
from toolkit.probing.tables import as_rich

_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Clusters of neurons at one threshold.

    Args:
        threshold: Of their distance.
        kept: Number of clusters: one neuron of each is kept.
        score: Dev score of a probe on the neurons that are kept.
    """

    threshold: float
    kept: int
    score: float


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Over how many layers clusters of at least two neurons reach.

    Args:
        threshold: Of the clusters' distance.
        single: Neurons that are alone in their clusters; they are not counted below.
        clusters: Number of clusters that reach over 1, 2, …, L layers.
        neurons: Number of neurons in these.
        aligned: Number of clusters whose neurons are one and the same dimension in several layers.
    """

    threshold: float
    single: int
    clusters: tuple[int, ...]
    neurons: tuple[int, ...]
    aligned: int


@dataclass(frozen=True, kw_only=True)
class MinimalSet:
    """The smallest set of neurons of all layers that is enough.

    Args:
        ranking: What the neurons were ordered by.
        delta: Part of the oracle's score that could be lost.
        neurons: Their numbers, best first.
        score: Dev score of a probe on them.
        path: Numbers of neurons that were tried, ascending, each with its dev score.
    """

    ranking: str
    delta: float
    neurons: tuple[int, ...]
    score: float
    path: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class ClassNeurons:
    """The neurons that a probe on all neurons uses most for a class.

    Args:
        label: Name of the class; ``value`` for a regression.
        neurons: Their numbers, largest weight first.
        weights: Weights of the standardised neurons.
    """

    label: str
    neurons: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class RedundancyAnalysis:
    """Redundancy among the neurons of L layers of size D; neuron n is dimension n % D of layer n // D.

    Args:
        network: Name of the network.
        task: Name of the task.
        metric: What probes are scored by.
        rows: Sentences, or labelled words, that probes are trained on.
        dev_rows: Those that they are scored on.
        sampled_rows: Those of ``rows`` that clusters and rankings are made of.
        num_layers: L; layer 0 is the output of the embeddings.
        hidden_size: D.
        penalty: L2 penalty of the oracle, and of the probes on layers.
        oracle: Dev score of the probe on all neurons.
        independent: Dev score of a probe on each layer.
        cumulative: The same of a probe on all layers up to each.
        similarity: Linear CKA between all pairs of layers, (L, L).
        constant: Neurons that never change; they are redundant at every threshold.
        cuts: Clusters at several thresholds.
        windows: Of the clusters at one threshold.
        minimal: The smallest set of neurons that is enough.
        classes: Top neurons of each class; of two classes only the second, whose weights are the first's negated.
        sizes: Equal numbers of neurons k that rankings are compared at.
        scores: Dev score of a probe on the first k neurons of each ranking, by the ranking's name.
        overlap_size: Number of neurons that the overlap is of.
        overlap: Share of their first neurons that each two rankings have in common, in the order of ``scores``.
    """

    network: str
    task: str
    metric: str
    rows: int
    dev_rows: int
    sampled_rows: int
    num_layers: int
    hidden_size: int
    penalty: float
    oracle: float
    independent: tuple[float, ...]
    cumulative: tuple[float, ...]
    similarity: tuple[tuple[float, ...], ...]
    constant: int
    cuts: tuple[Cut, ...]
    windows: Windows
    minimal: MinimalSet
    classes: tuple[ClassNeurons, ...]
    sizes: tuple[int, ...]
    scores: dict[str, tuple[float, ...]]
    overlap_size: int
    overlap: tuple[tuple[float, ...], ...]

    @property
    def total(self) -> int:
        """Number of neurons of all layers."""
        return self.num_layers * self.hidden_size

    def redundant(self, cut: Cut) -> float:
        """Share of all neurons that are not kept at a threshold, those that never change among them."""
        return 1 - cut.kept / self.total

    def place(self, neuron: int) -> str:
        """Layer and dimension of a neuron.

        Args:
            neuron: Its number.
        """
        layer, dimension = divmod(neuron, self.hidden_size)
        return f"{layer}:{dimension}"

    def write(self, file: Path) -> None:
        """Write the analysis as JSON, as a whole or not at all; numbers that are not finite become null."""
        write_json(file, {"schema": _SCHEMA, **asdict(self)})

    @classmethod
    def read(cls, file: Path) -> "RedundancyAnalysis":
        """Read what `write` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            content = _frozen(json.loads(file.read_text(encoding="utf-8")))
            if content.pop("schema") != _SCHEMA:
                raise KeyError("schema")
            content["cuts"] = tuple(Cut(**part) for part in content["cuts"])
            content["classes"] = tuple(ClassNeurons(**part) for part in content["classes"])
            content["windows"] = Windows(**content["windows"])
            content["minimal"] = MinimalSet(**content["minimal"])
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{file} is no analysis of redundancy; delete it to analyse again.") from error

    def __rich__(self) -> Group:
        return as_rich(self)


def _frozen(value: Any) -> Any:
    """Lists as tuples, and null as NaN."""
    if isinstance(value, dict):
        return {key: _frozen(part) for key, part in value.items()}
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return math.nan if value is None else value
