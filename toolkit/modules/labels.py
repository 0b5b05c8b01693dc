"""Which outputs of a network have labels, and the loss of these."""

import torch.nn.functional as F
from torch import Tensor

from toolkit.tasks import IGNORED, Task


def rows_with_labels(logits: Tensor, labels: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """One row for each thing that is predicted.

    Args:
        logits: ``(B, C)``, or ``(B, T, C)`` for tagging, or ``(B, 1)`` for regression; ``(N, C)`` for tagging, where
            only the labelled tokens were computed.
        labels: ``(B,)``, or ``(B, T)`` for tagging with -100 where there is no label.
        task: Tells which.

    Returns:
        Logits ``(N, C)`` (values ``(N,)`` for regression) in float32, and labels ``(N,)``.
    """
    if task.kind == "regression":
        return logits.float().squeeze(-1), labels
    if task.kind == "tagging":
        labelled = labels != IGNORED
        return (logits if logits.ndim == 2 else logits[labelled]).float(), labels[labelled]
    return logits.float(), labels


def label_loss(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Cross-entropy of labels, or mean squared error of values, averaged over rows.

    Args:
        logits: ``(N, C)``, or values ``(N,)`` for regression.
        labels: ``(N,)``.
        task: Tells which.
    """
    return F.mse_loss(logits, labels.float()) if task.kind == "regression" else F.cross_entropy(logits, labels)
