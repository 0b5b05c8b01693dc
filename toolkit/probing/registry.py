"""The rankings of neurons by name."""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

from torch import Tensor

from toolkit.probing.elimination import rank_by_elimination
from toolkit.probing.gaussian import rank_gaussian
from toolkit.probing.group_proximal import rank_by_group_proximal
from toolkit.probing.linear import fit_probe
from toolkit.probing.rankings import (
    rank_by_average_precision,
    rank_by_correlation_analysis,
    rank_by_mutual_information,
    rank_by_norm,
    rank_by_overlap,
    rank_probeless,
    rank_random,
)
from toolkit.probing.surgeon import rank_by_surgeon

RankingName = Literal[
    "surgeon",
    "elimination",
    "group_proximal",
    "correlation_analysis",
    "norm",
    "probeless",
    "gaussian",
    "mutual_information",
    "average_precision",
    "overlap",
    "random",
]
RANKINGS: tuple[str, ...] = get_args(RankingName)
"""All of them."""

OF_CLASSES = ("average_precision", "overlap")
"""Those that a regression has not."""

_LEAST = 1e-4  # Penalty of probes on nearly equal neurons, which without one would have no single minimum.

_BY_WEIGHT: Mapping[str, Callable[[Tensor], Tensor]] = {
    "correlation_analysis": rank_by_correlation_analysis,
    "norm": rank_by_norm,
}
_BY_PROBES: Mapping[str, Callable[..., Tensor]] = {
    "surgeon": rank_by_surgeon,
    "elimination": rank_by_elimination,
    "group_proximal": rank_by_group_proximal,
}
_BY_FEATURES: Mapping[str, Callable[[Tensor, Tensor, int | None], Tensor]] = {
    "probeless": rank_probeless,
    "gaussian": rank_gaussian,
    "mutual_information": rank_by_mutual_information,
}
_BY_CLASSES: Mapping[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "average_precision": rank_by_average_precision,
    "overlap": rank_by_overlap,
}


def possible_rankings(num_classes: int | None) -> tuple[str, ...]:
    """The rankings that a task allows.

    Args:
        num_classes: Number of classes; None for a regression.
    """
    return tuple(name for name in RANKINGS if num_classes is not None or name not in OF_CLASSES)


def rank(
    name: str, features: Tensor, targets: Tensor, num_classes: int | None, *, l2: float, l1: float = 0.0, seed: int = 0
) -> Tensor:
    r"""Order neurons by a ranking.

    Args:
        name: Of the ranking.
        features: ``(R, F)``, the neurons' activations.
        targets: ``(R,)``, classes or values.
        num_classes: Number of classes; None for a regression.
        l2: Of the probe that ``correlation_analysis`` and ``norm`` read (see `fit_probe`).
        l1: The same. ``surgeon``, ``elimination`` and ``group_proximal`` train probes of their own with
            :math:`\max(\lambda_1 + \lambda_2, 10^{-4})` on the squares. A penalty that suits the rows matters: with
            fewer rows than neurons a small one ranks noise.
        seed: Of ``random``.

    Returns:
        ``(F,)``, the columns, best first.

    Raises:
        ValueError: If there is no such ranking, or a regression has it not.
    """
    if name not in RANKINGS:
        raise ValueError(f"there is no ranking {name!r}; the rankings are: {', '.join(RANKINGS)}.")
    if name in _BY_CLASSES:
        if num_classes is None:
            raise ValueError(
                f"ranking {name!r} needs classes; of a regression choose from {', '.join(possible_rankings(None))}."
            )
        return _BY_CLASSES[name](features, targets, num_classes)
    if name in _BY_WEIGHT:
        probe = fit_probe(features, targets, num_classes=num_classes, l1=l1, l2=l2)
        return _BY_WEIGHT[name](probe.standardized_weight)
    if name in _BY_PROBES:
        return _BY_PROBES[name](features, targets, num_classes=num_classes, l2=max(l1 + l2, _LEAST))
    if name == "random":
        return rank_random(features.shape[1], seed)
    return _BY_FEATURES[name](features, targets, num_classes)
