r"""Linear probes with an elastic net, as in Dalvi et al. 2020 (https://arxiv.org/abs/2004.04010), and solved exactly.

.. math::
    \min_{W, b} \frac1R \sum_r \ell(W \tilde x_r + b, y_r) + \lambda_1 \sum_{kn} |W_{kn}|
    + \lambda_2 \sum_{kn} W_{kn}^2

with the softmax cross-entropy of classes (K = C) or the squared error of values (K = 1). The bias is not penalised.
:math:`\tilde x` are the standardised features, so that a weight counts by what its neuron adds to the logits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from toolkit.metrics import Accuracy, BinaryF1, Correlation, MatthewsCorrelation
from toolkit.probing.adam import adam
from toolkit.probing.rows import check_rows, standardized
from toolkit.probing.solvers import LinearLoss, Solution, minimize_composite, minimize_smooth
from toolkit.pruning.proximal import soft_threshold

Score = Callable[[Tensor, Tensor], float]
"""``score(outputs (R, K), targets (R,))``, the higher the better."""

_UNSEEN_BIAS = -1e4  # logit of a class without training rows: e to it is zero, yet it fits into half precision


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear model of raw features, with the standardisation that it was trained under.

    Args:
        weight: (K, F), for raw features.
        bias: (K,).
        mean: (F,), subtracted in training.
        scale: (F,), what training divided by; 1 for a constant feature, and without standardisation.
        iterations: Steps of the solver.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    iterations: int

    @property
    def standardized_weight(self) -> Tensor:
        """Weights (K, F) for standardised features: what rankings compare."""
        return self.weight * self.scale

    def logits(self, features: Tensor) -> Tensor:
        """Outputs (R, K) for raw features (R, F)."""
        return torch.addmm(self.bias, features.to(self.weight.dtype), self.weight.T)


def probe_score(probe: Probe, features: Tensor, targets: Tensor, score: Score) -> float:
    """Score a probe.

    Args:
        probe: The probe.
        features: (R, F), raw.
        targets: (R,).
        score: Such as one of `named_score`.
    """
    return score(probe.logits(features), targets)


def named_score(name: str, num_classes: int | None = None) -> Score:
    """Make a score from the name of a metric of :mod:`toolkit.metrics`.

    Args:
        name: ``accuracy``, ``f1``, ``matthews_correlation``, ``pearson`` or ``spearman``.
        num_classes: C; needed for ``matthews_correlation``.

    Raises:
        ValueError: If there is no such metric, or it lacks ``num_classes``.

    Example:
        >>> named_score("accuracy")(torch.eye(3), torch.tensor([0, 1, 1])) == torch.tensor(2 / 3).item()
        True
    """
    if name == "matthews_correlation" and num_classes is None:
        raise ValueError("matthews_correlation needs num_classes")
    # Each process scores its own rows, also inside a distributed run: the others must not be waited for.
    makers: dict[str, Callable[[], Metric]] = {
        "accuracy": lambda: Accuracy(sync_on_compute=False),
        "f1": lambda: BinaryF1(sync_on_compute=False),
        "matthews_correlation": lambda: MatthewsCorrelation(num_classes or 0, sync_on_compute=False),
        "pearson": lambda: Correlation(ranks=False, sync_on_compute=False),
        "spearman": lambda: Correlation(ranks=True, sync_on_compute=False),
    }
    if name not in makers:
        raise ValueError(f"no score {name!r} for probes; there are: {', '.join(makers)}")

    def score(outputs: Tensor, targets: Tensor) -> float:
        metric = makers[name]()
        metric.update(outputs, targets)
        return float(metric.compute())

    return score


def fit_probe(
    features: Tensor,
    targets: Tensor,
    *,
    num_classes: int | None,
    l1: float = 0.0,
    l2: float = 1e-3,
    solver: Literal["converged", "adam"] = "converged",
    standardize: bool = True,
    norm: Literal["squared", "frobenius"] = "squared",
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
    start: Probe | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    shuffle: bool = True,
    seed: int = 0,
) -> Probe:
    r"""Train a probe.

    ``converged`` is deterministic: L-BFGS, or FISTA where ``l1 > 0``, on all rows at once. It gives constant features
    weight zero, and classes without rows weight zero and a bias that never lets them win.

    ``adam`` is the paper's: minibatches, PyTorch's initial weights, no convergence. The released code runs it with
    ``standardize=False, shuffle=False, norm="frobenius", l1=1e-5, l2=1e-5``; its "L2" penalty is the norm
    :math:`\lambda_2 \|W\|_F`, unsquared.

    Args:
        features: (R, F), raw; half precision is computed in float32.
        targets: (R,) class ids, or values.
        num_classes: C, or None for regression.
        l1: :math:`\lambda_1`.
        l2: :math:`\lambda_2`.
        solver: ``converged`` or ``adam``.
        standardize: Whether the penalty is on the weights of standardised features.
        norm: Form of the second penalty; ``frobenius`` with ``adam`` only.
        tolerance: Of ``converged``: it stops at this part of the gradient's norm at zero weights.
        max_iterations: Of ``converged``: most steps; it warns if they do not suffice.
        start: Of ``converged``: the probe to start from. The result is the same within the tolerance.
        epochs: Of ``adam``.
        batch_size: Of ``adam``: rows of a step.
        learning_rate: Of ``adam``.
        shuffle: Of ``adam``: whether every epoch has an order of its own, or that of the rows.
        seed: Of ``adam``: seed of the first weights and of the orders.

    Returns:
        The probe, for raw features.

    Raises:
        ValueError: If shapes do not fit, targets are no class ids, features are not finite, or an option is unknown.
    """
    check_rows(features, targets, num_classes)
    if min(l1, l2) < 0 or solver not in ("converged", "adam") or norm not in ("squared", "frobenius"):
        raise ValueError(f"no probe with l1={l1}, l2={l2}, solver={solver!r}, norm={norm!r}; see fit_probe")
    if norm == "frobenius" and solver != "adam":
        raise ValueError("norm='frobenius' is the paper's; choose solver='adam' with it, or norm='squared'")
    if start is not None and start.weight.shape != (num_classes or 1, features.shape[1]):
        raise ValueError(f"start has weights {tuple(start.weight.shape)} for features {tuple(features.shape)}")
    if solver == "adam":
        inputs, mean, scale = standardized(features, centre=standardize, rescale=standardize)
        penalty = (l1, l2, norm)
        parameters, steps = adam(
            inputs, targets, num_classes, penalty, epochs, batch_size, learning_rate, shuffle, seed
        )
        return _unfold(parameters, mean, scale, steps)
    # Centred features have the same minimum, as the bias is free, and a far better condition.
    inputs, mean, scale = standardized(features, centre=True, rescale=standardize)
    seen = None if num_classes is None else torch.bincount(targets, minlength=num_classes) > 0
    parameters, solution = _converged(inputs, targets, seen, l1, l2, tolerance, max_iterations, start, mean, scale)
    if solution.residual > tolerance and solution.iterations == max_iterations:
        warnings.warn(
            f"the probe stopped after {max_iterations} steps at {solution.residual:.1e} of the first gradient, "
            f"not {tolerance:.1e}; raise max_iterations, tolerance or l2",
            RuntimeWarning,
            stacklevel=2,
        )
    return _unfold(parameters, mean, scale, solution.iterations)


def elastic_net(penalty: float, l1_share: float) -> tuple[float, float]:
    """Split a penalty into the ``l1`` and ``l2`` of `fit_probe`.

    Args:
        penalty: The whole.
        l1_share: Part of it that is l1; the rest is l2.

    Example:
        >>> elastic_net(0.5, l1_share=0.25)
        (0.125, 0.375)
    """
    return l1_share * penalty, (1 - l1_share) * penalty


def search_penalty(
    features: Tensor,
    targets: Tensor,
    dev_features: Tensor,
    dev_targets: Tensor,
    *,
    num_classes: int | None,
    score: Score,
    penalties: Sequence[float] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4),
    l1_share: float = 0.0,
    standardize: bool = True,
    tolerance: float = 1e-3,
) -> tuple[Probe, float, dict[float, float]]:
    """Choose the penalty with the best score on held-out rows; of equal scores, the larger penalty.

    The path runs from the largest penalty to the smallest, each probe starting from the last.

    Args:
        features: (R, F), raw.
        targets: (R,).
        dev_features: Held-out rows, which choose.
        dev_targets: Their targets.
        num_classes: C, or None for regression.
        score: What is to be high on the held-out rows.
        penalties: The penalties to try.
        l1_share: Part of a penalty that is l1; the rest is l2.
        standardize: As in `fit_probe`.
        tolerance: As in `fit_probe`.

    Returns:
        The probe, its penalty, and the score of every penalty.

    Raises:
        ValueError: If there are no penalties, or ``l1_share`` is outside [0, 1].
    """
    if not penalties or not 0 <= l1_share <= 1:
        raise ValueError(f"give penalties ({list(penalties)}) and an l1_share within 0 and 1 ({l1_share})")
    scores: dict[float, float] = {}
    best: tuple[Probe, float] | None = None
    probe: Probe | None = None
    for penalty in sorted(set(penalties), reverse=True):
        l1, l2 = elastic_net(penalty, l1_share)
        probe = fit_probe(
            features,
            targets,
            num_classes=num_classes,
            l1=l1,
            l2=l2,
            standardize=standardize,
            tolerance=tolerance,
            start=probe,
        )
        scores[penalty] = probe_score(probe, dev_features, dev_targets, score)
        if best is None or scores[penalty] > scores[best[1]]:
            best = probe, penalty
    assert best is not None  # there are penalties
    return *best, scores


def _converged(
    inputs: Tensor,
    targets: Tensor,
    seen: Tensor | None,
    l1: float,
    l2: float,
    tolerance: float,
    max_iterations: int,
    start: Probe | None,
    mean: Tensor,
    scale: Tensor,
) -> tuple[Tensor, Solution]:
    num_classes = None if seen is None else int(seen.sum())
    rows = torch.ones(1, dtype=torch.bool) if seen is None else seen
    if seen is not None:
        targets = (seen.cumsum(0) - 1)[targets]  # numbers among the classes that have rows
    first = None
    if start is not None:
        weight, bias = start.weight.to(inputs)[rows], start.bias.to(inputs)[rows]
        bias = bias + weight @ mean
        if seen is not None:
            # A class that the start had not seen begins like the others; adding to all logits changes nothing.
            bias = torch.where(bias < _UNSEEN_BIAS / 2, bias.max(), bias)
            bias = bias - bias.mean()
        first = torch.cat([weight * scale, bias[:, None]], 1)
        first[:, :-1][:, inputs.abs().amax(0) == 0] = 0  # constant here
    loss = LinearLoss(inputs, targets, num_classes, l2)
    if l1 > 0:
        solution = minimize_composite(
            loss, lambda weight, step: soft_threshold(weight, l1 * step), first, tolerance, max_iterations
        )
    else:
        solution = minimize_smooth(loss, first, tolerance, max_iterations)
    parameters = inputs.new_zeros(len(rows), inputs.shape[1] + 1)
    parameters[:, -1] = _UNSEEN_BIAS
    parameters[rows] = solution.parameters
    return parameters, solution


def _unfold(parameters: Tensor, mean: Tensor, scale: Tensor, iterations: int) -> Probe:
    weight = parameters[:, :-1] / scale
    bias = parameters[:, -1] - weight @ mean
    return Probe(weight=weight, bias=bias, mean=mean, scale=scale, iterations=iterations)
