"""Patterns against plain loops over rows, groups and blocks."""

from typing import Any

import numpy as np
import pytest
import torch

from toolkit.pruning import masks
from toolkit.pruning.patterns import (
    Blocks,
    Grouped,
    block_scores,
    check_pattern,
    in_blocks,
    parse_pattern,
    pattern_text,
    prune_pattern,
    share_beside_pattern,
    spread_blocks,
)


def random_scores(*shapes: tuple[int, int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"w{number}": torch.rand(shape, generator=generator) for number, shape in enumerate(shapes)}


@pytest.mark.parametrize("text", ["unstructured", "2:4", "1:16", "8x16", "1x1"])
def test_a_pattern_is_written_as_it_was_read(text: str) -> None:
    assert pattern_text(parse_pattern(text)) == text


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("text", ["2:4", "1:2", "4:8", "1:4", "3:4", "8:16"])
def test_groups_against_a_loop(text: str, ties: bool) -> None:
    kept, size = map(int, text.split(":"))
    scores = random_scores((6, 16), (4, 48))
    if ties:
        scores = {name: score.round(decimals=1).masked_fill(score < 0.3, -torch.inf) for name, score in scores.items()}
    pruned = prune_pattern(scores, 1 - kept / size, parse_pattern(text))
    for name, score in scores.items():
        for row, dead in zip(score.tolist(), pruned[name].tolist(), strict=True):
            for start in range(0, len(row), size):
                order = np.argsort(row[start : start + size], kind="stable")
                expected = [place in order[: size - kept] for place in range(size)]
                assert dead[start : start + size] == expected


def test_share_below_a_groups_own_is_exact_and_grows_into_it() -> None:
    scores = random_scores((8, 16), (16, 8))
    pattern = Grouped(2, 4)
    held: dict[str, torch.Tensor] = {}
    for share in (0.1, 0.3, 0.45, 0.5):
        shown = {name: score.masked_fill(held[name], -torch.inf) if held else score for name, score in scores.items()}
        pruned = prune_pattern(shown, share, pattern)
        assert sum(int(mask.sum()) for mask in pruned.values()) == round(share * 256)
        for name, mask in pruned.items():
            assert mask.view(-1, 4).sum(1).max() <= 2
            assert not held or (mask | ~held[name]).all()
        held = pruned
    final = prune_pattern(scores, 0.5, pattern)
    assert all(torch.equal(held[name], final[name]) for name in scores)


def test_blocks_against_a_loop() -> None:
    blocks = Blocks(2, 4)
    scores = random_scores((6, 8), (4, 16))
    sums = sorted(
        (sum(float(score[i + a, j + b]) for a in range(2) for b in range(4)), name, i, j)
        for name, score in scores.items()
        for i in range(0, score.shape[0], 2)
        for j in range(0, score.shape[1], 4)
    )
    pruned = prune_pattern(scores, 0.6, blocks)
    chosen = {(name, i, j) for _, name, i, j in sums[: round(0.6 * len(sums))]}
    for _, name, i, j in sums:
        assert bool(pruned[name][i : i + 2, j : j + 4].all()) == ((name, i, j) in chosen)
        assert bool(pruned[name][i : i + 2, j : j + 4].any()) == ((name, i, j) in chosen)


@pytest.mark.parametrize("wanted", [0.3, 0.71, 0.9])
def test_sparsity_of_blocks_is_exact_to_one_block(wanted: float) -> None:
    scores = random_scores((32, 64), (64, 32))
    pruned = prune_pattern(scores, wanted, Blocks(8, 8))
    assert abs(sum(int(mask.sum()) for mask in pruned.values()) - wanted * 4096) <= 64


def test_blocks_of_one_weight_are_no_pattern() -> None:
    scores = random_scores((5, 7), (3, 4))
    for scope in ("global", "layer", "row"):
        plain, ones = (prune_pattern(scores, 0.55, pattern, scope) for pattern in (None, Blocks(1, 1)))  # type: ignore[arg-type]
        assert all(torch.equal(plain[name], ones[name]) for name in scores)


def test_dead_weights_add_nothing_to_a_block_and_dead_blocks_go_first() -> None:
    scores = torch.tensor([[-torch.inf, 2.0, 3.0, 4.0], [1.0, 1.0, -torch.inf, 5.0], [-torch.inf] * 4, [0.0] * 4])
    assert block_scores(scores, Blocks(2, 2)).tolist() == [[4.0, 12.0], [0.0, 0.0]]
    assert block_scores(scores, Blocks(1, 4)).flatten().tolist() == [9.0, 7.0, -np.inf, 0.0]


@pytest.mark.parametrize(
    ("pattern", "scope", "off"),
    [(Blocks(8, 8), "global", 128), (Blocks(8, 8), "layer", 128), (None, "row", 10), (None, "layer", 10)],
)
def test_zeros_that_were_there_count_wherever_they_lie(pattern: Blocks | None, scope: Any, off: int) -> None:
    """They lie in no blocks, and not evenly; beside them so much is pruned that all together make the share."""
    scores = random_scores((64, 64), (64, 128))
    random = torch.Generator().manual_seed(1)
    for score in scores.values():
        uneven = torch.rand(score.shape, generator=random) < torch.linspace(0.3, 0.8, len(score))[:, None]
        score[uneven] = -torch.inf
    total = sum(score.numel() for score in scores.values())
    brought = sum(int(score.isneginf().sum()) for score in scores.values())
    for wanted in (0.6, 0.7, 0.9):
        pruned = prune_pattern(scores, wanted, pattern, scope)
        together = sum(int((mask | scores[name].isneginf()).sum()) for name, mask in pruned.items())
        assert together == pytest.approx(max(wanted * total, brought), abs=off)
    before = prune_pattern(scores, 0.6, pattern, scope)
    for name, mask in before.items():  # A schedule goes on from what it has pruned.
        scores[name][mask] = -torch.inf
    after = prune_pattern(scores, 0.7, pattern, scope)
    together = sum(int((mask | scores[name].isneginf()).sum()) for name, mask in after.items())
    assert together == pytest.approx(0.7 * total, abs=off)


def test_views_and_spreading_are_inverse() -> None:
    values = torch.arange(6.0).view(2, 3)
    matrix = spread_blocks(values, Blocks(2, 4))
    assert matrix.shape == (4, 12)
    assert torch.equal(matrix, torch.kron(values, torch.ones(2, 4)))
    assert torch.equal(in_blocks(matrix, Blocks(2, 4)).mean((1, 3)), values)


def test_row_scope_prunes_every_row_alike() -> None:
    scores = random_scores((6, 10))
    pruned = masks.prune_smallest(scores, 0.3, "row")["w0"]
    expected = np.zeros((6, 10), dtype=bool)
    np.put_along_axis(expected, np.argsort(scores["w0"].numpy(), axis=1)[:, :3], True, axis=1)
    assert pruned.tolist() == expected.tolist()


@pytest.mark.parametrize("wanted", [0.0, 0.25, 0.8, 0.83, 1.0])
def test_rows_lose_as_many_up_to_one_and_the_sum_is_exact(wanted: float) -> None:
    pruned = masks.prune_smallest(random_scores((7, 11)), wanted, "row")["w0"]
    counts = pruned.sum(1)
    assert counts.sum() == round(wanted * 77)
    assert counts.max() - counts.min() <= 1


def test_what_a_row_has_lost_stays_lost_when_more_is_pruned() -> None:
    scores = random_scores((5, 9))["w0"]
    before = torch.zeros(5, 9, dtype=torch.bool)
    for count in range(46):
        mask = masks.mask_smallest_per_row(scores, count)
        assert (mask | ~before).all()
        before = mask


@pytest.mark.parametrize("text", ["4:2", "2:2", "0:4", "8by8", "0x8", "8x", "", "124", "blocks"])
def test_text_that_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"give unstructured, N:M .* or blocks"):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("pattern", "shape", "message"),
    [
        (Grouped(2, 4), (8, 6), r"rows of layer.q, shaped \(8, 6\), cannot be cut into groups of 4"),
        (Blocks(8, 8), (8, 12), r"layer.q, shaped \(8, 12\), cannot be cut into blocks of 8x8"),
        (Blocks(8, 4), (12, 8), r"layer.q, shaped \(12, 8\)"),
        (Blocks(2, 2), (4, 4, 4), r"layer.q, shaped \(4, 4, 4\)"),
    ],
)
def test_matrices_that_are_not_divided_are_named(pattern: Any, shape: tuple[int, ...], message: str) -> None:
    check_pattern(pattern, {"fine": torch.zeros(8, 8)})
    with pytest.raises(ValueError, match=message):
        check_pattern(pattern, {"fine": torch.zeros(8, 8), "layer.q": torch.zeros(shape)})


