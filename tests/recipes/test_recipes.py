"""Every recipe through every door."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DebertaV2Config,
    DebertaV2Model,
)

import toolkit
from toolkit import cli, run
from toolkit.catalogue import recipe_class, recipe_file, recipe_names
from toolkit.evaluation.report import Report
from toolkit.models.encoder import prunable_weights
from toolkit.modules import neuron_selection
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.options.words import as_options
from toolkit.probing.analysis import RedundancyAnalysis
from toolkit.pruning.patterns import parse_pattern, share_beside_pattern
from toolkit.recipe import load
from toolkit.runs import analyses
from toolkit.statistics.profile import LayerProfile

PRUNED = {
    "proximal_pruning": ["model"],
    "magnitude_pruning": ["model"],
    "movement_pruning": ["model"],
    "wanda_pruning": ["model"],
    "quickstart": ["model", "magnitude"],
}
SMALLER = {"layer_dropping": ["model"], "neuron_selection": ["model"], "structured_pruning": ["model"]}
NEEDED = {
    "layer_dropping": {"model.keep": 1},
    "layer_analysis": {"data.limit_train": 60},
    "redundancy_analysis": {"data.limit_train": 60, "model.redundancy.rankings": ["surgeon", "gaussian", "norm"]},
}
# In files of their own: they run other recipes, need a network, or read text.
ELSEWHERE = {
    "compare",
    "evaluation",
    "export",
    "magnitude_pretraining",
    "pipeline",
    "proximal_pretraining",
    "proximal_transfer",
}
every_recipe = pytest.mark.parametrize("name", [name for name in recipe_names() if name not in ELSEWHERE])


def options_of(name: str, small: dict[str, Any]) -> dict[str, Any]:
    """The small options, and those that a recipe needs beside them."""
    return small | NEEDED.get(name, {})


@every_recipe
def test_every_file_holds_values_of_its_recipe(name: str) -> None:
    values = yaml.safe_load(Path(recipe_file(name)).read_text(encoding="utf-8"))
    assert values["recipe"] == name
    assert isinstance(load(name), recipe_class(name))


@every_recipe
def test_first_door(name: str, small: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run.main([f"recipe={name}", *as_options(options_of(name, small))])
    printed = capsys.readouterr().out
    assert "variability" in printed if name == "layer_analysis" else "accuracy" in printed
    assert "Saved in run: " in printed
    check_run(Path("run"), name)


@every_recipe
def test_second_door_runs_the_same(name: str, small: dict[str, Any]) -> None:
    small = options_of(name, small)
    load(name, **small | {"output": "code"}).run()
    cli.main(["fit", "--config", recipe_file(name), *as_options(small | {"output": "cli"})])
    check_run(Path("cli"), name)
    for file in Path("code").rglob("model.safetensors"):
        assert file.read_bytes() == Path("cli", *file.parts[1:]).read_bytes()


def check_run(folder: Path, name: str) -> None:
    """A run's folder holds the report, networks that plain transformers loads, and nothing half-done."""
    assert not list(folder.rglob("*.ckpt"))
    assert {file.name for file in folder.rglob(".*")} == {".lock", ".owner", ".data.json"}
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["recipe"] == name
    if name.startswith("layer"):
        check_layers(folder)
    if name == "redundancy_analysis":
        check_neurons(folder)
    if name.endswith("analysis"):
        return
    rows = json.loads((folder / "report.json").read_text())["rows"]
    assert rows[0]["sparsity"] == 0
    assert (folder / "report.md").read_text().count("accuracy") == 1
    if name == "layer_dropping":
        assert rows[1]["selection_seconds"] > 0
        assert rows[1]["selection_macs"] > rows[1]["selection_examples"] > 0
    for saved, row in zip(PRUNED.get(name, []) + SMALLER.get(name, []), rows[1:], strict=True):
        if name in PRUNED:
            assert row["sparsity"] == pytest.approx(config["model"]["sparsity"], abs=1e-3)
        else:
            assert row["parameters"] < rows[0]["parameters"]
            assert row["macs"] < rows[0]["macs"]
        network = AutoModelForSequenceClassification.from_pretrained(folder / saved)
        inputs = AutoTokenizer.from_pretrained(folder / saved)("a good film", return_tensors="pt")
        assert torch.equal(network(**inputs).logits, toolkit.load(folder / saved)(**inputs).logits)
        lasting = {key: value for key, value in config.items() if key not in ("output", "resume")}
        assert yaml.safe_load((folder / saved / "recipe.yaml").read_text()) == lasting


