"""The network of selected neurons: its inputs, outputs, losses, gradients, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from toolkit.models.encoder import prunable_weights, transformer_blocks
from toolkit.models.heads import output_layer
from toolkit.models.neuron_config import NeuronSelectionConfig
from toolkit.models.neuron_model import new_encoder

MakeConfig = Callable[..., PreTrainedConfig]
KEPT = [[1, 5], [], [0, 8, 15], [3]]
IDS = torch.tensor([[2, 9, 10, 3, 11, 3], [2, 12, 13, 3, 0, 0]])  # 2 and 3 are special, 0 is padding
MASK = (IDS > 0).long()


@pytest.fixture
def make(make_config: MakeConfig) -> Callable[..., PreTrainedModel]:
    def build(architecture: str = "bert", **values: Any) -> PreTrainedModel:
        values = {"pooling": "mean", "special_ids": [2, 3], "num_labels": 3, **values}
        config = NeuronSelectionConfig(encoder=make_config(architecture), kept=KEPT, **values)
        auto: Any = AutoModelForTokenClassification if values["pooling"] is None else AutoModelForSequenceClassification
        torch.manual_seed(0)
        network: PreTrainedModel = auto.from_config(config)
        network.train(False)
        return network

    return build


def features(network: Any) -> Tensor:
    states = network.encoder(input_ids=IDS, attention_mask=MASK, output_hidden_states=True).hidden_states
    return torch.stack([states[layer][..., n] for layer, kept in enumerate(KEPT) for n in kept], dim=-1)


@torch.no_grad()
def test_special_tokens_are_known_by_their_ids_or_said(make: Callable[..., PreTrainedModel]) -> None:
    network: Any = make()
    tokens = features(network)
    by_id = torch.stack([tokens[0, [1, 2, 4]].mean(0), tokens[1, [1, 2]].mean(0)])
    torch.testing.assert_close(network(IDS, MASK).logits, network.classifier(by_id), atol=1e-6, rtol=1e-6)
    said = torch.zeros_like(IDS)
    said[:, 0] = 1  # the other ids of special tokens stand in the text
    by_mask = torch.stack([tokens[0, 1:].mean(0), tokens[1, 1:4].mean(0)])
    logits = network(IDS, MASK, special_tokens_mask=said).logits
    torch.testing.assert_close(logits, network.classifier(by_mask), atol=1e-6, rtol=1e-6)
    nothing_special: Any = make(special_ids=[])
    nothing_special.load_state_dict(network.state_dict())
    everything = torch.stack([tokens[0].mean(0), tokens[1, :4].mean(0)])
    torch.testing.assert_close(nothing_special(IDS, MASK).logits, network.classifier(everything), atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_without_a_mask_everything_is_a_token(make: Callable[..., PreTrainedModel]) -> None:
    network: Any = make()
    assert torch.equal(network(IDS[:1]).logits, network(IDS[:1], MASK[:1]).logits)


@pytest.mark.parametrize("pooling", ["mean", None])
@torch.no_grad()
def test_form_of_the_output(make: Callable[..., PreTrainedModel], pooling: str | None) -> None:
    network: Any = make(pooling=pooling)
    output = network(IDS, MASK)
    assert output.loss is None
    assert output.hidden_states is None
    assert output.logits.shape == ((2, 3) if pooling else (2, 6, 3))
    assert torch.equal(network(IDS, MASK, return_dict=False)[0], output.logits)
    states = network(IDS, MASK, output_hidden_states=True).hidden_states
    assert [state.shape for state in states] == [(2, 6, 16)] * 4


@pytest.mark.parametrize(
    ("values", "labels", "loss"),
    [
        ({"num_labels": 3, "problem_type": "single_label_classification"}, torch.tensor([2, 0]), F.cross_entropy),
        ({"num_labels": 1, "problem_type": "regression"}, torch.tensor([0.5, 4.0]), F.mse_loss),
        ({"pooling": None}, torch.tensor([[-100, 1, 2, 0, 1, -100], [-100, 0, -100, 2, -100, -100]]), None),
    ],
)
def test_loss_and_gradients(
    make: Callable[..., PreTrainedModel], values: dict[str, Any], labels: Tensor, loss: Any
) -> None:
    network: Any = make(**values)
    output = network(IDS, MASK, labels=labels)
    if loss is None:
        scored = labels != -100
        expected = F.cross_entropy(output.logits[scored], labels[scored])
    else:
        expected = loss(output.logits.squeeze(-1), labels)
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A bias of keys moves all scores of a query alike, which the softmax does not see.
    assert {name.split(".", 4)[-1] for name in without} <= {"attention.self.key.bias"}


def test_training_lowers_the_loss(make: Callable[..., PreTrainedModel]) -> None:
    network: Any = make(problem_type="single_label_classification")
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = network(IDS, MASK, labels=torch.tensor([2, 0])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_rest_of_the_toolkit_finds_its_way(make: Callable[..., PreTrainedModel]) -> None:
    network: Any = make()
    assert network.base_model is network.encoder
    assert transformer_blocks(network) is network.get_submodule("encoder.encoder.layer")
    assert len(prunable_weights(network)) == 3 * 6
    assert output_layer(network) == ("classifier", network.classifier)
    assert network.get_input_embeddings() is network.get_submodule("encoder.embeddings.word_embeddings")
    replaced = nn.Embedding(7, 16)
    network.set_input_embeddings(replaced)
    assert network.get_submodule("encoder.embeddings.word_embeddings") is replaced


def test_encoder_has_nothing_that_no_layer_needs(architecture: str, make_config: MakeConfig) -> None:
    config = make_config(architecture)
    names = set(dict(new_encoder(config, final_norm=False).named_parameters()))
    whole = set(dict(AutoModel.from_config(config).named_parameters()))
    assert names < whole or architecture in ("deberta-v2", "distilbert", "electra", "xlnet")
    norms = {"gpt2": "ln_f", "llama": "norm", "modernbert": "final_norm", "qwen2": "norm"}
    dropped = {name.rpartition(".")[0] for name in whole - names}
    assert dropped <= {"pooler", "pooler.dense", norms.get(architecture)}
    with_norm = set(dict(new_encoder(config, final_norm=True).named_parameters()))
    assert (with_norm - names != set()) == (architecture in norms)


def test_head_and_pooling_must_agree(make_config: MakeConfig) -> None:
    values: dict[str, Any] = {"encoder": make_config("bert"), "kept": KEPT, "num_labels": 2}
    with pytest.raises(ValueError, match="pooling is null; to classify texts it must be one of mean, first, last"):
        AutoModelForSequenceClassification.from_config(NeuronSelectionConfig(**values))
    with pytest.raises(ValueError, match="pooling is 'mean'; to classify tokens it must be null"):
        AutoModelForTokenClassification.from_config(NeuronSelectionConfig(pooling="mean", **values))
    with pytest.raises(ValueError, match="has no encoder"):
        AutoModelForTokenClassification.from_config(NeuronSelectionConfig())
