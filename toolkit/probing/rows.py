"""Rows that probes and rankings take: checked, and standardised."""

from __future__ import annotations

import torch
from torch import Tensor

_PIECE = 1024  # rows whose squares are added in float32


def check_rows(features: Tensor, targets: Tensor, num_classes: int | None) -> None:
    """Refuse rows that no probe can be trained on.

    Args:
        features: (R, F).
        targets: (R,).
        num_classes: C, or None for regression.

    Raises:
        ValueError: If shapes do not fit, targets are no class ids below C or no finite values, or features are not
            finite.
    """
    if features.ndim != 2 or targets.shape != features.shape[:1] or 0 in features.shape:
        raise ValueError(
            f"expected features (R, F) and targets (R,), but got {tuple(features.shape)} and {tuple(targets.shape)}"
        )
    if num_classes is not None:
        if targets.is_floating_point():
            raise ValueError(f"targets are {targets.dtype}, not class ids; give num_classes=None for regression")
        if int(targets.min()) < 0 or int(targets.max()) >= num_classes:
            raise ValueError(
                f"class ids run from {int(targets.min())} to {int(targets.max())}, but there are {num_classes} classes"
            )
    elif not bool(targets.isfinite().all()):
        raise ValueError(
            f"{int((~targets.isfinite()).sum())} of {len(targets)} targets are NaN or infinite; leave such rows out"
        )
    # NaN and infinity reach the extremes; a mask of all values would take ten times as long.
    if features.is_floating_point() and not all(extreme.isfinite() for extreme in features.aminmax()):
        raise ValueError("features hold NaN or infinity; extract them in float32")


def standardized(features: Tensor, *, centre: bool = True, rescale: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Shift features to mean 0 and scale them to variance 1; centred constant ones become exactly zero.

    Args:
        features: (R, F).
        centre: Whether the mean is subtracted.
        rescale: Whether the (uncorrected) standard deviation is divided by.

    Returns:
        The features (R, F) in float32 or float64, their mean (F,), and their scale (F,), 1 for constant ones.
    """
    if not features.is_floating_point() or features.element_size() < 4:
        features = features.float()
    mean, scale = features.new_zeros(features.shape[1]), features.new_ones(features.shape[1])
    if not (centre or rescale):
        return features, mean, scale
    low, high = features.amin(0), features.amax(0)
    average = features.mean(0)
    inputs = features - average
    # In two passes and in pieces that are added in float64: as exact as torch.var_mean, in a tenth of its time.
    squares = sum(torch.linalg.vecdot(rows, rows, dim=0).double() for rows in inputs.split(_PIECE))
    deviation = (squares / len(inputs)).sqrt().to(inputs)
    # A feature whose spread is rounding error would be blown up into noise.
    constant = (low == high) | (deviation <= 4 * torch.finfo(features.dtype).eps * torch.maximum(low.abs(), high.abs()))
    if not centre:
        inputs = features.clone()
    else:
        mean = average
        if bool(constant.any()):
            inputs[:, constant] = 0
    if rescale:
        scale = torch.where(constant, scale, deviation)
        inputs /= scale
    return inputs, mean, scale
