"""How the metrics of this folder add rows to their sums, and their sums over processes."""

from __future__ import annotations

import torch
from torch import Tensor

CONSTANT = 1e-12  # what has a variance below this part of its mean square is constant, but for rounding
_WIDTH = 128  # columns of a block: small enough to leave out most of the lower triangle, large enough for BLAS


def add_products_(products: Tensor, rows: Tensor) -> None:
    r"""Add the upper triangle of :math:`X^\top X` to a sum, in place.

    Of the lower triangle, what lies below the blocks on the diagonal is left out, which saves up to half of the
    arithmetic; :func:`symmetric` restores it.

    Args:
        products: (F, F) float64.
        rows: :math:`X` (R, F) float64.
    """
    for start in range(0, rows.shape[1], _WIDTH):
        stop = start + _WIDTH
        products[start:stop, start:].addmm_(rows[:, start:stop].mT, rows[:, start:])


def symmetric(products: Tensor) -> Tensor:
    """A sum of :func:`add_products_`, (..., F, F), with the lower triangle copied from the upper one."""
    return products.triu() + products.triu(1).mT


def check_precision(total: Tensor) -> None:
    """Refuse a sum that is no longer in float64.

    Raises:
        TypeError: If the sum was cast.
    """
    if total.dtype != torch.float64:
        raise TypeError(
            f"the sums of a statistic are float64, but were cast to {total.dtype}: do not call set_dtype, "
            "and keep the metric outside a LightningModule, whose precision it would take on"
        )


def sum_over_processes(state: Tensor, group: torch.distributed.ProcessGroup | None = None) -> list[Tensor]:
    """The ``dist_sync_fn`` of metrics whose states are all sums.

    torchmetrics' own gathers the state of every process and sums them then: large states, as many times.

    Args:
        state: Any shape, of the same shape in every process.
        group: The processes, or None for all of them.

    Returns:
        One tensor, the sum over the processes.
    """
    total = state.clone()
    torch.distributed.all_reduce(total, group=group)
    return [total]
