"""Schedules begin at none, end at the wanted sparsity and never go back."""

import pytest

from toolkit.pruning.schedules import cubic_sparsity, iterative_sparsity, scheduled_sparsity


@pytest.mark.parametrize("schedule", ["one_shot", "iterative", "gradual"])
def test_schedules_are_monotone_between_their_ends(schedule: str) -> None:
    values = [scheduled_sparsity(schedule, step / 50, 0.8) for step in range(-5, 61)]  # type: ignore[arg-type]
    assert values == sorted(values)
    assert values[:6] == [0.0] * 6
    assert values[55:] == [pytest.approx(0.8)] * 11


def test_cubic_is_zhu_and_guptas_equation() -> None:
    steps, first, last = 10, 0.1, 0.9
    for step in range(steps + 1):
        expected = last + (first - last) * (1 - step / steps) ** 3
        assert cubic_sparsity(step / steps, last, first) == pytest.approx(expected)


def test_iterative_prunes_in_equal_rounds() -> None:
    values = {round(iterative_sparsity(step / 1000, 0.8, 4), 6) for step in range(1001)}
    assert values == {0.0, 0.2, 0.4, 0.6, 0.8}
