"""Cosines and angles between layers, compared with a loop over tokens."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from toolkit.statistics.influence import BlockInfluence


def states(layers: int = 4, tokens: int = 300, size: int = 16, step: float = 0.3) -> Tensor:
    """Hidden states that change a little from layer to layer."""
    return torch.randn(layers, tokens, size, generator=torch.Generator().manual_seed(0)).mul(step).cumsum(0) + 0.2


def observed(tokens: Tensor, *sizes: int) -> BlockInfluence:
    metric = BlockInfluence(len(tokens))
    for part in tokens.split(list(sizes) or tokens.shape[1], dim=1):
        metric.update(part)
    return metric


def test_equals_a_loop_over_tokens() -> None:
    tokens = states()
    metric = observed(tokens, 129, 0, 171)  # chunks of one and of 43 tokens
    cosine, angle = np.zeros((4, 4)), np.zeros((4, 4))
    for token in tokens.double().numpy().transpose(1, 0, 2):
        for i in range(4):
            for j in range(4):
                value = float(token[i] @ token[j] / np.sqrt((token[i] @ token[i]) * (token[j] @ token[j])))
                cosine[i, j] += value / 300
                angle[i, j] += math.acos(min(1.0, value)) / math.pi / 300
    np.testing.assert_allclose(metric.compute().numpy(), cosine, atol=1e-12)
    np.testing.assert_allclose(metric.angular().numpy(), angle, atol=1e-8)
    np.testing.assert_allclose(metric.influence().numpy(), 1 - np.diag(cosine, 1), atol=1e-12)


def test_known_angles() -> None:
    degrees = torch.tensor([0.0, 60.0, 90.0, 180.0, 180.0]).deg2rad()
    tokens = torch.stack([degrees.cos(), degrees.sin()], 1)[:, None].double()  # (L, 1, 2)
    metric = observed(tokens)
    torch.testing.assert_close(metric.influence(), torch.tensor([0.5, 1 - math.sqrt(0.75), 1, 0]).double())
    expected = (degrees[:, None] - degrees).abs().double() / math.pi
    torch.testing.assert_close(metric.angular(), expected, atol=1e-7, rtol=0)


def test_small_angles_keep_their_digits() -> None:
    turn = 1e-4
    vector = torch.randn(2, generator=torch.Generator().manual_seed(1)).double()
    turned = torch.stack([vector[0] - turn * vector[1], vector[1] + turn * vector[0]])
    angle = observed(torch.stack([vector, turned, turned])[:, None]).angular()
    assert angle[0, 1].item() == pytest.approx(math.atan(turn) / math.pi, rel=1e-6)
    assert angle[1, 2].item() < 1e-8  # a block that changes nothing
    assert angle.diagonal().max() < 1e-8


def test_does_not_depend_on_the_batches_nor_the_size_of_a_state() -> None:
    tokens = states()
    expected = observed(tokens)
    scaled = tokens * (torch.rand(4, 300, 1, generator=torch.Generator().manual_seed(2)) * 50 + 0.01)
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(3)))[0]
    for metric in (observed(tokens.flip(1), *[7] * 42, 6), observed(scaled), observed(tokens @ rotation)):
        torch.testing.assert_close(metric.compute(), expected.compute(), atol=1e-6, rtol=0)
        torch.testing.assert_close(metric.angular(), expected.angular(), atol=1e-6, rtol=0)


def test_a_state_of_zeros_has_no_direction() -> None:
    tokens = states(layers=3, tokens=1)
    tokens[1] = 0
    metric = observed(tokens)
    cosine = torch.nn.functional.cosine_similarity(tokens[0, 0], tokens[2, 0], dim=0).item()
    assert metric.compute()[0, 2].item() == pytest.approx(cosine, abs=1e-6)
    assert metric.compute()[1].tolist() == [0, 0, 0]
    assert metric.angular()[1].tolist() == [0.5, 0.5, 0.5]


def test_merges_with_another() -> None:
    tokens = states()
    first, second = observed(tokens[:, :100]), observed(tokens[:, 100:])
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), observed(tokens).compute())
    torch.testing.assert_close(first.angular(), observed(tokens).angular())


def test_observes_the_tokens_of_a_batch() -> None:
    metric = BlockInfluence(4)
    metric.observe(SimpleNamespace(tokens=states()))  # type: ignore[arg-type]
    assert torch.equal(metric.compute(), observed(states()).compute())


def test_wrong_use_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 2 of them, not 1"):
        BlockInfluence(1)
    metric = BlockInfluence(3)
    with pytest.raises(ValueError, match=r"shape \(3, N, D\), not \(4, 300, 16\)"):
        metric.update(states())
    with pytest.raises(ValueError, match="no similarity of no tokens"):
        metric.angular()
    metric.set_dtype(torch.float32)
    with pytest.raises(TypeError, match=r"cast to torch\.float32"):
        metric.update(states(layers=3))
