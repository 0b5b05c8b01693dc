r"""The smallest number of neurons that is enough, when the scores that decide are measured with an error.

Of a number k that keeps just enough on a dev set every second one keeps less in truth, and of many numbers that are
tried the luckiest is the smallest. Against the one, scores must be above the bar by a number of standard errors;
against the other, they are first made to rise with k: a set that beats larger ones by chance shares its luck.

Where the error is large beside what may be lost, dev cannot tell the one from the other, and a margin would keep
nearly everything to be sure of nothing. There the one-standard-error rule takes over (Breiman, Friedman, Olshen and
Stone 1984, section 3.4.3): what is within one standard error of the best is as good as it.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_RATIO = 1.5  # between the numbers that are tried first
_RESOLUTION = 0.02  # of the result, as a part of it


def rising(values: Sequence[float]) -> list[float]:
    r"""Isotonic regression by pooling neighbours: the closest sequence in squares that does not fall.

    Args:
        values: Of equal weight, in order.

    Example:
        >>> rising([1.0, 3.0, 2.0, 4.0])
        [1.0, 2.5, 2.5, 4.0]
    """
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, size = value, 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        pools.append((mean, size))
    return [mean for mean, size in pools for _ in range(size)]


def leave_out(measure: Callable[[Tensor], float], num_rows: int, groups: int = 20) -> Tensor:
    """Measure something again and again, each time without one block of consecutive rows.

    Rows of one sentence stand together, so that most of what depends on each other is left out together.

    Args:
        measure: Gives a number for the row numbers that are left.
        num_rows: R, at least two.
        groups: Number of blocks.

    Returns:
        ``(groups,)`` float64; fewer if there are fewer rows.
    """
    rows = torch.arange(num_rows)
    blocks = rows.tensor_split(min(groups, num_rows))
    rests = (torch.cat([rows[: int(block[0])], rows[int(block[-1]) + 1 :]]) for block in blocks)
    return torch.tensor([measure(rest) for rest in rests], dtype=torch.float64)


def standard_error(left_out: Tensor) -> float:
    r"""The jackknife's standard error of a measure (Efron & Tibshirani 1993, equation 11.5).

    .. math:: \sqrt{\frac{G - 1}{G} \sum_g (\theta_g - \bar\theta)^2}

    Args:
        left_out: ``(G,)`` from :func:`leave_out`.
    """
    return float((left_out - left_out.mean()).square().sum().mul((len(left_out) - 1) / len(left_out)).sqrt())


def wanted_score(bar: float, margin: float, whole: float = math.inf) -> float:
    r"""The score that is enough, :math:`\max(b, \min(b + m, s - m))`.

    It rises from the bar with the margin while the margin is no more than half of what may be lost, :math:`s - b`; then
    being within the margin of the whole is enough; and the bar alone, where the margin is more than may be lost.

    Args:
        bar: b, to be exceeded in any case.
        margin: m, a number of standard errors.
        whole: s, the score that something may be lost of.

    Example:
        >>> [wanted_score(0.75, margin, 1.0) for margin in (0.0, 0.125, 0.1875, 0.5)]
        [0.75, 0.875, 0.8125, 0.75]
    """
    return max(bar, min(bar + margin, whole - margin))


def smallest_enough(
    measure: Callable[[int], tuple[float, float]],
    largest: int,
    bar: float,
    caution: float,
    whole: float = math.inf,
) -> tuple[int, dict[int, float]]:
    r"""Find the smallest k whose score, made to rise with k, is above what `wanted_score` asks for.

    Numbers from 1 up in steps of a factor 1.5 are tried first, until two in a row are enough; then bisection between
    the smallest that is enough and the next below, to within 2 %. If none is enough, the best score that any k
    reaches takes the bar's place: measured with a large error, k becomes larger, but not as large as can be.

    Args:
        measure: Gives the score of k, and the standard error of its difference to the bar.
        largest: Largest k.
        bar: To be exceeded.
        caution: Standard errors that are the margin.
        whole: Score that something may be lost of.

    Returns:
        k, and the scores as measured for every number that was tried, ascending.

    Raises:
        ValueError: If there is no k, ``caution`` is negative, or a score is NaN.
    """
    if largest < 1 or caution < 0:
        raise ValueError(f"largest is {largest} and caution {caution}; expected at least 1, and not a negative number.")
    measured: dict[int, tuple[float, float]] = {}
    number, streak = 0, 0
    while number < largest and streak < 2:
        number = min(max(number + 1, int(number * _RATIO)), largest)
        score, error = measured[number] = _defined(measure, number)
        streak = streak + 1 if score > wanted_score(bar, caution * error, whole) else 0
    while True:
        sizes = sorted(measured)
        scores = rising([measured[size][0] for size in sizes])
        wanted = [wanted_score(bar, caution * measured[size][1], whole) for size in sizes]
        enough = [score > least for score, least in zip(scores, wanted, strict=True)]
        if not any(enough):
            enough = [score >= scores[-1] for score in scores]
        place = enough.index(True)
        chosen, below = sizes[place], sizes[place - 1] if place else 0
        if chosen - below <= max(1, _RESOLUTION * chosen):
            return chosen, {size: measured[size][0] for size in sizes}
        middle = min(max(round((below * chosen) ** 0.5), below + 1), chosen - 1)
        measured[middle] = _defined(measure, middle)


def _defined(measure: Callable[[int], tuple[float, float]], number: int) -> tuple[float, float]:
    score, error = measure(number)
    if math.isnan(score):
        raise ValueError(f"the score of {number} neurons is NaN; decide by a metric that is defined on dev")
    return score, error
