r"""Reweighted proximal pruning of weights (Guo et al. 2019, https://arxiv.org/abs/1909.12486).

The penalised problem is

.. math:: \min_w f(w) + \gamma \sum_i \alpha_i |w_i|, \qquad \alpha_i = \frac{1}{|w_i|^p + \varepsilon}

and is solved by an ordinary optimizer step on :math:`f`, followed by the proximal operator of the penalty, so that
the penalty never enters the gradient nor the optimizer's moments. In a metric :math:`d` (1 for the paper's Euclidean
form, :func:`toolkit.pruning.curvature.adam_metric` for Adam's own) the threshold of weight :math:`i` is
:math:`\lambda \gamma \alpha_i / d_i` with learning rate :math:`\lambda`.
"""

import math

import torch
from torch import Tensor

from toolkit.pruning.masks import smallest
from toolkit.pruning.patterns import Blocks, in_blocks


def soft_threshold(weight: Tensor, threshold: Tensor | float) -> Tensor:
    r"""Proximal operator of the weighted L1 norm.

    .. math:: \operatorname{prox}(w)_i = \operatorname{sign}(w_i) \max(|w_i| - t_i, 0)

    Args:
        weight: Any shape.
        threshold: Not negative; broadcastable to ``weight``.

    Returns:
        The shrunk weight; exactly zero where ``|weight| <= threshold``.

    Example:
        >>> soft_threshold(torch.tensor([-3.0, 0.5, 2.0]), 1.0)
        tensor([-2.,  0.,  1.])
    """
    return weight.sign() * (weight.abs() - threshold).clamp_min(0)


def reweight(weight: Tensor, exponent: float = 1.0, epsilon: float = 1e-3) -> Tensor:
    r"""Weights of the reweighted L1 norm: small weights are penalised most.

    .. math:: \alpha_i = \frac{1}{|w_i|^p + \varepsilon}

    ``exponent`` 1 is the rule of Candès, Wakin and Boyd (2008), which the paper cites.

    Args:
        weight: Any shape.
        exponent: :math:`p`, positive.
        epsilon: :math:`\varepsilon`, positive; bounds the penalty of a weight that is zero.

    Returns:
        A tensor of the shape of ``weight``.
    """
    return 1 / (weight.abs() ** exponent + epsilon)


def shrink_(
    weight: Tensor,
    scale: float,
    *,
    importance: Tensor | None = None,
    metric: Tensor | None = None,
    exponent: float = 1.0,
    epsilon: float = 1e-3,
    scratch: Tensor | None = None,
) -> Tensor:
    r"""Apply one proximal step in place: :func:`soft_threshold` at :math:`\lambda\gamma\alpha_i/d_i`.

    The same value as ``soft_threshold(weight, scale * reweight(weight) / metric)``, computed with
    :math:`\operatorname{prox}(w) = w - \operatorname{clamp}(w, -t, t)` in memory that is used again for every weight:
    the step is bound by memory, and fresh temporaries cost five times as much as the arithmetic.

    Args:
        weight: The weight to shrink, in float32.
        scale: :math:`\lambda\gamma`, learning rate times penalty.
        importance: :math:`\alpha`, if it was computed earlier; else it is that of ``weight`` now.
        metric: :math:`d`, or None for 1.
        exponent: :math:`p` of :func:`reweight`.
        epsilon: :math:`\varepsilon` of :func:`reweight`.
        scratch: At least two rows of at least ``weight.numel()`` numbers of the weight's type, overwritten.

    Returns:
        ``weight``.
    """
    if scratch is None:
        scratch = weight.new_empty(2, weight.numel())
    threshold, other = (row[: weight.numel()].view(weight.shape) for row in scratch[:2])
    if importance is None:
        torch.abs(weight, out=threshold)
        if exponent != 1:
            threshold.pow_(exponent)
        threshold.add_(epsilon)
        if metric is not None:
            threshold.mul_(metric)
        threshold.reciprocal_().mul_(scale)
    else:
        torch.mul(importance, scale, out=threshold)
        if metric is not None:
            threshold.div_(metric)
    torch.neg(threshold, out=other)
    torch.clamp(weight, other, threshold, out=threshold)
    return weight.sub_(threshold)


def block_sizes(weight: Tensor, blocks: Blocks) -> Tensor:
    r"""Root mean square of the weights of every block, which stands for the block as :math:`|w|` does for a weight.

    .. math:: n_B = \lVert w_B \rVert_2 \big/ \sqrt{|B|}

    Args:
        weight: ``(R, C)``.
        blocks: r x c, which divide it.

    Returns:
        ``(R / r, C / c)``.
    """
    norms: Tensor = torch.linalg.vector_norm(in_blocks(weight, blocks), dim=(1, 3))
    return norms / math.sqrt(blocks.rows * blocks.columns)


