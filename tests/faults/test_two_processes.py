"""Two processes equal one: masks, structures, neurons and the statistics that they are chosen by."""

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import toolkit
from tests.faults.processes import end, start
from tests.faults.recipes import DATA, make_network, words_of
from toolkit.evaluation.report import Report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    make_network(folder)
    return folder


def run_both(words: Sequence[str], folder: Path) -> tuple[Path, Path]:
    """Run a recipe with one process, and with two of half the batch, as torchrun or SLURM start them.

    Args:
        words: Of the command line.
        folder: For everything.

    Returns:
        The folders of the runs.
    """
    one, two = folder / "one", folder / "two"
    end(start(words, one), one)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    half = [*words, f"data.batch_size={DATA['batch_size'] // 2}", "trainer.strategy=ddp", "trainer.devices=2"]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [start(half, two, LOCAL_RANK=str(rank), NODE_RANK="0", **address) for rank in (0, 1)]
    for process in processes:
        end(process, two)
    return one, two


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(toolkit.load(folder / "model").named_parameters())


@pytest.mark.parametrize(
    ("recipe", "own"),
    [
        ("proximal_pruning", ["model.sparsity=0.5", "model.pattern=8x8"]),
        ("proximal_pruning", [
            "model.sparsity=0.5", "model.regularizer=loss", "model.metric=euclidean", "model.penalty=1e-5",
        ]),
        ("magnitude_pruning", ["model.score=curvature", "model.sparsity=0.6"]),
        ("magnitude_pruning", ["model.pattern=2:4", "model.sparsity=null"]),
        ("magnitude_pruning", [
            "model.sparsity=0.6", "model.distillation.teacher=reference", "model.distillation.hidden_weight=0.5",
        ]),
        ("movement_pruning", ["model.sparsity=0.6"]),
        ("movement_pruning", ["model.sparsity=0.6", "model.mode=soft"]),
        ("wanda_pruning", ["model.schedule=gradual", "model.interval=4", "model.sparsity=0.6"]),
        ("structured_pruning", ["model.neurons=0.5"]),
        ("structured_pruning", ["model.neurons=0.5", "model.importance=proximal"]),
        ("structured_pruning", ["model.hidden=0.25", "model.heads=0.25", "model.neurons=0.25"]),
        ("structured_pruning", ["model.heads=0.5", "model.neurons=0.5", "model.uniform=false", "model.multiple=4"]),
        ("proximal_pretraining", ["model.sparsity=0.6"]),
        ("magnitude_pretraining", ["model.sparsity=0.6"]),
        ("layer_dropping", ["model.keep=2"]),
        ("layer_dropping", ["model.keep=2", "model.score=probe"]),
        ("layer_dropping", ["model.keep=2", "model.score=similarity"]),
        ("layer_dropping", ["model.keep=1", "model.strategy=window"]),
        ("neuron_selection", ["model.selection.ranking=group_proximal"]),
    ],
)  # fmt: skip
def test_weights_and_zeros(recipe: str, own: list[str], network: Path, tmp_path: Path) -> None:
    words = [*words_of(recipe, network), *own, "model.training.dropout=0"]
    one, two = map(weights, run_both(words, tmp_path))
    assert {name: weight.shape for name, weight in one.items()} == {name: w.shape for name, w in two.items()}
    moved = sum(int(((weight == 0) != (two[name] == 0)).sum()) for name, weight in one.items())
    assert moved <= 4  # A weight at the very boundary may fall on either side, and comes back for another.
    for name, weight in one.items():
        same = (weight == 0) == (two[name] == 0)
        torch.testing.assert_close(weight[same], two[name][same], rtol=1e-3, atol=1e-4)


def test_statistics_of_layers(network: Path, tmp_path: Path) -> None:
    folders = run_both([*words_of("layer_analysis", network), "model.probe=true"], tmp_path)
    one, two = (numbers(json.loads((folder / "layers.json").read_text())) for folder in folders)
    assert len(one) > 50
    assert one == pytest.approx(two, nan_ok=True)
    assert not list(folders[1].glob("*.ckpt*"))  # What a resumed pass would have needed.


def test_selected_neurons(network: Path, tmp_path: Path) -> None:
    folders = run_both([*words_of("neuron_selection", network), "model.fine_tune=false"], tmp_path)
    first, second = (Report.read(folder).rows[1] for folder in folders)
    assert numbers(first.extras["neurons"]) == pytest.approx(numbers(second.extras["neurons"]))
    one, two = map(weights, folders)
    for name, weight in one.items():
        torch.testing.assert_close(weight, two[name], rtol=1e-3, atol=1e-4)
    assert first.scores == second.scores


def test_redundancy(network: Path, tmp_path: Path) -> None:
    folders = run_both(words_of("redundancy_analysis", network), tmp_path)
    one, two = (numbers(json.loads((folder / "analysis.json").read_text())) for folder in folders)
    assert one == pytest.approx(two, nan_ok=True)


def numbers(value: Any, key: str = "") -> dict[str, Any]:
    """Nested values by their dotted keys."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: part for inner, v in items for name, part in numbers(v, f"{key}.{inner}").items()}
    return {key: value}
