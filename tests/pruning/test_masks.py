"""Masks prune exactly the wanted number of weights, in the right order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.pruning.masks import mask_smallest, prune_smallest, sparsity, zeros


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_mask_equals_a_stable_sort(scores: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(scores)))
    expected = np.zeros(len(scores), dtype=bool)
    expected[np.argsort(np.array(scores), kind="stable")[:count]] = True
    assert mask_smallest(torch.tensor(scores, dtype=torch.float32), count).tolist() == expected.tolist()


def test_count_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 3 weights, but got 4"):
        mask_smallest(torch.ones(3), 4)


def test_global_scope_compares_all_and_layer_scope_each() -> None:
    scores = {"small": torch.tensor([[0.1, 0.2]]), "large": torch.tensor([[1.0], [2.0]])}
    everywhere = prune_smallest(scores, 0.5)
    assert everywhere["small"].all()
    assert not everywhere["large"].any()
    each = prune_smallest(scores, 0.5, "layer")
    assert each["small"].tolist() == [[True, False]]
    assert each["large"].tolist() == [[True], [False]]


@pytest.mark.parametrize("wanted", [0.0, 0.333, 0.8, 0.9])
def test_sparsity_is_exact(wanted: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(30, 40, generator=generator) for name in "ab"}
    for name, pruned in prune_smallest({name: weight.abs() for name, weight in weights.items()}, wanted).items():
        weights[name][pruned] = 0
    assert sparsity(weights) == round(wanted * 2400) / 2400
    assert {name: mask.sum().item() for name, mask in zeros(weights).items()} == {
        name: (weight == 0).sum().item() for name, weight in weights.items()
    }


def test_scores_of_minus_infinity_go_first() -> None:
    scores = torch.tensor([0.0, -torch.inf, 0.0, 1.0])
    assert mask_smallest(scores, 2).tolist() == [True, True, False, False]
