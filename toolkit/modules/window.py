"""The window of optimizer steps in which a run prunes, and the learning rates that are left in it."""

import torch
from torch.optim.lr_scheduler import LambdaLR

HORIZON = 0.05
"""A penalty is derived for at least this share of the window, however little of it is left."""


def check_window(prune_start: float, prune_fraction: float) -> None:
    """Check the shares of the steps between which is pruned.

    Args:
        prune_start: Share of the steps after which pruning begins.
        prune_fraction: Share of the steps after which what is pruned is fixed.

    Raises:
        ValueError: Unless 0 <= prune_start < prune_fraction <= 1.
    """
    if not 0 <= prune_start < prune_fraction <= 1:
        raise ValueError(
            "model.prune_start and model.prune_fraction are shares of the steps, the first below the second, "
            f"but got {prune_start} and {prune_fraction}."
        )


def window_steps(prune_start: float, prune_fraction: float, num_steps: int) -> tuple[int, int]:
    """Turn the shares into numbers of optimizer steps; the window has at least one step, also of the shortest run.

    Args:
        prune_start: Share of the steps after which pruning begins.
        prune_fraction: Share of the steps after which what is pruned is fixed.
        num_steps: Optimizer steps of the whole run.

    Returns:
        The last step before the window, and the last step in it; steps count from 1.

    Example:
        >>> window_steps(0.1, 0.6, 100)
        (10, 60)
    """
    end = max(1, round(prune_fraction * num_steps))
    return min(round(prune_start * num_steps), end - 1), end


def rates_left(scheduler: LambdaLR, end: int) -> list[float]:
    """Sum the learning rates from each step to the end of the window.

    Args:
        scheduler: Of the first group of weights.
        end: Last step of the window, counted from 1.

    Returns:
        ``end`` sums; number i (from 0) is that of the steps i + 1 to ``end``.
    """
    rates = [scheduler.base_lrs[0] * scheduler.lr_lambdas[0](step) for step in range(end)]
    left: list[float] = torch.tensor(rates, dtype=torch.float64).flip(0).cumsum(0).flip(0).tolist()
    return left