def shrink_blocks_(
    weight: Tensor,
    scale: float,
    blocks: Blocks,
    *,
    importance: Tensor | None = None,
    metric: Tensor | None = None,
    exponent: float = 1.0,
    epsilon: float = 1e-3,
) -> Tensor:
    r"""Apply one proximal step of the reweighted group norm in place.

    The penalty is :math:`\gamma \sum_B \alpha_B \sqrt{|B|} \lVert w_B \rVert_2`, the group lasso of Yuan and Lin (2006)
    with :func:`reweight` of the :func:`block_sizes` :math:`n_B`; its proximal operator is the group soft-threshold

    .. math:: w_B \leftarrow w_B \max\Big(1 - \frac{\lambda\gamma\alpha_B}{d_B n_B},\, 0\Big), \qquad
              \alpha_B = \frac{1}{n_B^p + \varepsilon}

    so that :math:`n_B` shrinks just as the :math:`|w_i|` of an unstructured pattern does, and blocks of one weight are
    that pattern. A metric is one number for each block: with a different one for each weight there is no closed form.

    Args:
        weight: ``(R, C)``, in float32.
        scale: :math:`\lambda\gamma`, learning rate times penalty.
        blocks: r x c, which divide it.
        importance: :math:`\alpha_B`, ``(R / r, C / c)``, if it was computed earlier; else it is that of ``weight`` now.
        metric: :math:`d_B`, ``(R / r, C / c)``, or None for 1.
        exponent: :math:`p` of :func:`reweight`.
        epsilon: :math:`\varepsilon` of :func:`reweight`.

    Returns:
        ``weight``.
    """
    size = block_sizes(weight, blocks)
    threshold = scale * (reweight(size, exponent, epsilon) if importance is None else importance)
    if metric is not None:
        threshold = threshold / metric
    factor = soft_threshold(size, threshold).div_(size).nan_to_num_(0.0)  # A block of zeros stays as it is.
    in_blocks(weight, blocks).mul_(factor[:, None, :, None])
    return weight


def resistance(weight: Tensor, exponent: float = 1.0, epsilon: float = 1e-3) -> Tensor:
    r"""How much :math:`\sum_t \lambda_t \gamma` it takes to shrink a weight to zero, without a gradient.

    With :math:`\alpha` refreshed at every step the weight follows :math:`d|w| = -\gamma\alpha\,\lambda\,dt`, hence it
    reaches zero once

    .. math:: \gamma \sum_t \lambda_t \ge \int_0^{|w|} (x^p + \varepsilon)\,dx
              = \frac{|w|^{p+1}}{p+1} + \varepsilon|w|

    (for :math:`p=1`: :math:`w^2/2 + \varepsilon|w|`). In a metric :math:`d` both sides are multiplied by it: the
    quantity is then half the saliency :math:`w^2 d` of optimal brain damage, up to :math:`\varepsilon`.

    Args:
        weight: Any shape.
        exponent: :math:`p` of :func:`reweight`.
        epsilon: :math:`\varepsilon` of :func:`reweight`.

    Returns:
        A tensor of the shape of ``weight``.
    """
    size = weight.abs()
    return size ** (exponent + 1) / (exponent + 1) + epsilon * size


def penalty_for_sparsity(resistances: Tensor, sparsity: float, step_sum: float) -> float:
    r"""The penalty that prunes a wanted share of the weights.

    .. math:: \gamma = Q_s(r) \Big/ \sum_t \lambda_t

    where :math:`Q_s(r)` is the quantile of the :func:`resistance` at the sparsity :math:`s`.

    Args:
        resistances: ``(N,)``, of the weights or of a sample of them.
        sparsity: The wanted share of zeros, in [0, 1).
        step_sum: :math:`\sum_t \lambda_t`, the sum of the learning rates of the steps that are left.

    Returns:
        :math:`\gamma`; 0 for sparsity 0.

    Raises:
        ValueError: If there is nothing to take the quantile of, or no step is left.

    Example:
        >>> weight = torch.linspace(0.01, 1, 100)
        >>> round(penalty_for_sparsity(resistance(weight, epsilon=1e-3), 0.5, step_sum=1.0), 4)  # 0.5² / 2 + 0.001 / 2
        0.1255
    """
    if resistances.numel() == 0 or step_sum <= 0:
        raise ValueError(
            "Expected weights and a positive sum of learning rates, "
            f"but got {resistances.numel()} weights and {step_sum}."
        )
    rank = round(sparsity * resistances.numel())  # As many as the final pattern has.
    if rank == 0:
        return 0.0
    return float(smallest(resistances.flatten(), rank)) / step_sum
