"""LayerNorm over some channels: masked and sliced ones against NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from toolkit.models.masked_norm import MaskedLayerNorm, mask_norms, slice_norm

KEPT = (1, 2, 5, 7, 90, 96, 99)  # a set of these is not in ascending order


def trained_norm(size: int = 100, *, bias: bool = True) -> nn.LayerNorm:
    norm = nn.LayerNorm(size, eps=1e-3, bias=bias)
    generator = torch.Generator().manual_seed(0)
    for weight in norm.parameters():
        weight.data = torch.randn(size, generator=generator)
    return norm


def reference(norm: nn.LayerNorm, states: torch.Tensor) -> np.ndarray:
    """The kept channels, as a norm over them alone gives them."""
    narrow = states.detach().numpy()[..., KEPT].astype(np.float64)
    scaled = (narrow - narrow.mean(-1, keepdims=True)) / np.sqrt(narrow.var(-1, keepdims=True) + norm.eps)
    bias = 0 if norm.bias is None else norm.bias.detach().numpy()[list(KEPT)]
    return np.asarray(scaled * norm.weight.detach().numpy()[list(KEPT)] + bias)


@pytest.mark.parametrize("bias", [True, False])
def test_both_forms_normalise_over_the_kept_channels(bias: bool) -> None:
    norm = trained_norm(bias=bias)
    states = torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(1))
    expected = reference(norm, states)
    masked = MaskedLayerNorm(norm, KEPT)(states)
    np.testing.assert_allclose(masked[..., KEPT].detach(), expected, atol=1e-5)
    gone = sorted({*range(100)} - {*KEPT})
    assert not masked[..., gone].any()
    for whole in (norm, MaskedLayerNorm(norm, KEPT)):
        narrow = slice_norm(whole, KEPT)
        assert type(narrow) is nn.LayerNorm
        np.testing.assert_allclose(narrow(states[..., KEPT]).detach(), expected, atol=1e-5)
        assert narrow.normalized_shape == (len(KEPT),)


def test_zeros_do_not_remove_a_channel() -> None:
    """Why there is a norm of its own for masked networks."""
    norm, states = trained_norm(), torch.randn(4, 100, generator=torch.Generator().manual_seed(1))
    zeroed = torch.zeros_like(states)
    zeroed[:, KEPT] = states[:, KEPT]
    assert np.abs(norm(zeroed)[:, KEPT].detach().numpy() - reference(norm, states)).max() > 0.1


def test_weights_are_the_same_objects_and_removed_ones_get_no_gradient() -> None:
    network = nn.Sequential(nn.Linear(4, 100), trained_norm())
    network.train(False)
    names, weight = list(network.state_dict()), network[1].weight
    for _ in range(2):  # What is masked may be masked again.
        mask_norms(network, ["1"], KEPT)
    masked = network[1]
    assert isinstance(masked, MaskedLayerNorm)
    assert masked.weight is weight
    assert not masked.training
    assert list(network.state_dict()) == names
    network(torch.randn(3, 4)).square().sum().backward()
    for own in (masked.weight.grad, network[0].weight.grad):
        assert isinstance(own, torch.Tensor)
        assert sorted(own.view(100, -1).any(1).nonzero().flatten().tolist()) == list(KEPT)


def test_frozen_norms_stay_frozen() -> None:
    norm = trained_norm().requires_grad_(False)
    norm.train(False)
    narrow = slice_norm(norm, KEPT)
    assert not any(weight.requires_grad for weight in narrow.parameters())
    assert not narrow.training
