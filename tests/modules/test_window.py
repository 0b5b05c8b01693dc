"""The window of steps in which a run prunes, against a plain loop."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from toolkit.modules.window import check_window, rates_left, window_steps


@pytest.mark.parametrize(("start", "fraction"), [(-0.1, 0.5), (0.5, 0.5), (0.6, 0.5), (0.1, 1.1), (float("nan"), 0.5)])
def test_impossible_shares(start: float, fraction: float) -> None:
    with pytest.raises(ValueError, match=f"the first below the second, but got {start} and {fraction}"):
        check_window(start, fraction)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 10_000))
def test_every_run_has_a_window(first: float, second: float, num_steps: int) -> None:
    if first == second:
        return
    shares = sorted((first, second))
    check_window(*shares)
    start, end = window_steps(*shares, num_steps)
    assert 0 <= start < end <= num_steps
    assert end == 1 or abs(end - shares[1] * num_steps) <= 0.5
    assert start == end - 1 or abs(start - shares[0] * num_steps) <= 0.5


def test_rates_left_are_what_the_optimizer_still_gets() -> None:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = SGD([{"params": [weight], "lr": 0.3}])
    scheduler = LambdaLR(optimizer, lambda step: min(step / 3, (12 - step) / 9))
    left = rates_left(scheduler, 7)
    used = []
    for _ in range(7):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert left == pytest.approx([sum(used[step:]) for step in range(7)])
