"""The metrics of the tasks, as torchmetrics that give what scikit-learn, SciPy and seqeval give.

torchmetrics' own differ for networks that have lost everything, which compression makes: its Matthews' correlation of
constant predictions is not 0, its Pearson correlation of them is NaN with a warning, and it has no span F1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.data import dim_zero_cat

from toolkit.tasks import IGNORED, Kind


class Scored(Protocol):
    """What scoring needs to know of a task: its name, kind, metrics, and the names of its label ids."""

    @property
    def name(self) -> str:
        """Of the task."""

    @property
    def kind(self) -> Kind:
        """What it predicts."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """By name, the first of them the one that tables are ordered by."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the label ids."""


def task_metrics(task: Scored, **kwargs: Any) -> MetricCollection:
    """Make the metrics of a task, under their names in its table.

    All of them are updated by ``update(predictions, targets)``. Classification: logits (B, C) and label ids (B,).
    Regression: values (B,) or (B, 1) and scores (B,). Tagging: predicted label ids (B, T) and label ids (B, T), where a
    target of -100 is not scored; a prediction that is no label, such as -1, counts as an error.

    Args:
        task: The task, with its labels.
        kwargs: Given to every metric, such as ``sync_on_compute=False``.

    Raises:
        ValueError: If the labels are not known yet, or do not fit a metric.

    Example:
        >>> from toolkit.tasks import find_task
        >>> metrics = task_metrics(find_task("mrpc"))
        >>> metrics.update(torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), torch.tensor([1, 1, 1]))
        >>> {name: round(value.item(), 3) for name, value in metrics.compute().items()}
        {'accuracy': 0.667, 'f1': 0.8}
    """
    if task.kind != "regression" and not task.labels:
        raise ValueError(f"the labels of task {task.name!r} are not known yet; take the task from its TaskData")
    makers: dict[str, Callable[..., Metric]] = {
        "accuracy": Accuracy,
        "f1": BinaryF1,
        "matthews_correlation": lambda **kw: MatthewsCorrelation(len(task.labels), **kw),
        "pearson": lambda **kw: Correlation(ranks=False, **kw),
        "spearman": lambda **kw: Correlation(ranks=True, **kw),
        "span_f1": lambda **kw: SpanF1(task.labels, **kw),
    }
    if "f1" in task.metrics and len(task.labels) != 2:
        raise ValueError(f"task {task.name!r}: f1 is binary and needs two labels, not {len(task.labels)}")
    # Compute groups would share states between metrics on the strength of equal values in one batch.
    return MetricCollection({name: makers[name](**kwargs) for name in task.metrics}, compute_groups=False)


class Accuracy(Metric):
    r"""Part of the predictions that are right, :math:`\frac1N \sum_i [\hat y_i = y_i]`.

    Takes logits (B, C) and targets (B,), or label ids and targets of the same shape, with -100 for what is not scored.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    correct: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count a batch."""
        predictions = _labels(predictions, targets)
        scored = targets != IGNORED
        self.correct += ((predictions == targets) & scored).sum()
        self.total += scored.sum()

    def compute(self) -> Tensor:
        """The accuracy; 0 before any update."""
        return self.correct.float() / self.total.clamp(min=1)


class BinaryF1(Metric):
    r"""F1 of the label with id 1, :math:`\frac{2\,tp}{2\,tp + fp + fn}`, and 0 where this is 0/0.

    Takes logits (B, 2) or label ids (B,), and targets (B,).
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    true_positives: Tensor
    positives: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("true_positives", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("positives", torch.tensor(0), dist_reduce_fx="sum")  # predicted, plus true

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count a batch."""
        predictions = _labels(predictions, targets)
        self.true_positives += ((predictions == 1) & (targets == 1)).sum()
        self.positives += (predictions == 1).sum() + (targets == 1).sum()

    def compute(self) -> Tensor:
        """The F1 score."""
        return 2 * self.true_positives.float() / self.positives.clamp(min=1)


class MatthewsCorrelation(Metric):
    r"""Matthews' correlation of predicted and true labels (Gorodkin 2004), 0 where either of them is constant.

    .. math::
        \frac{N \sum_c n_{cc} - \sum_c t_c p_c}{\sqrt{N^2 - \sum_c p_c^2} \sqrt{N^2 - \sum_c t_c^2}}

    with the confusion matrix n and the counts t_c of true and p_c of predicted labels.

    Args:
        num_labels: Number of labels C.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    confusion: Tensor

    def __init__(self, num_labels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_labels = num_labels
        self.add_state("confusion", torch.zeros(num_labels, num_labels, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count a batch of logits (B, C) or label ids (B,), and targets (B,)."""
        cells = targets * self.num_labels + _labels(predictions, targets)
        self.confusion += torch.bincount(cells, minlength=self.num_labels**2).view_as(self.confusion)

    def compute(self) -> Tensor:
        """The correlation, from -1 to 1."""
        confusion = self.confusion.cpu().double()
        total, true, predicted = confusion.sum(), confusion.sum(1), confusion.sum(0)
        covariance = total * confusion.trace() - true @ predicted
        spread = (total**2 - predicted @ predicted) * (total**2 - true @ true)
        correlation = covariance / spread.sqrt() if spread > 0 else torch.tensor(0.0)
        return torch.as_tensor(correlation, dtype=torch.float32, device=self.device)


