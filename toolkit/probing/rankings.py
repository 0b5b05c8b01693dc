"""Rankings of neurons: by a probe's weights, and by what single neurons tell about the targets.

Every ranking is a tensor (F,) of neuron numbers, the best first; equal neurons stand by number. Values of regression
count as classes where a ranking needs classes: they are cut into quantiles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toolkit.probing.rows import check_rows, standardized


def rank_by_correlation_analysis(weight: Tensor) -> Tensor:
    r"""Linguistic correlation analysis (Dalvi et al. 2019, https://arxiv.org/abs/1812.09355, algorithm 1), exactly.

    The paper sweeps a share p of the mass :math:`\sum_n |W_{kn}|`: a neuron enters once it belongs to the shortest
    prefix of some class's neurons, largest first, that holds p of the class's mass. With ever finer steps, a neuron's
    rank is that of

    .. math:: \min_k \frac{\text{mass of class } k \text{ strictly before } n}{\sum_m |W_{km}|}

    in ascending order; neurons with the same, such as the first of every class, by their largest share
    :math:`\max_k |W_{kn}| / \sum_m |W_{km}|`.

    Args:
        weight: (K, F), of a probe on standardised features (`Probe.standardized_weight`). Values have one row.
    """
    size = weight.double().abs()
    share = size / size.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)  # a class without weight: 0
    ordered, order = share.sort(stable=True, dim=1, descending=True)
    # A prefix as long as the neurons before; a difference of sums would not be exactly 0 for the first.
    before = torch.zeros_like(ordered)
    before[:, 1:] = ordered.cumsum(1)[:, :-1]
    entry = torch.empty_like(before).scatter_(1, order, before)
    # A neuron that a class does not use enters with it only once all of the others have.
    entry = torch.where(share > 0, entry, 2.0).amin(0)
    by_share = share.amax(0).argsort(descending=True, stable=True)
    return by_share[entry[by_share].argsort(stable=True)]


def rank_by_norm(weight: Tensor) -> Tensor:
    r"""Largest :math:`\sum_k W_{kn}^2` first.

    Args:
        weight: (K, F), of a probe on standardised features.
    """
    return _best_first(weight.double().square().sum(0))


def rank_probeless(features: Tensor, targets: Tensor, num_classes: int | None) -> Tensor:
    r"""Distance between the classes' means (Antverg & Belinkov 2022, https://arxiv.org/abs/2110.07483, section 2.2).

    .. math:: \sum_{c < c'} |\mu_{cn} - \mu_{c'n}|

    of raw features, over the classes that have rows; for values, their absolute Pearson correlation with the neuron.

    Args:
        features: (R, F).
        targets: (R,).
        num_classes: C, or None for regression.
    """
    check_rows(features, targets, num_classes)
    if num_classes is None:
        inputs, _, _ = standardized(features)
        values = (targets.double() - targets.double().mean()).to(inputs.dtype)
        return _best_first((inputs.T @ values).double().abs())
    means, counts = _class_means(features, targets, num_classes)
    means = means[counts > 0].sort(0).values
    # Of sorted means, the i-th of C counts as the larger one in i pairs and as the smaller in C - 1 - i.
    sign = 2 * torch.arange(len(means), dtype=torch.float64) - (len(means) - 1)
    return _best_first(sign @ means)


def rank_by_mutual_information(features: Tensor, targets: Tensor, num_classes: int | None, *, bins: int = 16) -> Tensor:
    """Largest mutual information between the neuron's value and the class first.

    Args:
        features: (R, F).
        targets: (R,).
        num_classes: C, or None for regression.
        bins: Quantiles that the neuron's values (and those of a regression) are cut into.
    """
    return _best_first(mutual_information(features, targets, num_classes, bins=bins))


def mutual_information(features: Tensor, targets: Tensor, num_classes: int | None, *, bins: int = 16) -> Tensor:
    r"""Mutual information of every neuron and the class, in nats, without the bias of finite samples.

    .. math::
        \sum_{bc} p_{bc} \log \frac{p_{bc}}{p_b p_c} - \frac{(B - 1)(C - 1)}{2R}

    with B bins of equally many rows (equal values share a bin) and the first-order bias of Miller (1955), B and C
    counting the bins and classes that are not empty.

    Args:
        features: (R, F).
        targets: (R,).
        num_classes: C, or None for regression.
        bins: Most bins.

    Returns:
        (F,) float64.

    Raises:
        ValueError: If there are fewer than two bins.
    """
    if bins < 2:
        raise ValueError(f"bins is {bins}, but must be at least 2")
    check_rows(features, targets, num_classes)
    if num_classes is None:
        targets, num_classes = _bin(targets.double()[:, None], bins)[:, 0], bins
    num_rows, num_neurons = features.shape
    information = torch.empty(num_neurons, dtype=torch.float64)
    for part in torch.arange(num_neurons).split(256):
        cells = _bin(features[:, part], bins) * num_classes + targets[:, None]
        cells += torch.arange(len(part)) * bins * num_classes
        joint = torch.bincount(cells.flatten(), minlength=len(part) * bins * num_classes).double() / num_rows
        joint = joint.view(len(part), bins, num_classes)
        of_bin, of_class = joint.sum(2), joint.sum(1)
        raw = joint.xlogy(joint).sum((1, 2)) - of_bin.xlogy(of_bin).sum(1) - of_class.xlogy(of_class).sum(1)
        freedom = ((of_bin > 0).sum(1) - 1) * ((of_class > 0).sum(1) - 1)
        information[part] = raw - freedom.double() / (2 * num_rows)
    return information


def rank_by_average_precision(features: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Best average precision of the neuron's value, or of its negative, as a detector of any one class.

    The precision of a class is what is above its share of the rows, over what is possible, so that frequent classes
    do not come first for being frequent. Mu & Andreas 2020 (https://arxiv.org/abs/2006.14032) look for the best class
    of a neuron in the same way.

    Args:
        features: (R, F).
        targets: (R,) class ids.
        num_classes: C.
    """
    check_rows(features, targets, num_classes)
    best = torch.stack([_detection(column, targets, num_classes)[0] for column in features.T])
    return _best_first(best)


def rank_by_overlap(features: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Best intersection over union between the rows of any one class and the neuron's equally many largest values.

    The smallest values count as well as the largest. The threshold is the class's share of the rows: without it the
    measure prefers neurons that fire as often as the class, whatever they mean (Mu & Andreas 2020). Of equal values at
    the threshold the expected overlap of a random choice among them counts, whatever the order of the rows.

    Args:
        features: (R, F).
        targets: (R,) class ids.
        num_classes: C.
    """
    check_rows(features, targets, num_classes)
    return _best_first(torch.stack([_detection(column, targets, num_classes)[1] for column in features.T]))


def rank_random(num_neurons: int, seed: int) -> Tensor:
    """A seeded permutation: what any ranking has to beat.

    Args:
        num_neurons: F.
        seed: Its seed.
    """
    return torch.randperm(num_neurons, generator=torch.Generator().manual_seed(seed))


def _best_first(score: Tensor) -> Tensor:
    return score.argsort(descending=True, stable=True)


def _class_means(features: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    # Sums of float32, in pieces that are added in float64.
    sums = torch.zeros(num_classes, features.shape[1], dtype=torch.float64)
    for rows, labels in zip(features.split(4096), targets.split(4096), strict=True):
        inputs = rows if rows.dtype == torch.float64 else rows.float()
        sums += inputs.new_zeros(sums.shape).index_add_(0, labels, inputs)
    counts = torch.bincount(targets, minlength=num_classes)
    return sums / counts.clamp_min(1)[:, None], counts


def _bin(values: Tensor, bins: int) -> Tensor:
    # Number of the quantile edges that are at most the value; equal values get equal bins.
    ordered = values.sort(0).values
    edges = ordered[[len(values) * cut // bins for cut in range(1, bins)]]  # (bins - 1, F)
    return torch.searchsorted(edges.T.contiguous(), values.T.contiguous(), right=True).T


def _detection(column: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    # Best average precision above chance, and best overlap, of one neuron over classes and signs.
    num_rows = len(targets)
    counts = torch.bincount(targets, minlength=num_classes)
    place = torch.arange(1, num_rows + 1, dtype=torch.float64)
    precision, overlap = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for values in (column, -column):
        ordered, order = values.sort(descending=True, stable=True)
        labels = targets[order]
        # Equal values are one threshold: its rows count together.
        last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])
        group = torch.cat([torch.zeros(1, dtype=torch.long), last[:-1].cumsum(0)])
        ends = last.nonzero()[:, 0]
        by_class = labels.argsort(stable=True)  # places of class 0 in the ranking, then of class 1, …
        start = counts.cumsum(0) - counts
        hits = torch.zeros(num_rows, dtype=torch.float64)
        hits[by_class] = (torch.arange(num_rows) - start[labels[by_class]] + 1).double()  # of the own class so far
        if len(ends) < num_rows:
            key = group * num_classes + labels
            highest = torch.zeros(len(ends) * num_classes, dtype=torch.float64)
            hits = highest.scatter_reduce_(0, key, hits, "amax")[key]
        at_hit = hits / place[ends][group]
        mean = torch.zeros(num_classes, dtype=torch.float64).index_add_(0, labels, at_hit) / counts.clamp_min(1)
        chance = counts / num_rows
        above = (mean - chance) / (1 - chance).clamp_min(1e-12)
        above = above.masked_fill((counts == 0) | (counts == num_rows), 0.0)
        precision = torch.maximum(precision, above.amax())
        both = torch.zeros(num_classes, dtype=torch.float64)
        # Of equal values at the threshold as many count as there is room for, shared by all of them.
        starts = ends - torch.bincount(group, minlength=len(ends)) + 1
        threshold = group[counts[labels] - 1]
        room = (counts[labels] - starts[threshold]) / (ends - starts + 1)[threshold]
        inside = (group < threshold) + (group == threshold) * room.double()
        both.index_add_(0, labels, inside)
        overlap = torch.maximum(overlap, (both / (2 * counts - both).clamp_min(1)).amax())
    return precision, overlap
