"""Seeded, stratified samples: what is held out for development, and what a limit leaves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from toolkit.tasks import Task


def strata(rows: Sequence[dict[str, Any]], task: Task) -> list[Hashable]:
    """Say for each row which stratum it belongs to.

    The stratum is the label of a classification, the decile of the score of a regression, and the rarest tag of a
    sentence of a tagging task, so that rare tags reach both sides of a split.

    Args:
        rows: N rows as the readers give them.
        task: The task of the rows.

    Returns:
        N strata.
    """
    if task.kind == "classification":
        return [row["label"] for row in rows]
    if task.kind == "regression":
        order = np.argsort([row["label"] for row in rows], kind="stable")
        ranks = np.empty(len(rows), dtype=int)
        ranks[order] = np.arange(len(rows))
        return [int(rank) for rank in ranks * 10 // max(1, len(rows))]
    counts = Counter(tag for row in rows for tag in row["tags"])
    return [min(row["tags"], key=lambda tag: (counts[tag], tag)) for row in rows]


def stratified_sample(groups: Sequence[Hashable], size: int, seed: int) -> list[int]:
    """Draw rows without replacement, from each stratum in proportion to its size.

    Every stratum of n_s of the N rows gives ``size · n_s / N`` rows, rounded by the largest remainders, so that the
    sample has exactly ``size`` rows. Neither the process nor any global generator plays a part.

    Args:
        groups: The stratum of each of the N rows.
        size: Number of rows of the sample; all rows if there are not more.
        seed: Names the sample.

    Returns:
        Row numbers in ascending order.

    Example:
        >>> sample = stratified_sample(["a"] * 6 + ["b"] * 2, size=4, seed=0)
        >>> sum(row < 6 for row in sample), sum(row >= 6 for row in sample)
        (3, 1)
    """
    if size >= len(groups):
        return list(range(len(groups)))
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    random = np.random.default_rng(seed)
    # Integers throughout: quotas of n_s / N in floating point could round to one row more or fewer.
    quotas = {group: divmod(size * len(rows), len(groups)) for group, rows in members.items()}
    missing = size - sum(quota for quota, _ in quotas.values())
    ties = dict(zip(quotas, random.permutation(len(quotas)), strict=True))
    raised = set(sorted(quotas, key=lambda group: (-quotas[group][1], ties[group]))[:missing])
    chosen: list[int] = []
    for group, rows in members.items():
        chosen += (int(row) for row in random.permutation(rows)[: quotas[group][0] + (group in raised)])
    return sorted(chosen)


def hold_out(groups: Sequence[Hashable], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Split rows into those to train on and those to decide on.

    Args:
        groups: The stratum of each row.
        fraction: Part of the rows that is held out, in (0, 1); at least one row.
        seed: Names the split.

    Returns:
        Row numbers to train on, and row numbers held out, both in ascending order.

    Raises:
        ValueError: If there are fewer than two rows.
    """
    if len(groups) < 2:
        raise ValueError(f"{len(groups)} training rows cannot be split into train and dev; give at least two")
    size = min(max(1, round(fraction * len(groups))), len(groups) - 1)
    held_out = stratified_sample(groups, size, seed)
    chosen = set(held_out)
    return [row for row in range(len(groups)) if row not in chosen], held_out
