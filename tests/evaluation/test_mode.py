"""Modes of submodules survive an evaluation, and an error in it."""

import pytest
from torch import nn

from toolkit.evaluation.mode import evaluation_mode


def fail_in_evaluation_mode(network: nn.Module) -> None:
    with evaluation_mode(network):
        assert not any(module.training for module in network.modules())
        raise KeyError


def test_mixed_modes_are_restored() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)))
    network[1].eval()
    with pytest.raises(KeyError):
        fail_in_evaluation_mode(network)
    assert [module.training for module in network.modules()] == [True, True, False, False, False]
