"""The search for the smallest number against its definition, scikit-learn's isotonic regression and closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from toolkit.probing.sizing import leave_out, rising, smallest_enough, standard_error


@pytest.mark.parametrize("seed", range(5))
def test_rising_is_isotonic_regression(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=30).cumsum()
    expected = IsotonicRegression().fit_transform(np.arange(30), values)
    np.testing.assert_allclose(rising(values.tolist()), expected, atol=1e-12)
    assert rising([]) == []


def test_without_single_rows_the_error_of_a_mean_is_the_textbooks() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left_out = leave_out(lambda rows: float(values[rows].mean()), 50, groups=50)
    assert standard_error(left_out) == pytest.approx(float(values.std() / 50**0.5))


def test_blocks_are_consecutive_and_each_is_left_out_once() -> None:
    seen: list[Tensor] = []

    def measure(rows: Tensor) -> float:
        seen.append(rows)
        return 0.0

    leave_out(measure, 23, groups=5)
    missing = [sorted(set(range(23)) - set(rows.tolist())) for rows in seen]
    assert list(itertools.chain(*missing)) == list(range(23))
    assert {len(block) for block in missing} == {4, 5}
    assert len(leave_out(lambda rows: 0.0, 3)) == 3


def test_error_of_rows_that_depend_on_each_other_is_larger_in_blocks() -> None:
    values = torch.randn(40, generator=torch.Generator().manual_seed(0)).repeat_interleave(10)
    by_block, by_row = (
        standard_error(leave_out(lambda rows: float(values[rows].mean()), 400, groups=groups)) for groups in (20, 400)
    )
    assert by_block > 2 * by_row


@pytest.mark.parametrize("crossing", [1, 2, 3, 17, 100, 333, 499, 500])
def test_smallest_number_of_a_rising_curve_is_found_within_two_percent(crossing: int) -> None:
    found, tried = smallest_enough(lambda k: (1.0 if k >= crossing else k / 1000, 0.0), 500, 0.9, 1.0)
    assert crossing <= found <= max(crossing + 1, 1.0205 * crossing)
    assert found in tried
    assert list(tried) == sorted(tried)
    assert len(tried) < 30


def test_bar_must_be_exceeded_by_standard_errors() -> None:
    def measure(number: int) -> tuple[float, float]:
        return number / 100, 0.1

    assert smallest_enough(measure, 100, 0.3, 0.0)[0] == 31
    assert smallest_enough(measure, 100, 0.3, 1.0)[0] == 41
    assert smallest_enough(measure, 100, 0.3, 2.0)[0] == 51


def test_lucky_number_shares_its_luck() -> None:
    scores = {1: 0.1, 2: 0.1, 3: 0.95, 4: 0.5, 6: 0.6, 9: 0.7, 13: 0.92, 19: 0.93, 28: 0.94}

    def measure(number: int) -> tuple[float, float]:
        return scores.get(number, 0.7), 0.0

    found, tried = smallest_enough(measure, 28, 0.9, 0.0)
    assert tried[3] > 0.9
    assert found == 13


def test_the_best_score_takes_the_place_of_the_bar_only_where_none_is_enough() -> None:
    measured = {1: (0.95, 0.05), 2: (0.93, 0.001)}  # Pooled, both are 0.94, which only the second is sure to be enough.
    assert smallest_enough(measured.__getitem__, 2, 0.92, 1.0)[0] == 2


def test_large_errors_do_not_ask_for_more_than_there_is() -> None:
    found, tried = smallest_enough(lambda k: (min(k, 10) / 10, 0.5), 200, 0.97, 1.0)
    assert found == 10
    assert max(tried) == 200  # none was enough: all were tried


def test_a_margin_that_dev_cannot_tell_is_not_asked_for() -> None:
    """A flat curve with a large error: 13 are as good as all, which luck puts a little higher."""
    scores = {1: 0.2, 2: 0.25, 3: 0.27, 4: 0.28, 6: 0.31, 9: 0.315}

    def measure(number: int) -> tuple[float, float]:
        return scores.get(number, 0.33 if number < 200 else 0.34), 0.03

    assert smallest_enough(measure, 200, 0.317, 1.0)[0] == 200
    found, tried = smallest_enough(measure, 200, 0.317, 1.0, whole=0.33)
    assert found in (10, 11, 12, 13)
    assert max(tried) < 30
    # An error that is small enough is asked for as ever.
    assert smallest_enough(lambda k: (k / 100, 0.1), 100, 0.3, 1.0, whole=0.9)[0] == 41
    # More than half of what may be lost: within the error of the whole, but never below the bar.
    assert smallest_enough(lambda k: (k / 100, 0.4), 100, 0.3, 1.0, whole=0.9)[0] == 51
    assert smallest_enough(lambda k: (k / 100, 0.7), 100, 0.3, 1.0, whole=0.9)[0] == 31


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="largest is 0"):
        smallest_enough(lambda k: (1.0, 0.0), 0, 0.5, 1.0)
    with pytest.raises(ValueError, match="caution -1"):
        smallest_enough(lambda k: (1.0, 0.0), 5, 0.5, -1)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="the score of 3 neurons is NaN"):
        smallest_enough(lambda k: (math.nan if k > 2 else 0.1, 0.01), 50, 0.9, 1.0)
