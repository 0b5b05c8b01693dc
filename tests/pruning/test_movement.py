"""Movement's gradients against autograd through a mask that passes them straight."""

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from toolkit.pruning.movement import movement_gradient, prune_below, score_penalty_gradient


class _StraightThrough(torch.autograd.Function):
    """The step function of scores, with the gradient of the identity."""

    @staticmethod
    def forward(context: object, scores: Tensor) -> Tensor:
        return (scores > 0).to(scores)

    @staticmethod
    def backward(context: object, *gradients: Tensor) -> Tensor:
        return gradients[0]


def test_gradient_of_scores_is_that_of_the_straight_through_estimator() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, scores = (torch.randn(5, 7, generator=generator, requires_grad=True) for _ in "ws")
    inputs = torch.randn(4, 7, generator=generator)
    mask: Tensor = _StraightThrough.apply(scores)  # type: ignore[no-untyped-call]
    ((inputs @ (weight * mask).T).tanh() ** 2).sum().backward()  # type: ignore[no-untyped-call]

    masked = (weight.detach() * (scores > 0)).requires_grad_()
    ((inputs @ masked.T).tanh() ** 2).sum().backward()  # type: ignore[no-untyped-call]
    assert masked.grad is not None
    assert scores.grad is not None
    room = torch.empty(5, 7)
    ours = movement_gradient(masked.grad, weight.detach(), out=room)
    assert ours is room
    torch.testing.assert_close(ours, scores.grad)
    torch.testing.assert_close(masked.grad * (scores > 0), weight.grad)
    assert ours[scores <= 0].count_nonzero() > 0  # Hidden weights learn their scores, too.


def test_gradient_of_the_penalty_is_autograds() -> None:
    scores = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (12.0 * scores.sigmoid().sum() / 40).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    torch.testing.assert_close(score_penalty_gradient(scores.detach(), 12.0, 40), scores.grad)


def test_threshold_is_one_of_probabilities() -> None:
    scores = np.random.default_rng(0).normal(size=(20, 20)) * 3
    for threshold in (0.0, 0.1, 0.5):
        pruned = prune_below({"w": torch.from_numpy(scores)}, threshold)["w"]
        assert pruned.tolist() == (expit(scores) <= threshold).tolist()
