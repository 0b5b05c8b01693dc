"""Blocks and prunable weights of tiny random networks of every supported architecture."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit.models.encoder import prunable_weights, transformer_blocks
from toolkit.models.loading import load_network
from toolkit.tasks import TASKS

Store = Callable[..., Path]
MNLI = TASKS["mnli"]

# The matrices of one block, (rows · columns) each, from the papers: D = 16, FFN 24; Llama: 4 heads, 2 of keys.
_ATTENTION, _FFN = [16 * 16] * 4, [16 * 24] * 2
MATRICES = {
    "deberta-v2": [*_ATTENTION, *_FFN, 16 * 16, 16 * 16],  # position keys and queries
    "gpt2": [16 * 48, 16 * 16, *_FFN],
    "llama": [16 * 16, 16 * 8, 16 * 8, 16 * 16, *_FFN, 16 * 24],
    "modernbert": [16 * 48, 16 * 16, 16 * 48, 24 * 16],  # fused queries, keys, values; gated FFN
    "qwen2": [16 * 16, 16 * 8, 16 * 8, 16 * 16, *_FFN, 16 * 24],
    "xlnet": [*_ATTENTION, *_FFN, 16 * 16],  # relative positions
}


def test_blocks_and_prunable_weights(architecture: str, store: Store) -> None:
    network = load_network(str(store(architecture)), MNLI)
    num_blocks = 1 if architecture == "albert" else 3  # ALBERT shares one block
    assert len(transformer_blocks(network)) == num_blocks
    weights = prunable_weights(network)
    expected = MATRICES.get(architecture, [*_ATTENTION, *_FFN])
    assert sorted(weight.numel() for weight in weights.values()) == sorted(expected * num_blocks)
    parameters = dict(network.named_parameters())
    assert all(weight is parameters[name] for name, weight in weights.items())
    assert not [
        name for name in weights if re.search("norm|bias|embed|pooler|classifier|score|summary", name, re.IGNORECASE)
    ]


def test_targets_choose_by_name(store: Store) -> None:
    network = load_network(str(store("bert")), MNLI)
    names = list(prunable_weights(network))
    chosen = prunable_weights(network, r"layer\.[02]\..*attention")
    assert list(chosen) == [name for name in names if "attention" in name and ".1." not in name]
    assert len(chosen) == 8


def test_targets_that_match_nothing(store: Store) -> None:
    network = load_network(str(store("bert")), MNLI)
    with pytest.raises(
        ValueError, match=r"'embeddings' matches none of the 18 prunable weights, e.g. bert.encoder.layer.0"
    ):
        prunable_weights(network, "embeddings")
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        prunable_weights(network, "(")


def test_network_without_blocks_is_refused(store: Store) -> None:
    network = load_network(str(store("bert")), MNLI)
    network.config.num_hidden_layers = 5
    with pytest.raises(ValueError, match="has no list of 5 transformer blocks"):
        transformer_blocks(network)