@pytest.mark.parametrize("text", ["2:4", "1:4", "4:8", "4x4", "2x8", "unstructured"])
def test_share_beside_a_pattern_against_a_loop(text: str) -> None:
    pattern = parse_pattern(text)
    weights = {name: score.masked_fill(score < 0.5, 0) for name, score in random_scores((8, 16), (4, 48)).items()}
    weights["w0"][:4, :8] = 0
    beside = 0
    for weight in weights.values():
        rows, columns = weight.shape
        for row in range(0, rows, pattern.rows if isinstance(pattern, Blocks) else 1):
            step = {Blocks: "columns", Grouped: "size"}.get(type(pattern))
            for column in range(0, columns, getattr(pattern, step) if step else columns):
                match pattern:
                    case Grouped(kept=kept, size=size):
                        living = sum(value != 0 for value in weight[row, column : column + size].tolist())
                        beside += max(0, living - kept)
                    case Blocks(rows=height, columns=width):
                        dead = (weight[row : row + height, column : column + width] == 0).flatten().tolist()
                        beside += 0 if all(dead) else sum(dead)
    assert share_beside_pattern(weights, pattern) == pytest.approx(beside / (8 * 16 + 4 * 48))
    assert (beside > 0) is (pattern is not None)


@pytest.mark.parametrize("text", ["2:4", "8:16", "4x4", "unstructured"])
def test_what_a_pattern_prunes_is_not_beside_it(text: str) -> None:
    pattern = parse_pattern(text)
    scores = {name: score + 0.1 for name, score in random_scores((8, 16), (4, 48)).items()}
    pruned = prune_pattern(scores, 0.5, pattern)
    weights = {name: score.masked_fill(pruned[name], 0) for name, score in scores.items()}
    assert share_beside_pattern(weights, pattern) == 0
