"""Distillation's losses against their definitions."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from toolkit.modules.distillation import Distillation, hidden_states_loss, logits_loss, matching_layers


def test_logits_loss_against_scipy() -> None:
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(2, 6, 3))
    expected = 4 * entropy(softmax(teacher / 2, axis=1), softmax(student / 2, axis=1), axis=1).mean()
    ours = logits_loss(torch.from_numpy(student), torch.from_numpy(teacher), 2.0)
    assert ours.item() == pytest.approx(expected)
    assert logits_loss(torch.from_numpy(teacher), torch.from_numpy(teacher), 2.0).item() == pytest.approx(0, abs=1e-12)


def test_values_are_compared_by_their_squared_difference() -> None:
    assert logits_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), 3.0, "values").item() == 2


def test_layers_match_at_both_ends() -> None:
    assert matching_layers(7, 7) == list(range(7))
    assert matching_layers(3, 13) == [0, 6, 12]
    assert matching_layers(1, 5) == [4]


def test_hidden_states_of_padding_do_not_count() -> None:
    mask = torch.tensor([[1, 1, 0]])
    student = (torch.zeros(1, 3, 2),) * 2
    teacher = tuple(torch.tensor([[[1.0, 1.0], [1.0, 1.0], [99.0, 99.0]]]) for _ in range(2))
    assert hidden_states_loss(student, teacher, mask).item() == 1
    with pytest.raises(ValueError, match="hidden_weight=0"):
        hidden_states_loss(student, (torch.zeros(1, 3, 5),), mask)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"weight": 1.5}, {"hidden_weight": -1}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"distillation.{next(iter(options))}"):
        Distillation(**options)