def check_layers(folder: Path) -> None:
    """The layers were looked at, drawn, and nothing is left of the passes over the data."""
    profile = LayerProfile.read(folder / "layers.json")
    assert profile.num_blocks == 2
    assert {file.name for file in folder.glob("*.png")} == {"layers.png", "similarity.png"}
    assert not (folder / "features").exists()
    assert not list(folder.glob("*.ckpt"))


def check_neurons(folder: Path) -> None:
    """The neurons were analysed, drawn, put on a page, and no features are left."""
    analysis = RedundancyAnalysis.read(folder / "analysis.json")
    assert analysis.total == 3 * 32
    figures = {file.name for file in folder.glob("*.png")}
    names = ("layers", "similarity", "redundancy", "windows", "rankings", "overlap")
    assert figures == {f"{name}.png" for name in names}
    assert (folder / "analysis.html").read_text().count("<img") == len(figures)
    assert not (folder / "features").exists()


def test_neurons_are_drawn_once_matplotlib_is_there(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"rankings": "[norm,random]", "ranking": "norm", "thresholds": "[0.3]", "rows": 50}
    words = ["recipe=redundancy_analysis", *words, *(f"model.redundancy.{key}={options[key]}" for key in options)]
    with monkeypatch.context() as patch:
        patch.setattr(analyses, "find_spec", lambda name: None)
        with pytest.warns(UserWarning, match=r"not drawn.*\[plots\]"):
            run.main(words)
    stored = Path("run/analysis.json").read_bytes()
    assert not list(Path("run").glob("*.png"))
    assert "<img" not in Path("run/analysis.html").read_text()
    monkeypatch.setattr(analyses, "analyse_network", pytest.fail)
    run.main([*words, "resume=true"])
    assert Path("run/analysis.json").read_bytes() == stored
    check_run(Path("run"), "redundancy_analysis")


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_lightnings_other_commands(command: str, small: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([command, "--config", recipe_file("fine_tuning"), *as_options(small)])
    if command != "predict":
        assert "accuracy" in capsys.readouterr().out


def test_second_door_takes_a_recipe_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["fit", "--recipe=magnitude_pruning", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["recipe"], printed["trainer"]["max_epochs"]) == ("magnitude_pruning", 4)


@pytest.mark.parametrize("name", ["compare", "pipeline"])
def test_second_door_has_no_module_of_recipes_that_run_others(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["fit", f"--recipe={name}"])
    assert f"run it with toolkit.run recipe={name}" in capsys.readouterr().err


def test_rounded_weights_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["recipe=magnitude_pruning", *words, "trainer.precision=bf16-true"])
    assert "use bf16-mixed or 32-true" in capsys.readouterr().err
    assert not Path("run").exists()


def test_stored_configuration_runs_again(words: list[str]) -> None:
    run.main(["recipe=fine_tuning", *words])
    cli.main(["fit", "--config", "run/config.yaml", "--output=again"])
    assert Path("run/model/model.safetensors").read_bytes() == Path("again/model/model.safetensors").read_bytes()


def test_without_a_recipe_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    run.main([])
    printed = capsys.readouterr().out
    assert all(name in printed for name in recipe_names())
    assert "usage" in printed


@pytest.mark.parametrize("flag", ["--help", "--print_config"])
def test_help_and_configuration_are_printed(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["recipe=proximal_pruning", flag])
    assert ended.value.code in (0, None)
    printed = capsys.readouterr().out
    assert "sparsity" in printed
    if flag == "--help":
        assert "Share of the targets that is zero at the end" in printed
    else:
        assert yaml.safe_load(printed)["model"]["sparsity"] == 0.8


