"""Neuron selection: what is selected is what is deployed, and what rows are scored by."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.evaluation.judging import judge, predict
from toolkit.models.deployment import neuron_network
from toolkit.models.loading import load_network
from toolkit.models.storage import load, save
from toolkit.models.structure import Structure, keep_structure, whole_structure
from toolkit.modules import neuron_selection
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.neuron_selection import NeuronSelection, Selection, selection_score, stages_table
from toolkit.modules.training import Training
from toolkit.probing.spans import SpanScore
from toolkit.statistics.features import Features
from toolkit.tasks import TASKS

FAST = Selection(penalties=(1e-1, 1e-2), ranking="norm", delta=0.1, cluster_threshold=0.3)


@pytest.fixture
def quiet_trainer(make_trainer: Callable[..., Trainer]) -> Callable[..., Trainer]:
    return lambda **options: make_trainer(**{"enable_progress_bar": False} | options)


@pytest.fixture(params=["synthetic_sentiment", "synthetic_similarity", "synthetic_pos", "synthetic_entities"])
def any_data(request: pytest.FixtureRequest, tiny_network: Path) -> TaskData:
    return TaskData(str(request.param), network=str(tiny_network), size=150, limit_eval=40)


def test_selected_neurons_are_deployed(
    any_data: TaskData, tiny_network: Path, quiet_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    module = NeuronSelection(any_data.task, str(tiny_network), fine_tune=False, selection=FAST)
    network, extras = module.select(any_data, tmp_path, tmp_path, quiet_trainer)
    neurons = extras["neurons"]
    assert [stage["name"] for stage in neurons["stages"]] == ["oracle", "layers", "clusters", "neurons"]
    assert neurons["total"] == 3 * 32
    assert sum(map(len, network.config.kept)) == neurons["kept"] == round(neurons["share"] * 96)
    assert network.config.encoder.num_hidden_layers == max(1, *neurons["layers"]) or neurons["layers"] == [0]
    metric = any_data.task.metrics[0]
    assert judge(network, any_data).scores()[metric] == pytest.approx(neurons["retention"] * neurons["oracle"])
    # Both networks score as their probes on the stored features, but for a row that half precision moves.
    allowed = 0.03
    assert neurons["oracle"] == pytest.approx(neurons["stages"][0]["test"], abs=allowed)
    assert judge(network, any_data).scores()[metric] == pytest.approx(neurons["stages"][-1]["test"], abs=allowed)
    # The head's outputs are those of the stored features, up to their half precision.
    features = Features.read(tmp_path / "features" / "dev")
    kept = [layer * 32 + dimension for layer, kept in enumerate(network.config.kept) for dimension in kept]
    expected = torch.nn.functional.linear(
        features.matrix()[:, kept], network.classifier.weight, network.classifier.bias
    )
    outputs = predict(network, any_data, "dev").outputs
    if any_data.task.kind == "tagging":
        outputs = outputs[outputs >= 0]
        assert (outputs == expected.argmax(-1)).float().mean() > 0.99
    else:
        torch.testing.assert_close(outputs, expected.squeeze(-1), atol=0.02, rtol=0.01)
    table = stages_table(neurons, metric)
    assert table.row_count == 4


@pytest.mark.parametrize(("neurons", "blocks"), [([3, 40, 70], 2), ([3, 40], 1), ([3], 0)])
def test_neurons_of_blocks_of_different_widths_are_deployed(
    neurons: list[int], blocks: int, tiny_network: Path, tmp_path: Path
) -> None:
    data = TaskData("synthetic_sentiment", network=str(tiny_network), size=150, limit_eval=40, max_length=32)
    narrowed = load_network(str(tiny_network), data.task)
    keep_structure(
        narrowed, Structure(heads=((0,), (0, 1)), neurons=((0, 3, 5), (1, 2, 4, 6)), hidden=tuple(range(32)))
    )
    chosen, weight = torch.tensor(neurons), torch.randn(2, len(neurons))
    network = neuron_network(
        narrowed, chosen, weight, torch.zeros(2), task=data.task, tokenizer=data.tokenizer, pooling="mean"
    )
    save(network, data.tokenizer, tmp_path / "model", config_yaml=None, card="# It\n", example=batch(data))
    loaded = load(tmp_path / "model")
    assert loaded.config.encoder.num_hidden_layers == blocks
    assert torch.equal(predict(loaded, data, "dev").outputs, predict(network, data, "dev").outputs)


def batch(data: TaskData) -> dict[str, torch.Tensor]:
    inputs = next(iter(data.loader("dev")))
    return {name: tensor for name, tensor in inputs.items() if name not in ("labels", "index")}


def test_a_network_of_selected_neurons_is_not_cut_further(
    data: TaskData, tiny_network: Path, quiet_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    module = NeuronSelection(data.task, str(tiny_network), fine_tune=False, selection=FAST)
    network, _ = module.select(data, tmp_path, tmp_path, quiet_trainer)
    with pytest.raises(ValueError, match="Cannot remove parts of neuron_selection: its blocks are those of another"):
        whole_structure(network)


def test_a_network_that_differs_from_the_probe_is_refused(
    data: TaskData,
    tiny_network: Path,
    quiet_trainer: Callable[..., Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bias that is off moves no correlation and few labels, and is an error all the same."""
    module = NeuronSelection(data.task, str(tiny_network), fine_tune=False, selection=FAST)
    deploy = NeuronSelection._deploy

    def with_another_bias(*args: Any) -> PreTrainedModel:
        network = deploy(*args)
        network.classifier.bias.data += 0.3
        return network

    monkeypatch.setattr(NeuronSelection, "_deploy", with_another_bias)
    with pytest.raises(RuntimeError, match=r"differ on 1[0-9] of 1[0-9] rows"):
        module.select(data, tmp_path, tmp_path, quiet_trainer)


