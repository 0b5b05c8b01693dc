r"""Optimal brain surgeon on the columns of a probe: which neuron costs least, once the others have made up for it.

Hassibi & Stork 1993 (https://proceedings.neurips.cc/paper/1992/hash/303ed4c69846ab36c2904d3ba8573050-Abstract.html,
eq. 5): with the inverse Hessian H⁻¹ at the minimum, setting a weight to zero and letting the others adjust costs

.. math:: \frac{w_n^2}{2 [H^{-1}]_{nn}}, \qquad w \leftarrow w - \frac{w_n}{[H^{-1}]_{nn}} H^{-1}_{:n}.

For least squares this is exact, and all neurons can be eliminated one after another, each the best choice, without
training again. A neuron goes with its weights for all of the outputs, so its costs add up over them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toolkit.probing.rows import check_rows, standardized
from toolkit.probing.solvers import LinearLoss, minimize_smooth

_LIVING = 0.8  # Part of the neurons below which those that are gone are left out of the inverse.
_BLOCK = 64  # eliminations whose updates of the inverse are made at once, as one matrix product


def rank_by_surgeon(
    features: Tensor,
    targets: Tensor,
    *,
    num_classes: int | None,
    l2: float = 1e-3,
    pool: int = 300,
    drop: float = 1 / 3,
    tolerance: float = 3e-3,
    max_iterations: int = 60,
) -> Tensor:
    r"""Rank neurons by when the optimal brain surgeon eliminates them.

    First all but ``pool`` neurons are eliminated one by one from the ridge regression of the values, or of the classes'
    indicators (whose penalty is 1e-3 at least, against nearly equal neurons). Of classes the rest goes in rounds: a
    logistic probe is trained, and ``drop`` of its neurons are eliminated one by one by the Hessian of its loss, where
    every class has the block :math:`\frac1R X^\top \operatorname{diag}(p_c (1 - p_c)) X + 2 \lambda_2 I` and the
    blocks between classes are left out.

    Args:
        features: (R, F), raw.
        targets: (R,) class ids, or values.
        num_classes: C, or None for regression.
        l2: Penalty :math:`\lambda_2` of standardised weights, as in `fit_probe`.
        pool: Neurons that are ranked by logistic probes; more of them cost time as their square.
        drop: Part of the neurons that a round eliminates, at least one.
        tolerance: Of the probes' solver.
        max_iterations: Of the probes' solver.

    Returns:
        (F,) neuron numbers, the last survivor first.

    Raises:
        ValueError: If the rows fit no probe, or an option is out of its range.
    """
    check_rows(features, targets, num_classes)
    if not 0 < drop < 1 or pool < 1 or l2 <= 0:
        raise ValueError(f"drop is {drop}, pool {pool} and l2 {l2}; give 0 < drop < 1, pool >= 1 and l2 > 0")
    inputs, _, _ = standardized(features)
    neurons = torch.arange(inputs.shape[1])
    loss = LinearLoss(inputs, targets, num_classes, l2)
    wanted = loss.targets.double() - loss.targets.double().mean(0)
    ridge = l2 if num_classes is None else max(l2, 1e-3)
    inverse = _inverse((inputs.T @ inputs).double() / len(inputs), ridge)[None]
    weight = (inverse[0] @ (inputs.T @ wanted.to(inputs)).double() / len(inputs)).T[None]  # (1, K, F)
    rest = 1 if num_classes is None else min(pool, len(neurons))
    eliminated, survivors, _ = eliminate(inverse, weight, len(neurons) - rest)
    dropped = [neurons[eliminated]]
    del inverse

    parameters: Tensor | None = None
    neurons = survivors
    while len(neurons) > 1:
        assert num_classes is not None  # of values there is one left
        chosen = inputs.index_select(1, neurons)
        loss = LinearLoss(chosen, targets, num_classes, l2)
        parameters = minimize_smooth(loss, parameters, tolerance, max_iterations).parameters
        chance = loss.logits(parameters).softmax(1)
        blocks = []
        for column in (chance * (1 - chance)).T:
            blocks.append(_inverse((chosen.T @ (chosen * column[:, None])).double() / len(chosen), 2 * l2))
        weight = parameters[:, None, :-1].double()  # (C, 1, F)
        eliminated, survivors, weight = eliminate(torch.stack(blocks), weight, max(int(drop * len(neurons)), 1))
        dropped.append(neurons[eliminated])
        neurons = neurons[survivors]
        # The surgeon's weights, which have made up for the losses, are where the next probe starts.
        parameters = torch.cat([weight[:, 0].to(parameters), parameters[:, -1:]], 1)
    return torch.cat([neurons, *(group.flip(0) for group in reversed(dropped))])


def eliminate(inverse: Tensor, weight: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""Eliminate neurons one by one, each time the one that raises the quadratic loss least.

    The loss is :math:`\frac12 \sum_{mk} (v_{mk} - w_{mk})^\top H_m (v_{mk} - w_{mk})` with M Hessians, each shared by
    the K weight vectors that it belongs to.

    Args:
        inverse: (M, F, F), float64: the inverses of the Hessians, overwritten.
        weight: (M, K, F), float64: where the loss has its minimum.
        count: How many to eliminate.

    Returns:
        The positions eliminated (count,) in their order, those that survive (F - count,) ascending, and the survivors'
        weights (M, K, F - count) at the minimum that is left to them.

    Example:
        >>> inverse = torch.eye(3, dtype=torch.float64)[None]
        >>> eliminate(inverse, torch.tensor([[[2.0, 1.0, 3.0]]], dtype=torch.float64), 2)[0]
        tensor([1, 0])
    """
    alive = torch.arange(weight.shape[2])
    gone = torch.zeros(len(alive), dtype=torch.bool)
    weight = weight.clone()
    eliminated: list[int] = []
    while True:
        steps = min(_BLOCK, count - len(eliminated))
        diagonal = inverse.diagonal(dim1=1, dim2=2).clone()
        diagonal[:, gone] = 1
        # H⁻¹ after the i-th elimination is H⁻¹ - U Uᵀ with the first i columns of U.
        updates = inverse.new_zeros(len(inverse), len(alive), steps)
        for step in range(steps):
            cost = (weight.square().sum(1) / diagonal).sum(0).masked_fill_(gone, float("inf"))
            place = int(cost.argmin())
            column = inverse[:, :, place] - (updates[:, :, :step] @ updates[:, place, :step, None])[:, :, 0]
            root = diagonal[:, place].sqrt()
            update = column / root[:, None]
            weight -= (weight[:, :, place] / root[:, None])[:, :, None] * update[:, None]
            updates[:, :, step] = update
            diagonal -= update.square()
            gone[place] = True
            diagonal[:, gone] = 1
            eliminated.append(int(alive[place]))
        kept = (~gone).nonzero()[:, 0]
        if len(eliminated) == count:
            return torch.tensor(eliminated, dtype=torch.long), alive[kept], weight[:, :, kept]
        # In place; the memory of those that are gone is given back once it is worth a copy.
        inverse.baddbmm_(updates, updates.mT, alpha=-1)
        if len(kept) < _LIVING * len(gone):
            inverse = inverse[:, kept][:, :, kept]
            weight, alive, gone = weight[:, :, kept], alive[kept], gone[kept]


def _inverse(matrix: Tensor, ridge: float) -> Tensor:
    matrix.diagonal().add_(ridge)
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix))
