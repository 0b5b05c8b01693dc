"""Masks prune exactly the wanted number of weights, in the right order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.pruning import masks
from toolkit.pruning.masks import mask_smallest, prune_smallest, sparsity, zeros


@settings(max_examples=100)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_mask_equals_a_stable_sort(scores: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(scores)))
    expected = np.zeros(len(scores), dtype=bool)
    expected[np.argsort(np.array(scores), kind="stable")[:count]] = True
    assert mask_smallest(torch.tensor(scores, dtype=torch.float32), count).tolist() == expected.tolist()


def many_scores(kind: str) -> torch.Tensor:
    """More than are ordered at once, so that the boundary is looked for in a sample first."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3 * masks.FEW, generator=generator)
    match kind:
        case "half are -inf":
            scores[torch.randperm(len(scores), generator=generator)[: len(scores) // 2]] = -torch.inf
        case "few values":
            scores = (4 * scores).round()
        case "equal":
            scores = torch.ones_like(scores)
        case "ordered":
            scores = scores.sort().values
        case "sample misleads":
            scores[:: masks.STRIDE] += 100
    return scores


@pytest.mark.parametrize(
    "kind", ["normal", "half are -inf", "few values", "equal", "ordered", "sample misleads"],
)  # fmt: skip
def test_mask_of_many_scores_equals_a_stable_sort(kind: str) -> None:
    scores = many_scores(kind)
    order = np.argsort(scores.numpy(), kind="stable")
    for count in (0, 1, 5, len(scores) // 3, len(scores) // 2, len(scores) // 2 + 7, len(scores) - 1, len(scores)):
        expected = np.zeros(len(scores), dtype=bool)
        expected[order[:count]] = True
        assert np.array_equal(mask_smallest(scores, count).numpy(), expected), count


def test_weights_of_several_shapes_and_types_are_compared_as_one_list_would_be() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = {
        "a": torch.randn(300, 400, generator=generator).abs(),
        "transposed": torch.randn(400, 200, generator=generator).abs().T,
        "half": torch.randn(7, generator=generator).abs().bfloat16(),
    }
    joined = np.concatenate([score.float().numpy().ravel() for score in scores.values()])
    for wanted in (0.1, 0.75):
        pruned = prune_smallest(scores, wanted)
        assert {name: mask.shape for name, mask in pruned.items()} == {name: s.shape for name, s in scores.items()}
        expected = np.zeros(len(joined), dtype=bool)
        expected[np.argsort(joined, kind="stable")[: round(wanted * len(joined))]] = True
        assert np.array_equal(np.concatenate([mask.numpy().ravel() for mask in pruned.values()]), expected)


def test_few_of_many_scores_are_ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, ordered = many_scores("normal"), []
    order = masks._order
    monkeypatch.setattr(masks, "_order", lambda part, count: ordered.append(len(part)) or order(part, count))
    assert mask_smallest(scores, len(scores) // 2).sum() == len(scores) // 2
    assert sum(ordered) < 0.3 * len(scores)


def test_count_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 3 weights, but got 4"):
        mask_smallest(torch.ones(3), 4)
    with pytest.raises(ValueError, match="from 0 to 3 weights, but got 6"):
        prune_smallest({"w": torch.ones(3)}, 2.0)


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


@pytest.mark.parametrize("count", [1, 7, 50])
def test_boundary_is_that_of_a_sort(count: int) -> None:
    values = torch.randint(0, 20, (50,), generator=torch.Generator().manual_seed(0)).float()
    assert masks.smallest(values, count) == values.sort().values[count - 1]
