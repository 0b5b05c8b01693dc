"""Networks with irregular blocks are stored and loaded through every head, and read as garbage by nobody."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from toolkit.models.encoder import prunable_weights
from toolkit.models.layers import keep_layers
from toolkit.models.loading import load_network, load_with_head
from toolkit.models.pretrained import load_config
from toolkit.models.storage import load, sparsify
from toolkit.models.structure import SUPPORTED, Structure, block_groups, keep_structure
from toolkit.models.structure_storage import network_class
from toolkit.tasks import Task

HEADS = ("AutoModel", "AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForMaskedLM")
every_architecture = pytest.mark.parametrize("architecture", SUPPORTED)
Store = Callable[..., Path]


def outputs(network: PreTrainedModel) -> Tensor:
    network = copy.deepcopy(network)  # Kernels may depend on how memory is aligned: weights from a file are not.
    network.train(False)
    with torch.no_grad():
        found: Tensor = network(torch.arange(5, 17).view(2, 6))[0]
    return found


def cut(folder: Path, *, uniform: bool) -> PreTrainedModel:
    """Cut a stored network and store it again in its place."""
    network = load(folder)
    blocks = range(len(block_groups(network)))
    keep_structure(
        network,
        Structure(
            heads=tuple((0, 1) if uniform else (block % 2,) for block in blocks),
            neurons=tuple(tuple(range(16 if uniform else 3 + 5 * block)) for block in blocks),
        ),
    )
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("head", HEADS)
@every_architecture
def test_irregular_network_is_stored_and_loaded(architecture: str, head: str, store: Store) -> None:
    folder = store(architecture, head)
    network = cut(folder, uniform=False)
    loaded = load(folder)
    assert type(loaded) is type(network)
    assert torch.equal(outputs(loaded), outputs(network))
    assert loaded.state_dict().keys() == network.state_dict().keys()
    assert loaded.config.structure == AutoConfig.from_pretrained(folder).structure
    output = loaded.get_output_embeddings()
    assert output is None or output.weight is loaded.get_input_embeddings().weight
    hidden = loaded(torch.arange(5, 11)[None], output_hidden_states=True).hidden_states
    assert len(hidden) == loaded.config.num_hidden_layers + 1
    again = folder / "again"
    loaded.save_pretrained(again)
    assert torch.equal(outputs(load(again)), outputs(network))


@pytest.mark.parametrize("head", HEADS)
@every_architecture
def test_uniform_network_is_loaded_by_plain_transformers(architecture: str, head: str, store: Store) -> None:
    folder = store(architecture, head)
    network = cut(folder, uniform=True)
    loaded, report = getattr(transformers, head).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert torch.equal(outputs(loaded), outputs(network))
    assert "structure" not in json.loads((folder / "config.json").read_text())


@every_architecture
def test_plain_transformers_refuses_an_irregular_network(architecture: str, store: Store) -> None:
    folder = store(architecture)
    cut(folder, uniform=False)
    with pytest.raises(RuntimeError, match="mismatch"):
        transformers.AutoModel.from_pretrained(folder)


@every_architecture
def test_irregular_network_gets_another_head(architecture: str, store: Store) -> None:
    folder = store(architecture, "AutoModelForMaskedLM")
    network = cut(folder, uniform=False)
    head = transformers.AutoModelForTokenClassification
    config = load_config(str(folder))
    loaded, fresh = load_with_head(str(folder), head, config, new_head=True)
    assert type(loaded).__name__.endswith("ForTokenClassification")
    assert all("classifier" in name for name in fresh)
    expected = network.base_model.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in loaded.base_model.state_dict().items())


def test_other_networks_are_read_by_the_class_itself(store: Store) -> None:
    head = transformers.AutoModelForSequenceClassification
    assert network_class(head, load_config(str(store("bert")))) is head


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"heads": [1, 1, 1]},
        {"heads": [1, 1], "neurons": [3, 8, 13]},
        {"heads": [1, 1, 0], "neurons": [3, 8, 13]},
        {"heads": [1, 1, 3], "neurons": [3, 8, 13]},
        {"heads": [1, 1, True], "neurons": [3, 8, 13]},
        {"heads": [1, 1, 1], "neurons": [3, 8, 10**12]},
        {"heads": [1, 1, 1], "neurons": "many"},
        {"heads": [1, 1, 1], "neurons": [3, 8, 12]},  # well formed, but the weights are others
    ],
)
def test_entries_that_do_not_fit_are_refused(entry: object, store: Store) -> None:
    folder = store("bert")
    cut(folder, uniform=False)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"structure": entry}))
    with pytest.raises(ValueError, match=r"structure\.(heads|neurons) of config\.json is|another shape for"):
        load(folder)


@every_architecture
def test_blocks_are_dropped_from_an_irregular_network(architecture: str, store: Store) -> None:
    folder = store(architecture, "AutoModelForSequenceClassification")
    network = cut(folder, uniform=False)
    keep_layers(network, [1])
    network.save_pretrained(folder / "dropped")
    loaded = load(folder / "dropped")
    assert torch.equal(outputs(loaded), outputs(network))
    assert loaded.config.num_hidden_layers == 1


def test_an_irregular_network_is_stored_sparsely(store: Store, tmp_path: Path) -> None:
    folder = store("bert", "AutoModelForSequenceClassification")
    network = cut(folder, uniform=False)
    for weight in prunable_weights(network).values():
        weight.data[:, ::2] = 0
    network.save_pretrained(folder)
    sparsify(folder, tmp_path / "sparse")
    for loaded in (load(tmp_path / "sparse"), load_network(str(tmp_path / "sparse"), task_of(network), trained=True)):
        assert type(loaded) is type(network)
        assert torch.equal(outputs(loaded), outputs(network))


def task_of(network: PreTrainedModel) -> Task:
    """A task with the labels of a network."""
    labels = tuple(network.config.id2label.values())
    return Task(
        name="own", kind="classification", format="tsv", metrics=("accuracy",), labels=labels,
        files={"train": "train.tsv", "test": "test.tsv"},
    )  # fmt: skip
