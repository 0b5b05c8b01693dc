"""Removing hidden channels: masked and sliced networks agree, the config says what is left, ties and sizes are kept."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from toolkit.evaluation.costs import macs, num_parameters
from toolkit.models.hidden_channels import hidden_groups
from toolkit.models.layers import keep_layers
from toolkit.models.storage import load
from toolkit.models.structure import SUPPORTED, Structure, block_groups, keep_structure, mask_structure, whole_structure

every_architecture = pytest.mark.parametrize("architecture", SUPPORTED)
HEADS = ("AutoModel", "AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForMaskedLM")
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ELECTRA whose embeddings are as wide": ("electra", {"embedding_size": 16}),
    "DeBERTa with narrow embeddings": ("deberta-v2", {"embedding_size": 8}),
    "DeBERTa with embeddings named as wide": ("deberta-v2", {"embedding_size": 16}),
    "DeBERTa with a convolution": ("deberta-v2", {"conv_kernel_size": 3, "conv_act": "gelu"}),
    "DeBERTa, version 3": (
        "deberta-v2",
        {
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_buckets": 4,
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "DeBERTa with its own head": ("deberta-v2", {"legacy": False}),
    "BERT whose output layer is not tied": ("bert", {"tie_word_embeddings": False}),
}
KEPT = (0, 3, 4, 5, 7, 10, 11, 13, 15)
HALF = (1, 2, 5, 6, 8, 11, 12, 15)  # as many as one of the two heads has
Make = Callable[..., PreTrainedConfig]
Store = Callable[..., Path]


def random_network(config: PreTrainedConfig, head: str = "AutoModelForSequenceClassification") -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network: PreTrainedModel = getattr(transformers, head).from_config(config)
        for parameter in network.parameters():  # biases and norms as if they had been trained
            parameter.data += 0.1 * torch.randn(parameter.shape)
    network.train(False)
    return network


def narrowed(network: PreTrainedModel, hidden: tuple[int, ...] = KEPT, *, irregular: bool = True) -> Structure:
    """Fewer hidden channels; other heads and neurons in every block, or in all blocks one head of as many channels."""
    blocks = range(len(block_groups(network)))
    return Structure(
        heads=tuple((block % 2,) if block < 2 or not irregular else (0, 1) for block in blocks),
        neurons=tuple(tuple(range(block, 24, block + 2)) if irregular else tuple(range(16)) for block in blocks),
        hidden=hidden,
    )


def outputs(network: PreTrainedModel) -> Tensor:
    network = copy.deepcopy(network)  # Kernels may depend on how memory is aligned: weights from a file are not.
    network.train(False)
    ids = torch.arange(5, 17).view(2, 6)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    with torch.no_grad():
        found: Tensor = network(input_ids=ids, attention_mask=mask)[0]
    return found


def assert_masked_is_sliced(network: PreTrainedModel, structure: Structure) -> None:
    masked = copy.deepcopy(network)
    mask_structure(masked, structure)
    keep_structure(network, structure)
    expected = outputs(masked)
    if expected.shape[-1] == 16:  # hidden states: of removed channels there are zeros
        assert not expected[..., sorted({*range(16)} - {*KEPT})].any()
        expected = expected[..., KEPT]
    assert (expected - outputs(network)).abs().max() < 1e-5
    assert outputs(network).std() > 1e-3


@pytest.mark.parametrize("head", HEADS)
@every_architecture
def test_sliced_network_computes_what_the_masked_one_computes(architecture: str, head: str, make_config: Make) -> None:
    network = random_network(make_config(architecture), head)
    assert_masked_is_sliced(network, narrowed(network))
    assert network.config.hidden_size == network.base_model.config.hidden_size == 9
    tied = network.get_output_embeddings()
    assert tied is None or tied.weight is network.get_input_embeddings().weight


@pytest.mark.parametrize("head", ["AutoModelForSequenceClassification", "AutoModelForMaskedLM"])
@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_the_architectures(form: str, head: str, make_config: Make, tmp_path: Path) -> None:
    architecture, values = FORMS[form]
    if (
        form == "DeBERTa with its own head"
        and "MaskedLM" in head
        and Version(transformers.__version__) < Version("5.20")
    ):
        pytest.skip("transformers before 5.20 cannot load what it saves of this network: it ties a weight there is not")
    network = random_network(make_config(architecture, **values), head)
    assert_masked_is_sliced(network, narrowed(network))
    network.save_pretrained(tmp_path)
    assert torch.equal(outputs(load(tmp_path)), outputs(network))


@every_architecture
def test_leaving_out_the_masked_norms_computes_something_else(architecture: str, make_config: Make) -> None:
    """Zeros alone are not what slicing leaves: they count in mean and variance."""
    network = random_network(make_config(architecture))
    zeroed, structure = copy.deepcopy(network), narrowed(network)
    groups = hidden_groups(zeroed)
    for _, weight, dim in groups.parts:
        for channel in {*range(16)} - {*KEPT}:
            weight.data.select(dim, channel).zero_()
    keep_structure(network, Structure(**{**vars(whole_structure(network)), "hidden": structure.hidden}))
    assert (outputs(zeroed) - outputs(network)).abs().max() > 1e-3


@pytest.mark.parametrize("head", HEADS)
@every_architecture
def test_heads_that_fill_the_hidden_size_are_loaded_by_plain_transformers(
    architecture: str, head: str, store: Store
) -> None:
    folder = store(architecture, head, **({"embedding_size": 4} if architecture == "electra" else {}))
    network = load(folder)
    keep_structure(network, narrowed(network, HALF, irregular=False))
    network.save_pretrained(folder)
    stored = json.loads((folder / "config.json").read_text())
    names = ("dim", "n_heads", "hidden_dim") if architecture == "distilbert" else (
        "hidden_size", "num_attention_heads", "intermediate_size",
    )  # fmt: skip
    assert [stored[name] for name in names] == [8, 1, 16]
    assert "structure" not in stored
    plain, report = getattr(transformers, head).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert torch.equal(outputs(plain), outputs(network))


@pytest.mark.slow
def test_plain_transformers_loads_them_in_another_process(store: Store) -> None:
    expected, folders = [], []
    for architecture in SUPPORTED:
        values = {"embedding_size": 4} if architecture == "electra" else {}
        folder = store(architecture, "AutoModelForSequenceClassification", **values)
        network = load(folder)
        keep_structure(network, narrowed(network, HALF, irregular=False))
        network.save_pretrained(folder)
        folders.append(str(folder))
        expected.append(outputs(network).tolist())
    script = (
        "import json, sys, torch, transformers\n"
        "found = []\n"
        "for folder in sys.argv[1:]:\n"
        "    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder)\n"
        "    ids, mask = torch.arange(5, 17).view(2, 6), torch.tensor([[1] * 6, [1] * 4 + [0] * 2])\n"
        "    found.append(network(input_ids=ids, attention_mask=mask)[0].tolist())\n"
        "assert not any(name.split('.')[0] == 'toolkit' for name in sys.modules)\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *folders], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), expected, atol=1e-6)


@every_architecture
def test_others_are_loaded_by_the_toolkit_and_refused_by_plain_transformers(architecture: str, store: Store) -> None:
    folder = store(architecture, "AutoModelForSequenceClassification")
    network = load(folder)
    whole = whole_structure(network)
    keep_structure(network, Structure(heads=whole.heads, neurons=whole.neurons, hidden=KEPT))
    blocks = len(whole.heads)
    assert network.config.structure == {"heads": [2] * blocks, "neurons": [24] * blocks, "head_sizes": [8] * blocks}
    network.save_pretrained(folder)
    loaded = load(folder)
    assert type(loaded) is type(network)
    assert loaded.config.hidden_size == 9
    assert loaded.config.structure == network.config.structure
    assert torch.equal(outputs(loaded), outputs(network))
    loaded.save_pretrained(folder / "again")
    assert torch.equal(outputs(load(folder / "again")), outputs(network))
    with pytest.raises(RuntimeError, match="mismatch"):
        transformers.AutoModelForSequenceClassification.from_pretrained(folder)


@every_architecture
def test_blocks_are_dropped_from_a_narrow_network(architecture: str, store: Store) -> None:
    folder = store(architecture, "AutoModelForSequenceClassification")
    network = load(folder)
    keep_structure(network, narrowed(network))
    keep_layers(network, [1])
    network.save_pretrained(folder / "dropped")
    assert torch.equal(outputs(load(folder / "dropped")), outputs(network))


def bert_parameters(size: int, heads: int, neurons: int) -> int:
    """Of the BERT below with a classifier, counted by hand: 33 words, 512 positions, 2 segments, 3 blocks."""
    attention = 3 * (8 * heads * size + 8 * heads) + size * 8 * heads + size
    feed_forward = size * neurons + neurons + neurons * size + size
    embeddings, norm, pooler, classifier = (33 + 512 + 2) * size, 2 * size, size * size + size, 2 * size + 2
    return embeddings + norm + 3 * (attention + feed_forward + 2 * norm) + pooler + classifier


def bert_macs(size: int, heads: int, neurons: int, tokens: int) -> int:
    """Its multiplications for one sentence: matrices, scores of attention and their sums."""
    attention = 4 * tokens * size * 8 * heads + 2 * tokens * tokens * 8 * heads
    return 3 * (attention + 2 * tokens * size * neurons) + size * size + 2 * size


@pytest.mark.parametrize(("hidden", "heads", "neurons"), [(KEPT, 2, 24), (HALF, 1, 16), ((4,), 2, 3)])
def test_parameters_and_macs_are_those_of_a_formula(
    hidden: tuple[int, ...], heads: int, neurons: int, make_config: Make
) -> None:
    network = random_network(make_config("bert", vocab_size=33))
    assert num_parameters(network) == bert_parameters(16, 2, 24)
    assert macs(network, length=10) == bert_macs(16, 2, 24, 10)
    keep_structure(
        network,
        Structure(heads=(tuple(range(heads)),) * 3, neurons=(tuple(range(neurons)),) * 3, hidden=hidden),
    )
    assert num_parameters(network) == bert_parameters(len(hidden), heads, neurons)
    assert macs(network, length=10) == bert_macs(len(hidden), heads, neurons, 10)


def test_every_weight_of_the_hidden_states_belongs_to_a_channel(make_config: Make) -> None:
    """A channel owns as many weights as another network of one channel more has, and its diagonal ones twice."""
    groups = hidden_groups(random_network(make_config("bert", vocab_size=33)))
    owned = sum(weight.numel() // 16 for _, weight, _ in groups.parts)
    embeddings, blocks = 33 + 512 + 2 + 2, 3 * (3 * 16 + 16 + 1 + 2 * 24 + 1 + 4)
    assert owned == embeddings + blocks + (16 + 16 + 1) + 2


def test_what_was_narrowed_is_narrowed_again(make_config: Make) -> None:
    network = random_network(make_config("roberta"))
    once = copy.deepcopy(network)
    whole = whole_structure(network)
    keep_structure(once, Structure(heads=whole.heads, neurons=whole.neurons, hidden=(3, 5, 13)))
    keep_structure(network, Structure(heads=whole.heads, neurons=whole.neurons, hidden=KEPT))
    keep_structure(network, Structure(heads=whole.heads, neurons=whole.neurons, hidden=(1, 3, 7)))
    assert torch.equal(outputs(network), outputs(once))
    assert network.config.structure == once.config.structure


def test_frozen_weights_stay_frozen(make_config: Make) -> None:
    network = random_network(make_config("bert"), "AutoModelForMaskedLM")
    network.get_input_embeddings().requires_grad_(False)
    keep_structure(network, narrowed(network))
    for name, weight in network.named_parameters():
        assert weight.requires_grad == ("word_embeddings" not in name)


def test_heads_of_unknown_layers_are_refused_and_nothing_changes(make_config: Make) -> None:
    network = random_network(make_config("electra"), "AutoModelForMultipleChoice")
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    for change in (mask_structure, keep_structure):
        with pytest.raises(ValueError, match=r"ElectraForMultipleChoice: it is not known what sequence_summary"):
            change(network, narrowed(network))
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
    heads_only = Structure(heads=((0,),) * 3, neurons=narrowed(network).neurons)
    keep_structure(network, heads_only)  # which does not ask what the head reads


def test_convolutions_in_groups_are_refused(make_config: Make) -> None:
    network = random_network(make_config("deberta-v2", conv_kernel_size=3, conv_groups=2))
    with pytest.raises(ValueError, match=r"encoder\.conv\.conv divides them into 2 groups"):
        keep_structure(network, narrowed(network))


@pytest.mark.parametrize("architecture", ["electra", "deberta-v2"])
def test_as_many_channels_as_the_embeddings_have_are_refused(architecture: str, make_config: Make) -> None:
    """A config of equal sizes means that there is no projection: the stored one would be dropped."""
    network = random_network(make_config(architecture, embedding_size=8))
    with pytest.raises(ValueError, match=r"8 hidden channels are as many as the embeddings have.*one channel more"):
        keep_structure(network, narrowed(network, HALF))
    assert network.config.hidden_size == 16


def test_a_projection_is_built_also_where_heads_are_as_wide_as_embeddings(store: Store) -> None:
    folder = store("electra", hidden_size=32, num_attention_heads=4, embedding_size=16)
    network = load(folder)
    whole = whole_structure(network)
    keep_structure(network, Structure(heads=((0, 3),) * 3, neurons=whole.neurons, hidden=tuple(range(10))))
    network.save_pretrained(folder)
    assert torch.equal(outputs(load(folder)), outputs(network))


@pytest.mark.parametrize("hidden", [(), (1, 0), (0, 0), (0, 16), (-1, 3)])
def test_impossible_channels_are_refused(hidden: tuple[int, ...], make_config: Make) -> None:
    network = random_network(make_config("bert"))
    with pytest.raises(ValueError, match=r"is to keep the hidden channels .*at least one of its 16"):
        keep_structure(network, narrowed(network, hidden))


@pytest.mark.parametrize("sizes", [8, [], [8, 8], [8, 8, 9], [0] * 3, [True] * 3, [10**12] * 3, ["8"] * 3])
def test_sizes_of_heads_that_do_not_fit_are_refused(sizes: object, store: Store) -> None:
    folder = store("bert")
    network = load(folder)
    keep_structure(network, narrowed(network))
    network.save_pretrained(folder)
    file = folder / "config.json"
    stored = json.loads(file.read_text())
    stored["structure"]["head_sizes"] = sizes
    file.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"structure\.head_sizes and structure\.heads of config\.json are"):
        load(folder)


def test_norms_of_a_narrow_network_are_ordinary_ones(make_config: Make) -> None:
    network = random_network(make_config("bert"))
    masked, structure = copy.deepcopy(network), narrowed(network)
    mask_structure(masked, structure)
    keep_structure(masked, structure)  # a masked network is sliced as well
    assert {type(module) for module in masked.modules() if isinstance(module, nn.LayerNorm)} == {nn.LayerNorm}
    keep_structure(network, structure)
    assert torch.equal(outputs(masked), outputs(network))
