"""The penalty on groups against its closed form, and which hidden channels it lets go."""

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from toolkit.models.structure import along, groups_of, whole_structure
from toolkit.modules.group_importance import GroupImportance
from toolkit.pruning.structured import group_norms

KINDS = ("heads", "neurons", "hidden")


def spread_network(kind: str) -> BertModel:
    """One block whose groups of one kind have norms far apart."""
    sizes = {"hidden_size": 32, "num_attention_heads": 8, "intermediate_size": 32, "vocab_size": 20}
    network = BertModel(BertConfig(num_hidden_layers=1, **sizes))
    (groups,) = groups_of(network, kind)
    for _, weight, dim in groups.parts:
        factors = torch.linspace(0.5, 2, groups.count).repeat_interleave(weight.shape[dim] // groups.count)
        weight.data *= along(factors, weight, dim)
    return network


def norms(network: BertModel, kind: str) -> Tensor:
    (groups,) = groups_of(network, kind)
    return group_norms([(weight.detach(), dim) for _, weight, dim in groups.parts], groups.count)


def importance(network: BertModel, kind: str, exponent: float) -> GroupImportance:
    shares = {other: 0.25 if other == kind else 0.0 for other in KINDS}
    multiples = dict.fromkeys(KINDS, 1)
    return GroupImportance(network, shares, multiples, uniform=True, exponent=exponent, epsilon=1e-12)


@pytest.mark.parametrize("exponent", [1.0, 3.0, 7.0])
@pytest.mark.parametrize("kind", ["heads", "neurons"])
def test_penalty_follows_its_closed_form(kind: str, exponent: float) -> None:
    """Without a gradient r^(p + 1) falls by as much for all groups, until that of the wanted share is zero."""
    network = spread_network(kind)
    before = norms(network, kind)
    penalty = importance(network, kind, exponent)
    for step in range(400):
        penalty.shrink(1.0, 400.0 - step)
    after = norms(network, kind)
    dying = before.numel() // 4
    threshold = before.sort().values[dying - 1 : dying + 1]
    assert int((after == 0).sum()) in (dying - 1, dying)  # the quantile itself may be left for the score
    stay = before > threshold[1]
    for size, left in zip(before[stay], after[stay], strict=True):
        lost = [float((size ** (exponent + 1) - at ** (exponent + 1)) ** (1 / (exponent + 1))) for at in threshold]
        assert min(lost) * 0.97 <= float(left) <= max(lost) * 1.03


def test_a_larger_exponent_shrinks_less_of_what_stays() -> None:
    left = []
    for exponent in (1.0, 8.0):
        network = spread_network("hidden")
        before = norms(network, "hidden")
        penalty = importance(network, "hidden", exponent)
        for step in range(100):
            penalty.shrink(1.0, 100.0 - step)
        left.append((norms(network, "hidden") / before)[16])
    assert left[0] < 0.95 * left[1]


def test_channels_at_zero_are_left_out_unless_too_many_are() -> None:
    network = spread_network("hidden")
    penalty, whole = importance(network, "hidden", 1.0), whole_structure(network)
    assert penalty.living_channels(whole) == whole
    (groups,) = groups_of(network, "hidden")
    for gone, expected in ((3, tuple(range(3, 32))), (8, tuple(range(8, 32))), (9, tuple(range(32)))):
        for _, weight, dim in groups.parts:
            weight.data.narrow(dim, 0, gone).zero_()
        found = penalty.living_channels(whole)
        assert found.hidden == expected
        assert (found.heads, found.neurons) == (whole.heads, whole.neurons)
    assert importance(network, "heads", 1.0).living_channels(whole) == whole


def test_what_the_penalty_alone_drove_to_zero_is_counted() -> None:
    network = spread_network("neurons")
    penalty = importance(network, "neurons", 1.0)
    assert penalty.zeros() == {"neurons": 0.0}
    (groups,) = groups_of(network, "neurons")
    for _, weight, dim in groups.parts:
        weight.data.narrow(dim, 4, 12).zero_()
    assert penalty.zeros() == {"neurons": 12 / 32}
