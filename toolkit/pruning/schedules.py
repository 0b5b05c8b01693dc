"""Sparsity as a function of the optimizer step: one-shot, iterative and gradual."""

from typing import Literal

Schedule = Literal["one_shot", "iterative", "gradual"]


def cubic_sparsity(progress: float, sparsity: float, initial: float = 0.0) -> float:
    r"""Gradual pruning of Zhu and Gupta (2017, https://arxiv.org/abs/1710.01878, equation 1).

    .. math:: s(u) = s_f + (s_i - s_f)(1 - u)^3

    Args:
        progress: :math:`u`, the share of the pruning window that is over; values outside [0, 1] are clamped.
        sparsity: :math:`s_f`, at the end.
        initial: :math:`s_i`, at the beginning.

    Returns:
        The sparsity wanted now.

    Example:
        >>> [round(cubic_sparsity(u, 0.8), 3) for u in (0, 0.5, 1)]
        [0.0, 0.7, 0.8]
    """
    left = 1 - min(max(progress, 0.0), 1.0)
    return sparsity + (initial - sparsity) * left**3


def iterative_sparsity(progress: float, sparsity: float, rounds: int) -> float:
    r"""Iterative pruning in equal rounds, the baseline that the RPP paper calls NIP.

    .. math:: s(u) = s_f \lfloor u R \rfloor / R

    Args:
        progress: :math:`u`, the share of the pruning window that is over; values outside [0, 1] are clamped.
        sparsity: :math:`s_f`, at the end.
        rounds: :math:`R`, how many times weights are pruned.

    Returns:
        The sparsity wanted now. The last round falls on the end of the window.

    Example:
        >>> [round(iterative_sparsity(u, 0.8, 4), 3) for u in (0, 0.3, 0.5, 1)]
        [0.0, 0.2, 0.4, 0.8]
    """
    return sparsity * int(min(max(progress, 0.0), 1.0) * rounds) / rounds


def scheduled_sparsity(schedule: Schedule, progress: float, sparsity: float, rounds: int = 10) -> float:
    """Sparsity that a schedule wants when a share ``progress`` of its window is over.

    ``one_shot`` prunes everything at the end of the window, when the pattern of every schedule is fixed: all of them
    train equally long with the final pattern.

    Args:
        schedule: One of ``one_shot``, ``iterative`` (:func:`iterative_sparsity`) and ``gradual``
            (:func:`cubic_sparsity`).
        progress: The share of the pruning window that is over.
        sparsity: At the end.
        rounds: Of the iterative schedule.

    Returns:
        The sparsity wanted now.
    """
    match schedule:
        case "one_shot":
            return sparsity if progress >= 1 else 0.0
        case "iterative":
            return iterative_sparsity(progress, sparsity, rounds)
        case "gradual":
            return cubic_sparsity(progress, sparsity)
