r"""Scores of resampled sets, many at a time: each metric as a function of how often every example is drawn.

The sets of a bootstrap (Efron and Tibshirani 1993, chapter 6) and of a permutation test (chapter 15) differ from the
judged set only in the numbers :math:`w_i` of times that example i is in them. Accuracy, F1 and Matthews' correlation
need sums :math:`\sum_i w_i s_i` of a few counts :math:`s_i` of each example; Pearson's correlation needs weighted
moments, and Spearman's weighted mean ranks. Every metric is that of :mod:`toolkit.metrics`, here in float64.

Examples are sentences. The words of a sentence are not independent of each other, so that those of a tagging set are
drawn together. Examples on which the judgements have the same counts are interchangeable and kept as one row with its
multiplicity: a few hundred rows for the 40,000 pairs of QQP, whose draws are then binomial or multinomial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from toolkit.evaluation.predictions import Judgement, Predictions
from toolkit.metrics import SpanF1

Array = npt.NDArray[Any]


def example_counts(judgement: Judgement, metric: str, name: str) -> Array:
    """Say what each example contributes to a metric.

    Args:
        judgement: On a task.
        metric: One of its metrics, such as ``span_f1``.
        name: One of its sets, such as ``test``.

    Returns:
        ``(N, 2)``, a row for each sentence. ``accuracy``: right and all predictions; ``f1``, ``span_f1``: true
        positives, and predicted plus true positives; ``matthews_correlation``: true and predicted label;
        ``pearson``, ``spearman``: predicted and true value.
    """
    predictions = judgement.sets[name]
    outputs, targets = predictions.outputs.cpu(), predictions.targets.cpu()
    if judgement.kind == "regression":
        columns = [outputs.reshape(targets.shape).float(), targets.float()]
    elif metric == "span_f1":
        columns = _SpansOfSentences(judgement.labels).counts(predictions)
    else:
        labels = outputs.argmax(-1) if judgement.kind == "classification" else outputs
        columns = {
            "accuracy": [labels == targets, torch.ones_like(targets)],
            "f1": [(labels == 1) & (targets == 1), (labels == 1).long() + (targets == 1).long()],
            "matthews_correlation": [targets, labels],
        }[metric]
        if judgement.kind == "tagging":
            columns = [_per_sentence(column, predictions.index) for column in columns]
    return torch.stack([column.double() for column in columns], dim=1).numpy() + 0.0  # no -0.0


def matched_counts(judgements: Sequence[Judgement], metric: str) -> tuple[str, Array]:
    """Say what each example contributes to a metric of each of several judgements on the same examples.

    Args:
        judgements: At least one.
        metric: A key of `Judgement.scores`, such as ``accuracy_mismatched``.

    Returns:
        The metric without its set, and ``(J, N, 2)``.

    Raises:
        ValueError: If the tasks, labels, examples or targets differ, there are none, or there is no such metric.
    """
    if not judgements:
        raise ValueError("There are no judgements; give one for each seed.")
    first = judgements[0]
    keys = {f"{known}{name.removeprefix('test')}": (known, name) for name in first.sets for known in first.metrics}
    if metric not in keys:
        raise ValueError(f"{first.name} has no metric {metric!r}; there are: {', '.join(keys)}.")
    known, name = keys[metric]
    for number, other in enumerate(judgements[1:], start=2):
        _check_match(first, other, number, known, name)
    if not len(first.sets[name].index):
        raise ValueError(f"The set {name} of {first.name} has no examples.")
    return known, np.stack([example_counts(judgement, known, name) for judgement in judgements])


def distinct(counts: Array) -> tuple[Array, Array]:
    """Join examples with the same counts in all judgements.

    Args:
        counts: ``(J, N, 2)``.

    Returns:
        ``(J, G, 2)`` in ascending order, and how many examples each of the G rows stands for.
    """
    wide = counts.transpose(1, 0, 2).reshape(counts.shape[1], -1)  # (N, 2J)
    rows, multiplicity = np.unique(wide, axis=0, return_counts=True)
    return rows.reshape(len(rows), -1, 2).transpose(1, 0, 2), multiplicity


def weighted_scores(metric: str, counts: Array, weights: Array) -> Array:
    """Score sets that are drawn from the same examples.

    Args:
        metric: Its name, without a set.
        counts: ``(J, N, 2)`` as `matched_counts` gives them, of J judgements.
        weights: ``(R, N)``, how often each of the R sets holds each example.

    Returns:
        ``(J, R)`` in float64. A correlation is 0 where a side is constant, and NaN in every set if a value of any
        example is not finite.
    """
    if metric in ("pearson", "spearman"):
        correlate = _pearson if metric == "pearson" else _spearman
        scores = np.full((len(counts), len(weights)), np.nan)
        whole = np.isfinite(counts).all(axis=(1, 2))
        if whole.any():
            scores[whole] = correlate(counts[whole, :, 0], counts[whole][0, :, 1], weights)
        return scores
    if metric == "matthews_correlation":
        size = int(counts.max()) + 1
        cells = (counts[..., 0] * size + counts[..., 1]).astype(np.int64)  # (J, N)
        return np.stack([_matthews((weights @ np.eye(size**2)[own]).reshape(-1, size, size)) for own in cells])
    right, total = np.moveaxis(weights @ counts, -1, 0)  # (J, R) each
    shares: Array = (1.0 if metric == "accuracy" else 2.0) * right / np.maximum(total, 1)
    return shares


def bootstrap_weights(random: np.random.Generator, multiplicity: Array, num_sets: int) -> Array:
    """Draw sets of as many examples as there are, with replacement.

    Args:
        random: Source of the draws.
        multiplicity: ``(G,)``, how many examples each row stands for.
        num_sets: R.

    Returns:
        ``(R, G)``, how many of a set's examples belong to each row.
    """
    total, num_rows = int(multiplicity.sum()), len(multiplicity)
    if 16 * num_rows < total:
        return random.multinomial(total, multiplicity / total, size=num_sets).astype(np.float64)
    # Where few examples are equal, drawing these is faster than a binomial number for each row.
    row = np.repeat(np.arange(num_rows), multiplicity)
    drawn = row[random.integers(total, size=(num_sets, total))] + num_rows * np.arange(num_sets)[:, None]
    return np.bincount(drawn.ravel(), minlength=num_sets * num_rows).reshape(num_sets, -1).astype(np.float64)


def swapped(random: np.random.Generator, multiplicity: Array, num_sets: int) -> Array:
    """Toss a coin for every example: how many examples of each row are swapped between two methods.

    Args:
        random: Source of the tosses.
        multiplicity: ``(G,)``, how many examples each row stands for.
        num_sets: R.

    Returns:
        ``(R, G)``, from 0 to the row's multiplicity.
    """
    one = multiplicity == 1
    heads = np.empty((num_sets, len(multiplicity)))
    heads[:, one] = random.integers(2, size=(num_sets, int(one.sum())), dtype=np.int8)
    heads[:, ~one] = random.binomial(multiplicity[~one], 0.5, size=(num_sets, int((~one).sum())))
    return heads


def _check_match(first: Judgement, other: Judgement, number: int, metric: str, name: str) -> None:
    def differ(what: str, mine: object, others: object) -> ValueError:
        return ValueError(
            f"Judgement {number} differs from the first in {what}: {others} instead of {mine}; "
            "only judgements on the same examples can be compared."
        )

    for what, field in (("its task", "name"), ("its kind of task", "kind"), ("its labels", "labels")):
        if (mine := getattr(first, field)) != (others := getattr(other, field)):
            raise differ(what, mine, others)
    if metric not in other.metrics or name not in other.sets:
        raise differ("what it was judged by", f"{metric} on {name}", f"{[*other.metrics]} on {[*other.sets]}")
    mine, others = first.sets[name], other.sets[name]
    if not torch.equal(mine.index, others.index):
        sizes = [f"{len(side.index)} entries of {len(side.index.unique())} rows" for side in (mine, others)]
        raise differ(f"its examples of {name}", *sizes)
    if not torch.equal(mine.targets, others.targets):
        entry = int((mine.targets != others.targets).nonzero()[0])
        raise differ(
            f"its targets of {name}, first in entry {entry}", mine.targets[entry].item(), others.targets[entry].item()
        )


def _matthews(cells: Array) -> Array:
    # (R, C, C), true × predicted
    total, true, predicted = cells.sum((1, 2)), cells.sum(2), cells.sum(1)
    covariance = total * np.trace(cells, axis1=1, axis2=2) - (true * predicted).sum(1)
    spread = np.sqrt(total**2 - (true**2).sum(1)) * np.sqrt(total**2 - (predicted**2).sum(1))
    correlations: Array = np.divide(covariance, spread, out=np.zeros_like(total), where=spread > 0)
    return correlations


def _pearson(x: Array, y: Array, weights: Array) -> Array:
    # x (J, N), y (N,), weights (R, N). One judgement at a time, so that equal ones have the same bits.
    return np.stack([_correlation(own - own.mean(), y - y.mean(), weights) for own in x])


def _correlation(x: Array, y: Array, weights: Array) -> Array:
    total = weights.sum(1)
    sum_x, sum_y, size_x, size_y, product = np.stack([x, y, x * x, y * y, x * y]) @ weights.T
    variation_x, variation_y = size_x - sum_x**2 / total, size_y - sum_y**2 / total
    scores = _ratio(product - sum_x * sum_y / total, variation_x, variation_y)
    # Sums of squares say nothing of a variation that is small beside them.
    for drawn in np.flatnonzero((variation_x <= 1e-6 * size_x) | (variation_y <= 1e-6 * size_y)):
        w = weights[drawn]
        sides = [side - w @ side / total[drawn] for side in (x, y)]
        variations = [w @ side**2 for side in sides]
        # The mean of equal values is off by rounding; distinct float32 values differ by far more than this.
        floors = [1e-24 * size[drawn] for size in (size_x, size_y)]
        variations = [value if value > floor else 0.0 for value, floor in zip(variations, floors, strict=True)]
        scores[drawn] = _ratio(w @ (sides[0] * sides[1]), *(np.asarray(value) for value in variations))
    return scores


def _spearman(x: Array, y: Array, weights: Array) -> Array:
    # x (J, N), y (N,), weights (R, N). Ranks are counted from the middle one, and with w_v sentences of the value v
    # the sum of their squares is (n^3 - sum_v w_v^3) / 12.
    drawn = np.ascontiguousarray(weights.T)  # (N, R): what belongs to one value is contiguous
    total = drawn.sum(0)

    def ranks(order: Array, start: Array) -> tuple[Array, Array]:
        counts = _summed(drawn[order], start)  # (V, R)
        return counts.cumsum(0) - (counts + total) / 2, (total**3 - (counts * counts * counts).sum(0)) / 12

    order, start, inverse = _values(y)
    ranks_y, variation_y = ranks(order, start)
    weighted = drawn * ranks_y[inverse]
    scores = []
    for own in x:
        order, start, _ = _values(own)
        ranks_x, variation_x = ranks(order, start)
        covariance = np.einsum("vr,vr->r", ranks_x, _summed(weighted[order], start))
        scores.append(_ratio(covariance, variation_x, variation_y))
    return np.stack(scores)


def _summed(sorted_rows: Array, start: Array) -> Array:
    """Add up the rows of each value; where no two are equal there is nothing to add."""
    summed: Array = sorted_rows if len(start) == len(sorted_rows) else np.add.reduceat(sorted_rows, start)
    return summed


def _values(side: Array) -> tuple[Array, Array, Array]:
    """Sort: the order, where each distinct value starts in it, and which value each entry has."""
    order = np.argsort(side, kind="stable")
    _, start, inverse = np.unique(side[order], return_index=True, return_inverse=True)
    place = np.empty(len(side), dtype=np.int64)
    place[order] = inverse
    return order, start, place


def _ratio(covariance: Array, variation_x: Array, variation_y: Array) -> Array:
    """Divide by the root of both variations; 0 where one of them is."""
    varied = (variation_x > 0) & (variation_y > 0)
    root = np.sqrt(np.where(varied, variation_x, 1)) * np.sqrt(np.where(varied, variation_y, 1))
    return np.clip(np.where(varied, covariance / root, 0.0), -1, 1)


def _per_sentence(column: Tensor, index: Tensor) -> Tensor:
    _, sentence = torch.unique_consecutive(index, return_inverse=True)
    return torch.bincount(sentence, weights=column.double())


class _SpansOfSentences(SpanF1):
    """Strict span F1 that keeps sentences apart."""

    def counts(self, predictions: Predictions) -> list[Tensor]:
        """Count right spans, and predicted plus true ones, in each sentence."""
        index = predictions.index
        begins, ends, types = self._spans(predictions.outputs.cpu(), index)
        true_begins, true_ends, true_types = self._spans(predictions.targets.cpu(), index)
        right = begins & true_begins & (ends == true_ends) & (types == true_types)
        return [_per_sentence(column, index) for column in (right, begins.long() + true_begins.long())]