@pytest.mark.parametrize("stage", ["reference", "model"])
def test_interrupted_run_resumes_to_the_same_weights(
    stage: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*words, "trainer.max_epochs=2", "recipe=proximal_pruning"]
    run.main([*words, "output=whole"])
    kind = FineTuning if stage == "reference" else ProximalPruning
    begin = kind.on_train_batch_start

    def interrupt(module: FineTuning, batch: Any, batch_idx: int) -> None:
        if type(module) is kind and (module.current_epoch, batch_idx) == (1, 3):
            raise KeyboardInterrupt
        begin(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuning, "on_train_batch_start", interrupt)
        with pytest.raises(SystemExit) as ended:
            run.main(words)
    assert ended.value.code == 130
    assert "resume=true continues" in capsys.readouterr().err
    assert not Path("run/report.json").exists()
    assert Path("run/checkpoints", stage, "last.ckpt").is_file()
    run.main([*words, "resume=true"])
    for file in ("reference/model.safetensors", "model/model.safetensors"):
        assert Path("whole", file).read_bytes() == Path("run", file).read_bytes()
    check_run(Path("run"), "proximal_pruning")


def test_reference_is_shared_and_teaches(small: dict[str, Any]) -> None:
    dense = load("fine_tuning", **small | {"output": "dense"}).run().rows[0]
    options = {"reference": "dense/model", "model.distillation.teacher": "reference", "model.sparsity": 0.5}
    report = load("magnitude_pruning", **small | options).run()
    assert report.rows[0].scores == dense.scores
    assert report.rows[1].sparsity == pytest.approx(0.5, abs=1e-3)
    assert not Path("run/reference").exists()


