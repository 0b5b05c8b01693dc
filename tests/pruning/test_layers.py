"""Plans of blocks to keep, against exhaustive search and by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.pruning.layers import (
    LayerPlan,
    best_layer,
    select_all,
    select_alternate,
    select_around_run,
    select_bottom,
    select_falling,
    select_highest,
    select_random,
    select_redundant,
    select_symmetric,
    select_top,
    select_triple,
    select_truncated,
    select_window,
)

PROFILE = [9.0, 6.0, 4.0, 2.0, 1.9, 3.0, 5.0]  # Six blocks; the lowest at layer 4, layer 3 within 6 %.


def test_the_papers_triples() -> None:
    assert select_all(6) == select_triple(6, 1, 6, 6)
    assert select_truncated(6, 4).kept == select_truncated(6, 4).trained == (0, 1, 2, 3)
    window = select_window(6, 4, 2)
    assert (window.kept, window.trained, window.head, window.trains_embeddings) == ((0, 1, 2, 3), (2, 3), 4, False)
    on_top = select_window(6, 4, 2, head="top")
    assert (on_top.kept, on_top.trained, on_top.head) == (tuple(range(6)), (2, 3), 6)
    assert select_window(6, 1, 3).trained == (0,)  # Only as many as there are below.


@pytest.mark.parametrize(("bottom", "top", "head"), [(0, 2, 3), (3, 2, 4), (1, 4, 3), (1, 2, 7)])
def test_a_triple_that_is_none_is_refused(bottom: int, top: int, head: int) -> None:
    with pytest.raises(ValueError, match=f"{bottom}, {top}, {head}"):
        select_triple(6, bottom, top, head)


def test_the_best_layer_and_the_first_that_is_nearly_as_good() -> None:
    assert best_layer(PROFILE) == 4
    assert best_layer(PROFILE, tolerance=0.06) == 3
    assert best_layer([0.1, 5.0, 4.0]) == 2, "layer 0 is no choice"
    assert best_layer([1.0, math.nan, math.inf, 3.0]) == 3
    assert best_layer([2.0, 1.0, 1.0]) == 1


@pytest.mark.parametrize("scores", [[1.0], [1.0, math.nan], [1.0, -1.0, 2.0], []])
def test_scores_without_a_best_layer_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="no finite one"):
        best_layer(scores)


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"-0\.1"):
        best_layer(PROFILE, tolerance=-0.1)


def test_falling_scores_truncate_at_the_lowest_layer() -> None:
    assert select_falling(PROFILE, keep=4).kept == select_truncated(6, best_layer(PROFILE)).kept
    assert select_falling(PROFILE, keep=3).kept == (0, 1, 2), "block 3 lowers the score least"
    assert select_falling([math.inf, 5.0, math.inf, math.inf, 2.0], keep=2).kept == (0, 3)


@given(
    st.lists(st.floats(0.01, 100), min_size=2, max_size=9).flatmap(
        lambda scores: st.tuples(st.just(scores), st.integers(1, len(scores) - 1))
    )
)
def test_falling_scores_keep_the_product_of_ratios_smallest(case: tuple[list[float], int]) -> None:
    scores, keep = case
    kept = select_falling(scores, keep).kept
    assert kept[0] == 0, "the bottom block stays"
    ratios = [above / below for below, above in itertools.pairwise(scores)]
    chosen = math.prod(ratios[block] for block in kept[1:])
    best = min(math.prod(part) for part in itertools.combinations(ratios[1:], keep - 1))
    assert chosen == pytest.approx(best, rel=1e-9)


def test_the_run_that_changes_least_is_dropped() -> None:
    random = np.random.default_rng(0)
    points = random.normal(size=(8, 3)).cumsum(0)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for keep in range(1, 8):
        run = 7 - keep
        best = min(distances[start, start + run] for start in range(keep + 1))
        kept = select_around_run(distances.tolist(), keep).kept
        dropped = sorted(set(range(7)) - set(kept))
        assert dropped == list(range(dropped[0], dropped[0] + run)) if run else not dropped
        assert run == 0 or distances[dropped[0], dropped[-1] + 1] == best


def test_redundant_blocks_go_one_after_the_other() -> None:
    # Layers 1 and 2 repeat layer 0, layers 4 and 5 repeat layer 3: a block of each group is enough.
    groups = [0, 0, 0, 1, 1, 1]
    similarity = [[1.0 if a == b else 0.2 for b in groups] for a in groups]
    assert select_redundant(similarity, keep=1).kept == (2,)
    # Unlike adjacent similarity alone, the order of removal looks back at what is still there.
    drift = [[1 - 0.1 * abs(a - b) for b in range(6)] for a in range(6)]
    assert select_redundant(drift, keep=2).kept == (1, 3)


def test_baselines() -> None:
    assert select_top(6, 2).kept == (4, 5)
    assert select_bottom(6, 2).kept == (0, 1)
    assert select_alternate(6, 2).kept == (0, 5)
    assert select_symmetric(6, 4).kept == (0, 1, 4, 5)
    assert select_random(6, 3, seed=1) == select_random(6, 3, seed=1)
    drawn = {select_random(6, 3, seed=seed).kept for seed in range(200)}
    assert len(drawn) == math.comb(6, 3), "every set can be drawn"


@pytest.mark.parametrize(
    "select", [select_top, select_bottom, select_random, select_alternate, select_symmetric], ids=lambda f: f.__name__
)
def test_every_number_of_blocks_can_be_kept_and_no_other(select: object) -> None:
    assert callable(select)
    for keep in range(1, 13):
        plan = select(12, keep)
        assert len(plan.kept) == keep
        assert plan.trained == plan.kept
    for keep in (0, 13):
        with pytest.raises(ValueError, match=f"keep is {keep}"):
            select(12, keep)


def test_tables_and_scores_with_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        select_highest([0.1, math.nan], 1)
    with pytest.raises(ValueError, match="square"):
        select_redundant([[1.0, math.nan], [math.nan, 1.0]], 1)
    with pytest.raises(ValueError, match="square"):
        select_around_run([[1.0, 0.5]], 1)
    with pytest.raises(ValueError, match="positive"):
        select_falling([1.0, 0.0], 1)


@pytest.mark.parametrize(
    ("kept", "trained", "message"),
    [
        ((), (0,), "kept"),
        ((0, 6), (0,), "kept"),
        ((1, 0), (0,), "kept"),
        ((0,), (), "trained"),
        ((0,), (1,), "Block 1"),
    ],
)
def test_plans_that_contradict_themselves_are_refused(
    kept: tuple[int, ...], trained: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LayerPlan(num_blocks=6, kept=kept, trained=trained)