def test_an_oracle_that_knows_nothing_is_shown() -> None:
    stage = {"name": "oracle", "neurons": 4, "layers": [0], "dev": 0.0, "test": None, "used": True}
    for loss in (None, float("nan")):  # As JSON has it, and as it was.
        assert stages_table({"total": 4, "stages": [stage | {"loss": loss}]}, "f1").row_count == 1


def test_selection_is_the_same_to_the_bit(
    data: TaskData, tiny_network: Path, quiet_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    networks: list[PreTrainedModel] = []
    for run in ("one", "two"):
        module = NeuronSelection(data.task, str(tiny_network), fine_tune=False, selection=FAST)
        networks.append(module.select(data, tmp_path / run, tmp_path, quiet_trainer)[0])
    assert networks[0].config.kept == networks[1].config.kept
    assert torch.equal(networks[0].classifier.weight, networks[1].classifier.weight)


def test_sentences_are_read_from_the_fine_tuned_network(
    data: TaskData, tiny_network: Path, quiet_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    trained = FineTuning(data.task, str(tiny_network), Training(learning_rate=1e-3))
    quiet_trainer(max_epochs=1).fit(trained, datamodule=data)
    trained.network.save_pretrained(tmp_path / "reference")
    data.tokenizer.save_pretrained(tmp_path / "reference")
    module = NeuronSelection(data.task, str(tiny_network), selection=FAST)
    assert module.fine_tunes
    network, _ = module.select(data, tmp_path, tmp_path / "reference", quiet_trainer)
    embeddings = network.encoder.get_input_embeddings().weight
    assert torch.equal(embeddings, trained.network.get_input_embeddings().weight)
    assert not NeuronSelection(
        TaskData("synthetic_pos", network=str(tiny_network), size=50).task, str(tiny_network)
    ).fine_tunes


def test_features_are_shared_but_not_between_networks(
    data: TaskData, tiny_network: Path, four_blocks: Path, quiet_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"fine_tune": False, "selection": FAST, "features": tmp_path / "shared"}
    NeuronSelection(data.task, str(tiny_network), **options).select(data, tmp_path, tmp_path, quiet_trainer)
    written = (tmp_path / "shared" / "train" / "states.npy").stat().st_mtime_ns
    NeuronSelection(data.task, str(tiny_network), **options).select(data, tmp_path, tmp_path, quiet_trainer)
    assert (tmp_path / "shared" / "train" / "states.npy").stat().st_mtime_ns == written
    with pytest.raises(FileExistsError, match="shared"):
        NeuronSelection(data.task, str(four_blocks), **options).select(data, tmp_path, tmp_path, quiet_trainer)


def test_a_selection_is_decided_by_the_first_metric_of_its_task() -> None:
    assert isinstance(selection_score(TASKS["ner"]), SpanScore)
    score = selection_score(TASKS["mrpc"])
    assert not isinstance(score, SpanScore)
    assert score(torch.eye(2), torch.tensor([0, 1])) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delta": 1.0}, "selection.delta"),
        ({"faithful": True, "ranking": "norm"}, "which model.selection.ranking cannot change"),
        ({"faithful": True, "delta": 0.1}, "which model.selection.delta cannot change"),
        ({"layer_delta": -0.1}, "selection.layer_delta"),
        ({"layer_delta": 0.02}, r"between 0 and 0.015, half of model.selection.delta"),
        ({"cluster_threshold": 1.5}, "cluster_threshold"),
        ({"caution": -1.0}, "caution"),
        ({"penalties": ()}, "selection.penalties must be numbers"),
        ({"penalties": (0.1, -1.0)}, "selection.penalties must be numbers"),
        ({"penalties": (float("nan"),)}, "selection.penalties must be numbers"),
        ({"l1_share": 1.5}, "selection.l1_share is a part of the penalty"),
        ({"faithful": True, "l1_share": 0.5}, "which model.selection.l1_share cannot change"),
        ({"faithful": True, "penalties": (0.1,)}, "which model.selection.penalties cannot change"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Selection(**options)


def test_a_regression_has_no_ranking_by_classes(tiny_network: Path) -> None:
    task = TaskData("synthetic_similarity", network=str(tiny_network), size=50).task
    with pytest.raises(ValueError, match=r"ranking=overlap needs classes; of a regression choose from surgeon"):
        NeuronSelection(task, str(tiny_network), selection=Selection(ranking="overlap"))


def test_a_task_of_one_label_is_refused(data: TaskData, tiny_network: Path) -> None:
    with pytest.raises(ValueError, match="has one label, 'positive': there is nothing to tell apart"):
        NeuronSelection(replace(data.task, labels=("positive",)), str(tiny_network))


def test_options_of_the_probes_reach_the_selection(
    data: TaskData,
    tiny_network: Path,
    quiet_trainer: Callable[..., Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}

    def stop(*splits: Any, **options: Any) -> Any:
        given.update(options)
        raise InterruptedError

    monkeypatch.setattr(neuron_selection, "select_neurons", stop)
    options = Selection(penalties=(0.5, 0.05), l1_share=0.25, caution=2.0, representative="random")
    module = NeuronSelection(data.task, str(tiny_network), fine_tune=False, selection=options)
    with pytest.raises(InterruptedError):
        module.select(data, tmp_path, tmp_path, quiet_trainer)
    assert {name: given[name] for name in ("penalties", "l1_share", "caution", "representative")} == {
        "penalties": (0.5, 0.05), "l1_share": 0.25, "caution": 2.0, "representative": "random",
    }  # fmt: skip
