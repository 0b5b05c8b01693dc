"""Which methods are optimal for two aims at once."""

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def pareto(points: Mapping[Name, tuple[float, float]]) -> set[Name]:
    r"""Find the points that no other one dominates.

    .. math:: a \succ b \iff q_a \ge q_b \land c_a \le c_b \land (q_a > q_b \lor c_a < c_b)

    Equal points do not dominate each other: all of them are optimal, or none.

    Args:
        points: Name → quality :math:`q`, of which more is better, and cost :math:`c`, of which less is better.

    Returns:
        The names of the points that are not dominated.

    Raises:
        ValueError: If a point has no finite place.

    Example:
        >>> sorted(pareto({"dense": (0.9, 100), "half": (0.9, 50), "tiny": (0.7, 10), "poor": (0.6, 20)}))
        ['half', 'tiny']
    """
    for name, (quality, cost) in points.items():
        if not (math.isfinite(quality) and math.isfinite(cost)):
            raise ValueError(f"{name!r} is at quality {quality} and cost {cost}; leave points that are not finite out.")
    optimal = set()
    best, at = float("-inf"), float("nan")  # The highest quality so far, and the cost at which it was reached.
    for name, (quality, cost) in sorted(points.items(), key=lambda item: (item[1][1], -item[1][0])):
        if quality > best or (quality == best and cost == at):
            optimal.add(name)
            best, at = quality, cost
    return optimal
