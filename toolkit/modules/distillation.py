"""Knowledge distillation: a student learns from a teacher's logits and hidden states."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """What a student learns from a teacher beside the labels.

    Args:
        teacher: A network that was fine-tuned on the same task: a folder, a name, or ``reference`` for the uncompressed
            network of the run itself. null: no distillation.
        temperature: Divides the logits of both before their distributions are compared.
        weight: Share of the logits' loss in the sum; the labels have the rest.
        hidden_weight: Factor of the hidden states' loss; needs a teacher of equal width.
    """

    teacher: str | None = None
    temperature: float = 2.0
    weight: float = 0.5
    hidden_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"model.distillation.temperature must be positive, but got {self.temperature}.")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"model.distillation.weight must lie in [0, 1], but got {self.weight}.")
        if self.hidden_weight < 0:
            raise ValueError(f"model.distillation.hidden_weight must not be negative, but got {self.hidden_weight}.")


def logits_loss(
    student: Tensor, teacher: Tensor, temperature: float, kind: Literal["classes", "values"] = "classes"
) -> Tensor:
    r"""Loss of the student's logits (Hinton et al. 2015, https://arxiv.org/abs/1503.02531, section 2).

    .. math:: T^2 \, \mathrm{KL}\big(\operatorname{softmax}(z^t / T) \,\|\, \operatorname{softmax}(z^s / T)\big)

    averaged over rows; for values of a regression the mean squared difference.

    Args:
        student: ``(N, C)``, or ``(N,)`` values.
        teacher: Of the same shape.
        temperature: :math:`T`.
        kind: Whether the rows are logits of classes or values.

    Returns:
        A scalar; zero where both agree.
    """
    if kind == "values":
        return F.mse_loss(student, teacher)
    divergence = F.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher / temperature).log_softmax(-1),
        log_target=True,
        reduction="batchmean",
    )
    return divergence * temperature**2


def matching_layers(student: int, teacher: int) -> list[int]:
    """Teacher's layer that each of the student's layers learns from, evenly spaced, last with last.

    Args:
        student: Number of the student's hidden states, the embeddings' output included.
        teacher: Number of the teacher's.

    Returns:
        One index into the teacher's hidden states for each of the student's.

    Example:
        >>> matching_layers(4, 7)
        [0, 2, 4, 6]
    """
    if student == 1:
        return [teacher - 1]
    return [round(layer * (teacher - 1) / (student - 1)) for layer in range(student)]


def hidden_states_loss(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], mask: Tensor) -> Tensor:
    """Mean squared difference of hidden states over valid tokens and layers.

    Args:
        student: Hidden states of all layers, each ``(B, T, D)``.
        teacher: Those that they learn from, as many.
        mask: ``(B, T)``, 1 for a valid token.

    Returns:
        A scalar.

    Raises:
        ValueError: If the widths differ.
    """
    if student[0].shape[-1] != teacher[0].shape[-1]:
        raise ValueError(
            f"Hidden states of the student ({student[0].shape[-1]} wide) and of the teacher ({teacher[0].shape[-1]}) "
            "can't be compared; set model.distillation.hidden_weight=0 to learn from the logits alone."
        )
    places = mask.flatten().nonzero()[:, 0]  # Once: each search for them makes a GPU wait.

    def valid(states: Tensor) -> Tensor:
        return states.flatten(0, 1).index_select(0, places).float()

    losses = [F.mse_loss(valid(mine), valid(other)) for mine, other in zip(student, teacher, strict=True)]
    return torch.stack(losses).mean()
