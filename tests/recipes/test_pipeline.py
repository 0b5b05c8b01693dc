"""Recipes one after the other: what each begins with, what is kept, and what an interruption leaves."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from toolkit import run
from toolkit.evaluation.report import Report
from toolkit.models import storage
from toolkit.models.encoder import prunable_weights, transformer_blocks
from toolkit.modules.fine_tuning import FineTuning
from toolkit.options.words import as_options
from toolkit.recipe import load


@pytest.fixture
def options(small: dict[str, Any]) -> dict[str, Any]:
    """Three stages after the uncompressed network."""
    groups: dict[str, Any] = {
        group: {key.split(".")[1]: value for key, value in small.items() if key.startswith(f"{group}.")}
        for group in ("data", "trainer")
    }
    return groups | {
        "network": small["model.network"],
        "seed_everything": 1,
        "timing.seconds": 0.01,
        "output": "run",
        "stages": [
            {"recipe": "layer_dropping", "options": {"model.keep": 1}},
            {"recipe": "proximal_pruning", "name": "zeros", "options": {"model.sparsity": 0.5}},
            {
                "recipe": "fine_tuning",
                "name": "recovery",
                "options": {"model.distillation.teacher": "reference", "trainer.max_epochs": 2},
            },
        ],
    }


def weights(folder: str) -> bytes:
    return Path(folder, "model", "model.safetensors").read_bytes()


def test_every_stage_begins_with_what_the_one_before_it_made(
    options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run.main(["recipe=pipeline", *as_options(options | {"baseline": {"model.training.learning_rate": 3e-5}})])
    rates = [
        yaml.safe_load(file.read_text())["model"]["training"]["learning_rate"]
        for file in sorted(Path("run").glob("[0-3]-*/config.yaml"))
    ]
    assert rates == [3e-5, 1e-4, 1e-4, 1e-4]
    assert "recovery" in capsys.readouterr().out
    rows = Report.read("run").rows
    assert [row.name for row in rows] == ["fine_tuning", "layer_dropping", "zeros", "recovery"]
    assert [round(row.sparsity, 2) for row in rows] == [0, 0, 0.5, 0.5]
    assert rows[0].parameters > rows[1].parameters == rows[2].parameters == rows[3].parameters
    assert all(row.latency["median"] > 0 for row in rows)

    zeros, recovered = storage.load("run/2-zeros/model"), storage.load("run/model")
    assert len(transformer_blocks(recovered)) == 1
    found = prunable_weights(recovered)
    for name, weight in prunable_weights(zeros).items():
        assert torch.equal(weight == 0, found[name] == 0)
        assert not torch.equal(weight, found[name])
    assert weights("run") == weights("run/3-recovery")
    recipe = Path("run/3-recovery/config.yaml").read_text()
    assert "run/0-fine_tuning/model" in recipe


def test_the_uncompressed_network_is_of_the_task_of_the_others(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"stage 'fine_tuning': data\.task is no option"):
        load("pipeline", **options | {"baseline": {"data": {"task": "sst2"}}}).run()
    assert not Path("run").exists()


def test_options_of_a_stage_are_nested_or_dotted(options: dict[str, Any]) -> None:
    """The uncompressed network teaches, however a stage says that it does."""
    nested = {"model": {"distillation": {"teacher": "reference"}}}
    load("pipeline", **options | {"stages": [{"recipe": "fine_tuning", "name": "again", "options": nested}]}).run()
    teacher = yaml.safe_load(Path("run/1-again/config.yaml").read_text())["model"]["distillation"]["teacher"]
    assert teacher == "run/0-fine_tuning/model"


def test_neurons_are_selected_of_what_the_stage_before_made(options: dict[str, Any]) -> None:
    stages = [options["stages"][0], {"recipe": "neuron_selection", "options": {"model.selection.ranking": "norm"}}]
    rows = load("pipeline", **options | {"stages": stages}).run().rows
    assert rows[-1].extras["neurons"]["total"] == 2 * 32  # The embeddings' and those of one block of two.


def test_an_interrupted_pipeline_resumes_to_the_same_weights(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    load("pipeline", **options | {"output": "whole"}).run()
    steps = 0
    training_step = FineTuning.training_step

    def interrupted(module: FineTuning, batch: Any, batch_idx: int) -> Any:
        nonlocal steps
        steps += 1
        if module.network_name.endswith("2-zeros/model") and module.trainer.current_epoch == 1:
            raise RuntimeError("the power is gone")
        return training_step(module, batch, batch_idx)

    with monkeypatch.context() as broken:
        broken.setattr(FineTuning, "training_step", interrupted)
        with pytest.raises(RuntimeError, match="the power is gone"):
            load("pipeline", **options).run()
    assert not Path("run/report.json").exists()
    assert Path("run/3-recovery/checkpoints").is_dir()
    done = [Path("run", stage, "model", "row.json") for stage in ("0-fine_tuning", "1-layer_dropping", "2-zeros")]
    before = [file.stat().st_mtime_ns for file in done]
    with pytest.raises(FileExistsError, match="resume=true"):
        load("pipeline", **options).run()
    report = load("pipeline", **options, resume=True).run()
    assert [file.stat().st_mtime_ns for file in done] == before
    assert weights("run") == weights("whole")
    scores = [row["scores"] for row in json.loads(Path("whole/report.json").read_text())["rows"]]
    assert [row.scores for row in report.rows] == scores


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        ([{"recipe": "layer_dropping"}, {"recipe": "layer_dropping"}], "two stages are called 'layer_dropping'"),
        ([{"recipe": "proximal_prunning"}], "did you mean proximal_pruning"),
        *(
            ([{"recipe": "fine_tuning", "name": "again"}, {"recipe": name}], f"{name} can be no stage")
            for name in ("evaluation", "export", "layer_analysis", "proximal_pretraining", "proximal_transfer")
        ),
        ([{"recipe": "proximal_pruning", "options": {"model.sparsty": 0.5}}], r"did you mean model\.sparsity"),
        *(
            (
                [{"recipe": "layer_dropping", "options": given}],
                rf"stage 'layer_dropping': {key} is no option of a stage",
            )
            for given, key in (
                ({"output": "other"}, "output"),
                ({"resume": True}, "resume"),
                ({"recipe": "fine_tuning"}, "recipe"),
                ({"config": "mine.yaml"}, "config"),
                ({"seed_everything": 2}, "seed_everything"),
                ({"timing": {"seconds": 1}}, r"timing\.seconds"),
                ({"data.task": "sst2"}, r"data\.task"),
                ({"data": {"task": {"name": "own"}}}, r"data\.task\.name"),
                ({"model": {"network": "minilm"}}, r"model\.network"),
            )
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    stages: list[dict[str, Any]], problem: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=problem):
        load("pipeline", **options | {"stages": stages}).run()
    assert not Path("run").exists()
