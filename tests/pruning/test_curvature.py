"""Adam's metric and the saliency, against numpy."""

import numpy as np
import pytest
import torch

from toolkit.pruning.curvature import adam_metric, saliency, typical_gradient


def test_metric_against_numpy() -> None:
    moment = np.random.default_rng(0).gamma(1.0, 1e-8, size=(5, 7))
    typical = typical_gradient(torch.from_numpy(moment.ravel()))
    assert typical == pytest.approx(np.sqrt(np.median(moment)))
    metric = adam_metric(torch.from_numpy(moment), typical, floor=0.05).numpy()
    np.testing.assert_allclose(metric, np.sqrt(moment) / np.sqrt(np.median(moment)) + 0.05)
    assert np.median(metric) == pytest.approx(1.05)


def test_metric_does_not_change_with_the_scale_of_the_loss() -> None:
    moment = torch.rand(101)
    for scale in (1e-6, 1e6):
        scaled = adam_metric(moment * scale, typical_gradient(moment * scale))
        torch.testing.assert_close(scaled, adam_metric(moment, typical_gradient(moment)))


def test_metric_without_any_gradient_is_the_floor() -> None:
    moment = torch.zeros(4)
    assert adam_metric(moment, typical_gradient(moment), floor=0.05).tolist() == pytest.approx([0.05] * 4)


def test_metric_into_given_memory() -> None:
    out = torch.empty(3)
    assert adam_metric(torch.ones(3), 2.0, out=out) is out
    assert out.tolist() == pytest.approx([0.55] * 3)


def test_saliency_prunes_the_weight_that_costs_least() -> None:
    weight, metric = torch.tensor([0.1, 0.2]), torch.tensor([10.0, 1.0])
    assert saliency(weight, metric).argmin() == 1  # The larger weight, but the flatter direction.
