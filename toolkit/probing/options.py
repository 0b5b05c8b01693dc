"""What of the redundancy among neurons is looked at, and the rankings that there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from toolkit.models.pooling import Pooling
from toolkit.probing.gaussian import rank_gaussian
from toolkit.probing.rankings import (
    rank_by_average_precision,
    rank_by_mutual_information,
    rank_by_overlap,
    rank_random,
)
from toolkit.probing.selection import RANKINGS

ALL_RANKINGS: Mapping[str, Callable[[Tensor, Tensor, int | None, float], Tensor]] = {
    **RANKINGS,
    "gaussian": lambda features, targets, classes, _: rank_gaussian(features, targets, classes),
    "mutual_information": lambda features, targets, classes, _: rank_by_mutual_information(features, targets, classes),
    "average_precision": lambda features, targets, classes, _: rank_by_average_precision(
        features, targets, _needed(classes)
    ),
    "overlap": lambda features, targets, classes, _: rank_by_overlap(features, targets, _needed(classes)),
    "random": lambda features, *_: rank_random(features.shape[1], seed=0),
}
"""Rankings by name: functions of features, targets, number of classes, and the L2 penalty of a probe."""

_OF_CLASSES = ("average_precision", "overlap")  # rankings that a regression has not


@dataclass(frozen=True, kw_only=True)
class RedundancyOptions:
    """How the neurons of a network are looked at.

    Args:
        pooling: What stands for a sentence: the mean of its tokens without special ones, its first token or its last.
            Of a tagging task every labelled word stands for itself.
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

    Raises:
        ValueError: If there is no such ranking, or a number is out of its range.
    """

    pooling: Pooling = "mean"
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    window_threshold: float = 0.3
    rankings: tuple[str, ...] | None = None
    shares: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    overlap_share: float = 0.05
    ranking: str = "surgeon"
    delta: float = 0.01
    top: int = 8
    rows: int | None = None

    def __post_init__(self) -> None:
        if unknown := [name for name in (*(self.rankings or ()), self.ranking) if name not in ALL_RANKINGS]:
            raise ValueError(f"there is no ranking {unknown[0]!r}; the rankings are: {', '.join(ALL_RANKINGS)}.")
        if not self.thresholds or not all(0 <= value <= 1 for value in (*self.thresholds, self.window_threshold)):
            raise ValueError(
                f"thresholds are {self.thresholds} and window_threshold {self.window_threshold}; expected distances "
                "1 - |r| between 0 and 1."
            )
        if not self.shares or not all(0 < share <= 1 for share in (*self.shares, self.overlap_share)):
            raise ValueError(
                f"shares are {self.shares} and overlap_share {self.overlap_share}; expected parts of all neurons, "
                "above 0 and at most 1."
            )
        if not 0 <= self.delta < 1 or self.top < 1 or (self.rows is not None and self.rows < 2):
            raise ValueError(
                f"delta is {self.delta}, top {self.top} and rows {self.rows}; expected a part in [0, 1), at least 1, "
                "and at least 2 or null for all."
            )

    def compared(self, num_classes: int | None) -> tuple[str, ...]:
        """The rankings that are compared.

        Args:
            num_classes: Number of classes; None for a regression, which has no rankings by single classes.

        Raises:
            ValueError: If one was asked for that a regression has not.
        """
        possible = [name for name in ALL_RANKINGS if num_classes is not None or name not in _OF_CLASSES]
        names = tuple(possible) if self.rankings is None else tuple(dict.fromkeys(self.rankings))
        if missing := [name for name in (*names, self.ranking) if name not in possible]:
            raise ValueError(
                f"ranking {missing[0]!r} needs classes; of a regression choose from {', '.join(possible)}."
            )
        return names


def _needed(num_classes: int | None) -> int:
    if num_classes is None:
        raise ValueError(f"the rankings {' and '.join(_OF_CLASSES)} need classes; leave them out of a regression.")
    return num_classes
