r"""Curvature of the loss as Adam already estimates it, for shrinking and for ranking weights.

Adam's second moment :math:`\hat v_i` is a running mean of squared gradients, hence a diagonal estimate of the
empirical Fisher matrix; its step moves weight :math:`i` in the metric :math:`\sqrt{\hat v_i}`.
"""

import torch
from torch import Tensor


def adam_metric(second_moment: Tensor, typical: float, floor: float = 0.05, out: Tensor | None = None) -> Tensor:
    r"""Adam's metric, relative to a typical weight and bounded from below.

    .. math:: d_i = \frac{\sqrt{\hat v_i}}{m} + \text{floor}

    with :math:`m` the median of :math:`\sqrt{\hat v}` over the prunable weights. Adam's bias correction is the same
    factor above and below the line and cancels. The floor keeps the threshold of a weight without gradient finite.

    Args:
        second_moment: ``exp_avg_sq`` of the optimizer, any shape.
        typical: :math:`m`, positive (:func:`typical_gradient`).
        floor: Not negative.
        out: Memory for the result.

    Returns:
        A tensor of the shape of ``second_moment``.
    """
    return torch.sqrt(second_moment, out=out).div_(typical).add_(floor)


def typical_gradient(second_moments: Tensor) -> float:
    r"""The median of :math:`\sqrt{\hat v}`.

    Args:
        second_moments: ``(N,)``, of the prunable weights or of a sample of them.

    Returns:
        The median; the smallest positive normal number where more than half of the weights never had a gradient.
    """
    median = float(second_moments.median().sqrt())
    return max(median, torch.finfo(second_moments.dtype).tiny)


def saliency(weight: Tensor, metric: Tensor, out: Tensor | None = None) -> Tensor:
    r"""Score of optimal brain damage (LeCun et al. 1990) with Adam's metric in place of the Hessian's diagonal.

    .. math:: s_i = w_i^2 d_i

    Args:
        weight: Any shape.
        metric: :math:`d`, of the same shape.
        out: Memory for the result; may be ``metric`` itself.

    Returns:
        A tensor of the shape of ``weight``; the least salient weights are pruned first.
    """
    return torch.mul(metric, weight, out=out).mul_(weight)