def test_a_run_is_not_resumed_with_other_data(
    words: list[str],
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The environment, of which the options say nothing, may name another folder by then."""
    words = [*words, "recipe=fine_tuning", "data.task=rte"]
    monkeypatch.setenv("TOOLKIT_DATA", str(tiny_data))
    run.main(words)
    shutil.copytree(tiny_data, tmp_path / "other")
    file = tmp_path / "other" / "glue" / "RTE" / "train.tsv"
    file.write_text("\n".join(file.read_text().splitlines()[:-4]) + "\n")
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "other"))
    with pytest.raises(SystemExit):
        run.main([*words, "resume=true"])
    assert "holds a run on other data (train" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["proximal_pruning", "layer_dropping", "neuron_selection", "structured_pruning"])
def test_deberta_runs_through(recipe: str, small: dict[str, Any], tiny_network: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    config = DebertaV2Config(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16,
        norm_rel_ebd="layer_norm", share_att_key=True, pooler_hidden_size=32, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    DebertaV2Model(config).save_pretrained("deberta")
    tokenizer.save_pretrained("deberta")
    options = {"layer_dropping": {"model.keep": 1}, "neuron_selection": {"model.selection.ranking": "norm"}}
    options["structured_pruning"] = {"model.neurons": 0.5}
    rows = load(recipe, **small | {"model.network": "deberta"} | options.get(recipe, {})).run().rows
    assert rows[0].macs > 0
    assert rows[0].extras["training_macs"] > rows[0].macs


@pytest.mark.parametrize("fine_tune", [True, False])
def test_neurons_are_taken_from_a_network_that_keeps_its_zeros(
    fine_tune: bool, small: dict[str, Any], tiny_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = AutoModelForMaskedLM.from_pretrained(tiny_network)
    with torch.no_grad():
        for weight in prunable_weights(network).values():
            weight[: len(weight) // 2] = 0
    network.save_pretrained("half")
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained("half")
    looked_at: list[dict[str, torch.Tensor]] = []
    extract = neuron_selection.extract_features

    def note(encoder: Any, *arguments: Any, **options: Any) -> Any:
        looked_at.append({name: weight.detach() for name, weight in prunable_weights(encoder).items()})
        return extract(encoder, *arguments, **options)

    monkeypatch.setattr(neuron_selection, "extract_features", note)
    own = {"model.network": "half", "model.training.hold_zeros": True, "model.fine_tune": fine_tune}
    rows = load("neuron_selection", **small | own | {"model.selection.ranking": "norm"}).run().rows
    held = ["held_zeros"] if fine_tune else []
    assert [row.name for row in rows] == ["fine_tuning", *held, "neuron_selection"]
    assert rows[0].sparsity < 0.2  # The reference is uncompressed, but for a few weights without a gradient.
    assert len(looked_at) == 3
    for weights in looked_at:
        for weight, origin in zip(weights.values(), prunable_weights(network).values(), strict=True):
            assert torch.equal(weight == 0, origin == 0)
            assert torch.equal(weight, origin) is not fine_tune


def test_each_stage_has_a_logger_of_its_own(words: list[str]) -> None:
    logger = ["trainer.logger.class_path=lightning.pytorch.loggers.CSVLogger", "trainer.logger.init_args.save_dir=own"]
    run.main([*words, *logger, "recipe=magnitude_pruning", "trainer.log_every_n_steps=1"])
    logged = [file.read_text().splitlines()[0] for file in sorted(Path("own").rglob("metrics.csv"))]
    assert ["sparsity" in columns for columns in logged] == [False, True]


def test_recipes_that_are_loaded_before_any_runs_keep_their_seeds(small: dict[str, Any]) -> None:
    load("magnitude_pruning", **small | {"output": "alone"}).run()
    first = load("magnitude_pruning", **small | {"output": "first"})
    second = load("magnitude_pruning", **small | {"output": "second", "seed_everything": 2})
    assert [row.seed for recipe in (first, second) for row in recipe.run().rows] == [1, 1, 2, 2]
    weights = {run: Path(run, "reference/model.safetensors").read_bytes() for run in ("alone", "first", "second")}
    assert weights["first"] == weights["alone"] != weights["second"]
    assert Path("first/model/model.safetensors").read_bytes() == Path("alone/model/model.safetensors").read_bytes()


def test_taggers_with_byte_level_tokenizers_serve_as_reference_and_teacher(
    small: dict[str, Any], byte_level: Path
) -> None:
    """Their stored tokenizers put a space before words, which the original one does not by itself."""
    small |= {"data.task": "synthetic_entities", "model.network": str(byte_level)}
    options = {"model.sparsity": 0.5, "model.distillation.teacher": "reference"}
    taught = load("magnitude_pruning", **small | options).run()
    again = load("magnitude_pruning", **small | options | {"output": "again", "reference": "run/reference"}).run()
    assert [row.scores for row in again.rows] == [row.scores for row in taught.rows]


def test_a_network_that_cannot_be_cut_leaves_the_folder_free(
    small: dict[str, Any], tiny_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_network, "odd")
    config = json.loads(Path("odd/config.json").read_text())
    Path("odd/config.json").write_text(json.dumps(config | {"layer_kinds": [1, 2]}))
    own = {"model.network": "odd", "model.strategy": "top", "model.keep": 1}
    for _ in range(2):  # The same command says the same, not that its folder holds a run.
        with pytest.raises(SystemExit):
            run.main(["recipe=layer_dropping", *as_options(small | own)])
        assert "layer_kinds may say something of each" in " ".join(capsys.readouterr().err.split())
        assert not Path("run").exists()


@pytest.mark.parametrize(
    ("pattern", "sparsity", "penalty"), [("2:4", None, None), ("8x8", 0.5, None), ("unstructured", None, 0.5)]
)
def test_quickstart_prunes_the_same_share_of_the_same_targets_in_one_pattern(
    pattern: str, sparsity: float | None, penalty: float | None, small: dict[str, Any]
) -> None:
    asked = {"model.pattern": pattern, "model.sparsity": sparsity, "model.penalty": penalty}
    load("quickstart", **small | asked | {"model.targets": "attention", "timing.seconds": 0}).run()
    shares = []
    for folder in ("model", "magnitude"):
        weights = prunable_weights(toolkit.load(f"run/{folder}"), "attention")
        assert share_beside_pattern(weights, parse_pattern(pattern)) == 0
        zeros = sum(int((weight == 0).sum()) for weight in weights.values())
        shares.append(zeros / sum(weight.numel() for weight in weights.values()))
    assert 0 < shares[0] < 1
    assert shares[0] == pytest.approx(shares[1], abs=1e-3)


def test_resuming_without_an_output_finds_the_run(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recipe=fine_tuning", *(word for word in words if not word.startswith("output="))]
    run.main(words)
    run.main([*words, "resume=true"])
    assert len(list(Path("runs").iterdir())) == 1
    assert capsys.readouterr().out.count("accuracy") == 2


def test_sparse_and_rounded_networks_are_judged_as_they_are_stored(small: dict[str, Any]) -> None:
    options = {"saving.sparse": True, "saving.dtype": "bfloat16", "model.sparsity": 0.8}
    rows = load("magnitude_pruning", **small | options).run().rows
    assert not Path("run/model/model.safetensors").exists()
    assert Path("run/reference/model.safetensors").exists()
    assert rows[1].bytes == Path("run/model/model.sparse.safetensors").stat().st_size < 0.7 * rows[0].bytes
    network = toolkit.load("run/model")
    assert all(torch.equal(weight, weight.bfloat16().float()) for weight in network.parameters())
    judged = load("evaluation", **judging(small) | {"model.network": "run/model", "output": "again"}).run()
    assert judged.rows[0].scores == rows[1].scores
    assert judged.rows[0].nonzero_parameters == rows[1].nonzero_parameters


def judging(small: dict[str, Any]) -> dict[str, Any]:
    """The options that a stored network is judged by."""
    return {key: value for key, value in small.items() if key.startswith(("data.", "timing", "trainer.acc"))}


def test_report_is_read_by_a_program(small: dict[str, Any]) -> None:
    report = load("fine_tuning", **small).run()
    assert Report.read("run").rows[0].scores == report.rows[0].scores


def test_teacher_of_a_run_needs_a_recipe(small: dict[str, Any]) -> None:
    recipe = load("magnitude_pruning", **small | {"model.distillation.teacher": "reference"})
    with pytest.raises(ValueError, match="outside a recipe give the folder"):
        recipe.model.setup("fit")
    with pytest.raises(ValueError, match="has none itself"):
        load("fine_tuning", **small | {"model.distillation.teacher": "reference"})
    with pytest.raises(ValueError, match="no option reference"):
        load("fine_tuning", **small | {"reference": "."})


def test_reference_and_teacher_are_read_by_label_names_and_must_know_the_task(
    small: dict[str, Any], tiny_network: Path
) -> None:
    dense = load("fine_tuning", **small | {"output": "dense"}).run().rows[0]
    network = toolkit.load("dense/model")
    with torch.no_grad():  # The same function with its labels in the other order.
        network.classifier.weight.copy_(network.classifier.weight.flip(0))
        network.classifier.bias.copy_(network.classifier.bias.flip(0))
    network.config.id2label = {0: "positive", 1: "negative"}
    network.config.label2id = {"positive": 0, "negative": 1}
    network.save_pretrained("flipped")
    AutoTokenizer.from_pretrained("dense/model").save_pretrained("flipped")
    assert load("magnitude_pruning", **small | {"reference": "flipped"}).run().rows[0].scores == dense.scores
    with pytest.raises(ValueError, match="was not fine-tuned on synthetic_sentiment"):
        load("magnitude_pruning", **small | {"reference": str(tiny_network), "output": "other"}).run()
    assert not Path("other").exists()
    with pytest.raises(ValueError, match="was not fine-tuned on synthetic_sentiment"):
        load("magnitude_pruning", **small | {"model.distillation.teacher": str(tiny_network)})


def test_trial_run_of_one_batch(words: list[str]) -> None:
    run.main(["recipe=magnitude_pruning", *words, "trainer.fast_dev_run=true"])
    assert Report.read("run").rows[1].sparsity == pytest.approx(0.8, abs=1e-3)


@pytest.mark.slow
def test_module_is_run_from_elsewhere(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolkit.run", "recipe=fine_tuning", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "fine_tuning" in done.stdout
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 1
    assert again.stderr.strip().splitlines()[-1].startswith("error: run holds this very run")


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(small: dict[str, Any], tmp_path: Path) -> None:
    """Same mask and weights, to float tolerance, without dropout."""
    shared = small | {"model.training.dropout": 0.0, "model.sparsity": 0.6, "trainer.max_epochs": 2}
    for output, options in {
        "one": {"data.batch_size": 16},
        "two": {"data.batch_size": 8, "trainer.strategy": "ddp", "trainer.devices": 2},
    }.items():
        command = [sys.executable, "-m", "toolkit.run", "recipe=proximal_pruning"]
        words = as_options(shared | options | {"output": output})
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("accuracy") == 1  # Only the first process prints.
    networks = [dict(toolkit.load(tmp_path / output / "model").named_parameters()) for output in ("one", "two")]
    moved = 0
    for name, weight in networks[0].items():
        torch.testing.assert_close(weight, networks[1][name], rtol=1e-3, atol=1e-4)
        moved += int(((weight == 0) != (networks[1][name] == 0)).sum())
    assert moved <= 2  # A weight at the very boundary may fall on either side.
