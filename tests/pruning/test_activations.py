"""Wanda's scores against numpy on inputs that were captured sentence by sentence."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, DebertaV2Config, DebertaV2Model

from toolkit.pruning.activations import input_norms, wanda_scores


@pytest.fixture
def network() -> BertForSequenceClassification:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BertForSequenceClassification(
            BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
        ).train()


def test_scores_against_numpy() -> None:
    generator = np.random.default_rng(0)
    weight, norms = generator.normal(size=(3, 5)), generator.random(5)
    expected = np.array([[abs(weight[i, j]) * norms[j] for j in range(5)] for i in range(3)])
    np.testing.assert_allclose(wanda_scores(torch.from_numpy(weight), torch.from_numpy(norms)).numpy(), expected)


def test_norms_are_those_of_the_sentences_alone(network: BertForSequenceClassification) -> None:
    """Padded batches give what one unpadded sentence at a time gives: padding and dropout do not count."""
    sentences = [[2, 5, 7, 9, 3], [2, 8, 3], [2, 4, 4, 6, 11, 12, 3]]
    batches = []
    for part in (sentences[:2], sentences[2:]):
        length = 8  # Padding in every row.
        batches.append(
            {
                "input_ids": torch.tensor([row + [0] * (length - len(row)) for row in part]),
                "attention_mask": torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in part]),
            }
        )
    layers = {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Linear) and "layer" in name
    }
    found = input_norms(network, layers, batches)
    assert network.training
    assert all(module.training for module in network.modules())
    assert not any(module._forward_pre_hooks for module in layers.values())

    network.eval()
    hidden = network.bert.embeddings.word_embeddings.weight.new_zeros(16)
    query = "bert.encoder.layer.1.attention.self.query"
    with torch.no_grad():
        for row in sentences:
            states = network(torch.tensor([row]), output_hidden_states=True).hidden_states[1]
            hidden = hidden + states[0].square().sum(0)
    np.testing.assert_allclose(found[query].numpy(), hidden.sqrt().numpy(), rtol=1e-5)
    assert found["bert.encoder.layer.0.output.dense"].shape == (24,)


def test_shared_layer_sums_over_its_calls(network: BertForSequenceClassification) -> None:
    batch = {"input_ids": torch.tensor([[2, 5, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    name = "bert.encoder.layer.{}.output.dense"
    first, second = (network.get_submodule(name.format(block)) for block in (0, 1))
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    network.bert.encoder.layer[1] = network.bert.encoder.layer[0]
    once = input_norms(network, {"w": first}, [batch])["w"]
    seen: list[torch.Tensor] = []
    handle = first.register_forward_pre_hook(lambda layer, arguments: seen.append(arguments[0][0].detach()))
    with torch.no_grad():
        network.eval()(**batch)
    handle.remove()
    assert len(seen) == 2
    torch.testing.assert_close(once.float(), torch.cat(seen).square().sum(0).sqrt())


def test_positions_that_are_as_many_as_the_tokens_are_no_padding() -> None:
    """A layer of DeBERTa reads 2 · 8 relative positions, and the batch has 2 · 8 tokens, half of them padding."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = DebertaV2Config(
        vocab_size=30,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        max_relative_positions=8,
        **sizes,  # type: ignore[arg-type]
    )
    network = DebertaV2Model(config).eval()
    name = "encoder.layer.0.attention.self.pos_key_proj"
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    mask = torch.tensor([[1] * 4 + [0] * 4] * 2)
    found = input_norms(network, {name: layer}, [{"input_ids": mask * 5, "attention_mask": mask}])[name]
    positions = network.encoder.get_rel_embedding().detach()
    assert len(positions) == mask.numel()
    np.testing.assert_allclose(found.numpy(), np.linalg.norm(positions.double().numpy(), axis=0), rtol=1e-6)


def test_layer_that_reads_nothing_is_named(network: BertForSequenceClassification) -> None:
    batch = {"input_ids": torch.tensor([[2, 5, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    with pytest.raises(ValueError, match=r"idle read nothing.*model.targets"):
        input_norms(network, {"idle": nn.Linear(2, 2)}, [batch])
