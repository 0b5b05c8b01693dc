"""Standardised rows against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toolkit.probing.rows import check_rows, standardized


def test_standardized_equals_numpy() -> None:
    features = 3 + 5 * torch.randn(300, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    array = features.numpy()
    inputs, mean, scale = standardized(features)
    np.testing.assert_allclose(inputs.numpy(), (array - array.mean(0)) / array.std(0), atol=1e-12)
    np.testing.assert_allclose(mean.numpy(), array.mean(0), atol=1e-12)
    np.testing.assert_allclose(scale.numpy(), array.std(0), atol=1e-12)
    centred, _, scale = standardized(features, rescale=False)
    np.testing.assert_allclose(centred.numpy(), array - array.mean(0), atol=1e-12)
    assert scale.tolist() == [1] * 12
    assert standardized(features, centre=False, rescale=False)[0] is features


@pytest.mark.parametrize("constant", [0.1, 1e6, 0.0])
def test_constant_features_are_zero_and_not_rounding_error(constant: float) -> None:
    features = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    features[:, 1] = constant
    inputs, _, scale = standardized(features)
    assert inputs[:, 1].abs().sum() == 0
    assert scale[1] == 1


def test_half_precision_is_computed_in_float32() -> None:
    features = 100 + torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)).half()
    inputs, mean, _ = standardized(features)
    assert inputs.dtype == mean.dtype == torch.float32
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(3))


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_one_value_that_is_no_number_is_found(dtype: torch.dtype, broken: float) -> None:
    whole = torch.randn(60, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    targets = torch.zeros(30, dtype=torch.long)
    for features in (whole[:30], whole[::2, 1::3], whole.T.contiguous().T[:30]):
        check_rows(features, targets, 2)
        for row, column in ((0, 0), (14, 6), (29, features.shape[1] - 1)):
            spoilt = features.clone(memory_format=torch.preserve_format)
            spoilt[row, column] = broken
            with pytest.raises(ValueError, match="NaN or infinity"):
                check_rows(spoilt, targets, 2)
    check_rows(torch.ones(30, 3, dtype=torch.long), targets, 2)


def test_negative_class_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="from -100 to 0"):
        check_rows(torch.zeros(2, 1), torch.tensor([0, -100]), 2)
    check_rows(torch.zeros(2, 1), torch.tensor([0.5, -100]), None)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_value_to_predict_that_is_no_number_is_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="1 of 2 targets are NaN or infinite"):
        check_rows(torch.zeros(2, 1), torch.tensor([0.5, broken]), None)
