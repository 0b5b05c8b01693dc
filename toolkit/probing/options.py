"""What of the redundancy among neurons is looked at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolkit.models.pooling import Pooling
from toolkit.probing.registry import RANKINGS, possible_rankings
from toolkit.statistics.hidden_states import Words


@dataclass(frozen=True, kw_only=True)
class RedundancyOptions:
    """How the neurons of a network are looked at.

    Args:
        pooling: What stands for a sentence: the mean of its tokens without special ones, its first token or its last.
            Of a tagging task every word stands for itself, see ``words``.
        words: What stands for a word of several sub-words: the one that carries its label, or the mean of all.
        thresholds: Distances that neurons are clustered at, each in [0, 1].
        window_threshold: The one that the windows of the clusters are counted at.
        rankings: What is compared; none for all that the task allows.
        shares: Parts of all neurons at which rankings are compared.
        overlap_share: Part of all neurons that the overlap of rankings is of.
        ranking: What the minimal set is chosen by.
        delta: Part of the oracle's score that the minimal set may lose.
        top: Neurons that are named for each class.
        rows: Most training rows that clusters and rankings are made of, drawn by chance; none for all. Probes are
            trained on all rows whatever this is.
        features: Folder for the hidden states, to share them between runs, also with neuron selection; none puts them
            into the run's, where they are deleted in the end.
        features_dtype: Of the hidden states on disk; float16 takes half the space and keeps three digits.

    Raises:
        ValueError: If there is no such ranking, or a number is out of its range.
    """

    pooling: Pooling = "mean"
    words: Words = "labelled"
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    window_threshold: float = 0.3
    rankings: tuple[str, ...] | None = None
    shares: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    overlap_share: float = 0.05
    ranking: str = "surgeon"
    delta: float = 0.01
    top: int = 8
    rows: int | None = None
    features: Path | None = None
    features_dtype: Literal["float16", "float32"] = "float16"

    def __post_init__(self) -> None:
        if unknown := [name for name in (*(self.rankings or ()), self.ranking) if name not in RANKINGS]:
            raise ValueError(f"there is no ranking {unknown[0]!r}; the rankings are: {', '.join(RANKINGS)}.")
        if not self.thresholds or not all(0 <= value <= 1 for value in (*self.thresholds, self.window_threshold)):
            raise ValueError(
                f"model.redundancy.thresholds are {self.thresholds} and window_threshold {self.window_threshold}; "
                "expected distances 1 - |r| between 0 and 1."
            )
        if not self.shares or not all(0 < share <= 1 for share in (*self.shares, self.overlap_share)):
            raise ValueError(
                f"model.redundancy.shares are {self.shares} and overlap_share {self.overlap_share}; expected "
                "parts of all neurons, above 0 and at most 1."
            )
        if not 0 <= self.delta < 1 or self.top < 1 or (self.rows is not None and self.rows < 2):
            raise ValueError(
                f"model.redundancy.delta is {self.delta}, top {self.top} and rows {self.rows}; expected a "
                "part in [0, 1), at least 1, and at least 2 or null for all."
            )

    def compared(self, num_classes: int | None) -> tuple[str, ...]:
        """The rankings that are compared.

        Args:
            num_classes: Number of classes; None for a regression, which has no rankings by single classes.

        Raises:
            ValueError: If one was asked for that a regression has not.
        """
        possible = possible_rankings(num_classes)
        names = possible if self.rankings is None else tuple(dict.fromkeys(self.rankings))
        if missing := [name for name in (*names, self.ranking) if name not in possible]:
            raise ValueError(
                f"ranking {missing[0]!r} needs classes; of a regression choose from {', '.join(possible)}."
            )
        return names
