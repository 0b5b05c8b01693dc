"""Modes of submodules survive an evaluation, and an error in it."""

import pytest
from torch import nn

from toolkit.evaluation.mode import evaluation_mode


def test_mixed_modes_are_restored() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)))
    network[1].eval()
    before = [module.training for module in network.modules()]
    with pytest.raises(KeyError), evaluation_mode(network):
        assert not any(module.training for module in network.modules())
        raise KeyError
    assert [module.training for module in network.modules()] == before
    assert before == [True, True, False, False, False]