class Correlation(Metric):
    r"""Pearson's correlation of predicted and true scores, or Spearman's, which is Pearson's of the ranks.

    .. math::
        r = \frac{\sum_i (x_i - \bar x)(y_i - \bar y)}
                 {\sqrt{\sum_i (x_i - \bar x)^2} \sqrt{\sum_i (y_i - \bar y)^2}}

    It is 0 where a side is constant: a network that has lost everything is a result, not an error. It is NaN where a
    score is no number: a network that diverged has none. Equal scores share
    their mean rank. The scores are kept, and the correlation is computed from them in float64.

    Args:
        ranks: Whether to correlate the ranks.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    predicted: list[Tensor]
    true: list[Tensor]

    def __init__(self, *, ranks: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ranks = ranks
        self.add_state("predicted", [], dist_reduce_fx="cat")
        self.add_state("true", [], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Keep a batch of values (B,) or (B, 1), and scores (B,)."""
        self.predicted.append(predictions.detach().reshape(targets.shape).float())
        self.true.append(targets.float())

    def compute(self) -> Tensor:
        """The correlation, from -1 to 1."""
        sides = [dim_zero_cat(side).cpu().double() for side in (self.predicted, self.true)]
        if not all(bool(side.isfinite().all()) for side in sides):  # Ranks would hide it.
            return torch.tensor(torch.nan, device=self.device)
        # The mean of equal values is off by rounding; a constant side must have no spread at all.
        if any(bool((side == side[0]).all()) for side in sides):
            return torch.tensor(0.0, device=self.device)
        x, y = (_mean_ranks(side) if self.ranks else side for side in sides)
        x, y = x - x.mean(), y - y.mean()
        correlation: Tensor = (x @ y / (x.norm() * y.norm())).clamp(-1, 1)
        return correlation.float().to(self.device)


class SpanF1(Metric):
    r"""Micro-averaged F1 of spans in strict IOB2: :math:`\frac{2\,tp}{\text{predicted} + \text{true}}`.

    A span is a ``B-TYPE`` and the ``I-TYPE`` of the same type that follow it without a gap; an ``I-TYPE`` that
    continues nothing is outside. A predicted span is right if its ends and its type are. This is what seqeval computes
    with ``mode="strict", scheme=IOB2``; F1 is 0 where it is 0/0.

    Args:
        labels: Names of the label ids, each ``O``, ``B-TYPE`` or ``I-TYPE``.

    Raises:
        ValueError: If a label is no IOB2 tag.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    true_positives: Tensor
    predicted: Tensor
    true: Tensor
    begins: Tensor
    types: Tensor

    def __init__(self, labels: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        parts = [label.partition("-") for label in labels]
        for label, (prefix, _, name) in zip(labels, parts, strict=True):
            if label != "O" and (prefix not in ("B", "I") or not name):
                raise ValueError(f"span_f1 needs IOB2 labels (O, B-TYPE or I-TYPE), not {label!r}; choose accuracy")
        names = sorted({name for _, _, name in parts})
        # The last entry of both tables is for predictions that are no label.
        self.register_buffer("begins", torch.tensor([prefix == "B" for prefix, _, _ in parts] + [False]))
        types = [-1 if prefix == "O" else names.index(name) for prefix, _, name in parts]
        self.register_buffer("types", torch.tensor([*types, -1]))
        for state in ("true_positives", "predicted", "true"):
            self.add_state(state, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count a batch of label ids (B, T); positions with a target of -100 are no words."""
        words = targets != IGNORED
        sentence = torch.arange(len(targets), device=targets.device)[:, None].expand_as(targets)[words]  # (W,)
        begins, ends, types = self._spans(predictions[words], sentence)
        true_begins, true_ends, true_types = self._spans(targets[words], sentence)
        right = begins & true_begins & (ends == true_ends) & (types == true_types)
        self.true_positives += right.sum()
        self.predicted += begins.sum()
        self.true += true_begins.sum()

    def compute(self) -> Tensor:
        """The F1 score."""
        return torch.div(2 * self.true_positives, (self.predicted + self.true).clamp(min=1))

    def _spans(self, labels: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # For each word (W,): whether a span begins there, the word behind the run that it is in, and its type.
        num_words, outside = len(labels), len(self.types) - 1
        labels = torch.where((labels >= 0) & (labels < outside), labels, outside)
        begins, types = self.begins[labels], self.types[labels]
        continues = torch.zeros_like(begins)
        continues[1:] = ~begins[1:] & (types[1:] >= 0) & (types[1:] == types[:-1]) & (sentence[1:] == sentence[:-1])
        run = (~continues).cumsum(0)  # a run is of one type, and a span if it starts with a B
        ends = torch.bincount(run, minlength=num_words + 1).cumsum(0)[run]
        return begins, ends, types


def _labels(predictions: Tensor, targets: Tensor) -> Tensor:
    return predictions.argmax(-1) if predictions.ndim > targets.ndim else predictions


def _mean_ranks(values: Tensor) -> Tensor:
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()  # rank of the last of each group of equal values
    ranks: Tensor = (last - (counts - 1) / 2)[inverse]
    return ranks
