r"""Movement pruning (Sanh, Wolf and Rush 2020, https://arxiv.org/abs/2005.07683): scores that learn what moves away.

The network computes with :math:`w \odot m(S)`, where the mask :math:`m` hides the weights of the lowest scores
:math:`S`. The mask is a step function of the scores; the straight-through estimator gives them the gradient that the
mask itself would have (section 4):

.. math:: \frac{\partial L}{\partial S_i} = \frac{\partial L}{\partial (w_i m_i)} \, w_i, \qquad
          S_i \leftarrow S_i - \eta \, \frac{\partial L}{\partial S_i}

A score rises where the weight moves away from zero, whether it is hidden or not, and falls where it moves towards it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def movement_gradient(gradient: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    r"""Gradient of the scores, straight through the mask: :math:`\partial L / \partial (w_i m_i) \cdot w_i`.

    Args:
        gradient: Of the loss in the masked weight, any shape; also of entries that are hidden.
        weight: The weight itself, not masked.
        out: Memory for the result.

    Returns:
        A tensor of the shape of ``weight``.
    """
    return torch.mul(gradient, weight, out=out)


def score_penalty_gradient(scores: Tensor, penalty: float, count: int) -> Tensor:
    r"""Gradient of soft movement pruning's penalty :math:`\lambda \frac1N \sum_j \sigma(S_j)` (section 4).

    .. math:: \frac{\lambda}{N} \, \sigma(S_i) \, (1 - \sigma(S_i))

    Args:
        scores: :math:`S`, of one weight.
        penalty: :math:`\lambda`.
        count: :math:`N`, the scores of all weights.

    Returns:
        A tensor of the shape of ``scores``.
    """
    probability = scores.sigmoid()
    return probability.mul_(1 - probability).mul_(penalty / count)


def prune_below(scores: Mapping[str, Tensor], threshold: float) -> dict[str, Tensor]:
    r"""Prune the weights with :math:`\sigma(S_i) \le \tau`: soft movement pruning, whose sparsity is a result.

    Args:
        scores: Name of a weight → its scores.
        threshold: :math:`\tau`, in [0, 1); 0 prunes what scores -inf alone.

    Returns:
        Name of a weight → boolean tensor of its shape, True where it is pruned.

    Example:
        >>> prune_below({"w": torch.tensor([-3.0, 0.0])}, 0.1)["w"]
        tensor([ True, False])
    """
    boundary = torch.tensor(threshold, dtype=torch.float64).logit()
    return {name: score <= boundary.to(score) for name, score in scores.items()}
