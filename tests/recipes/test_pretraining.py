"""Sparse pre-training and what becomes of its pattern, through the doors."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

import toolkit
from toolkit import cli, run
from toolkit.catalogue import recipe_file
from toolkit.evaluation.masked_lm import judge_masked_lm
from toolkit.evaluation.report import Report
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.masked_lm import ProximalPretraining
from toolkit.options.words import as_options
from toolkit.recipe import load

FRESH = """
import sys
from transformers import AutoModelForMaskedLM
network, report = AutoModelForMaskedLM.from_pretrained(sys.argv[1], output_loading_info=True)
weights = [w for name, w in network.named_parameters() if ".layer." in name and w.ndim == 2]
tied = network.get_output_embeddings().weight is network.get_input_embeddings().weight
print(tied, not any(report.values()), sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights))
assert "toolkit" not in sys.modules
"""


@pytest.fixture
def text(small: dict[str, Any]) -> dict[str, Any]:
    """The options of a small pre-training."""
    left = {key: value for key, value in small.items() if key not in ("data.task", "data.limit_eval")}
    return left | {"data.sentences_of": ["synthetic_sentiment"], "model.sparsity": 0.6}


def blocks(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: w.detach() for name, w in network.named_parameters() if ".layer." in name and w.ndim == 2}


def zeros(network: torch.nn.Module) -> float:
    weights = blocks(network).values()
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def test_values_are_those_of_the_recipes() -> None:
    for name in ("magnitude_pretraining", "proximal_pretraining", "proximal_transfer"):
        assert yaml.safe_load(Path(recipe_file(name)).read_text(encoding="utf-8"))["recipe"] == name


def test_sparse_network_is_an_ordinary_masked_language_model(
    text: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run.main(["recipe=proximal_pretraining", *as_options(text | {"dense": True})])
    assert "perplexity" in capsys.readouterr().out
    done = subprocess.run([sys.executable, "-c", FRESH, "run/model"], capture_output=True, text=True, check=True)
    *facts, dead, total = done.stdout.split()
    assert facts == ["True", "True"]
    assert int(dead) == round(0.6 * int(total))
    assert "AutoModelForMaskedLM" in Path("run/model/README.md").read_text()
    assert not list(Path("run").rglob("*.ckpt"))
    rows = json.loads(Path("run/report.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["before", "masked_language_modelling", "proximal_pretraining"]
    assert [round(row["sparsity"], 3) for row in rows] == [0, 0, 0.6]
    assert len({row["masked_tokens"] for row in rows}) == 1
    assert rows[1]["optimizer_steps"] == rows[2]["optimizer_steps"]
    # What was reported is what the folders give, on the same masks.
    data = load("proximal_pretraining", **text | {"output": "other"}).data
    for folder, row in zip(("reference", "dense", "model"), rows, strict=True):
        scores, further = judge_masked_lm(AutoModelForMaskedLM.from_pretrained(f"run/{folder}"), data)  # type: ignore[arg-type]
        assert scores["accuracy"] == pytest.approx(row["scores"]["accuracy"])
        assert further["perplexity"] == pytest.approx(row["perplexity"], rel=1e-5)


def test_reported_before_is_the_network_as_it_came(text: dict[str, Any], tiny_network: Path) -> None:
    load("proximal_pretraining", **text).run()
    came, stored = (
        dict(AutoModelForMaskedLM.from_pretrained(f).named_parameters()) for f in (tiny_network, "run/reference")
    )
    assert came.keys() == stored.keys()
    assert all(torch.equal(weight, stored[name]) for name, weight in came.items())


def test_second_door_runs_the_same(text: dict[str, Any]) -> None:
    load("proximal_pretraining", **text | {"output": "code", "data.whole_word": True}).run()
    options = as_options(text | {"output": "cli", "data.whole_word": True})
    cli.main(["fit", "--config", recipe_file("proximal_pretraining"), *options])
    for folder in ("reference", "model"):
        files = [Path(output, folder, "model.safetensors").read_bytes() for output in ("code", "cli")]
        assert files[0] == files[1]


def test_text_comes_from_anywhere(text: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    (tmp_path / "file.txt").write_text("".join(f"the film is good {row}\n" for row in range(30)))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("".join(f'{{"body": "a dull book {row}"}}\n' for row in range(30)))
    sources = {
        "data.sentences_of": None,
        "data.files": [str(tmp_path / "file.txt")],
        "data.hub.path": str(tmp_path / "set"),
        "data.hub.column": "body",
    }
    data = load("proximal_pretraining", **text | sources).data
    assert len(data.split("train")) + len(data.split("dev")) == 60


def test_interrupted_run_resumes_to_the_same_weights(
    text: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recipe=proximal_pretraining", *as_options(text | {"trainer.max_epochs": 2})]
    run.main([*words, "--output=whole"])
    begin = FineTuning.on_train_batch_start

    def interrupt(module: FineTuning, batch: Any, batch_idx: int) -> None:
        if isinstance(module, ProximalPretraining) and (module.current_epoch, batch_idx) == (1, 3):
            raise KeyboardInterrupt
        begin(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuning, "on_train_batch_start", interrupt)
        with pytest.raises(SystemExit) as ended:
            run.main(words)
    assert ended.value.code == 130
    assert Path("run/checkpoints/model/last.ckpt").is_file()
    run.main([*words, "resume=true"])
    assert Path("whole/model/model.safetensors").read_bytes() == Path("run/model/model.safetensors").read_bytes()
    assert Report.read("run").rows[1].extras["perplexity"] == Report.read("whole").rows[1].extras["perplexity"]


def test_reference_teaches(text: dict[str, Any]) -> None:
    recipe = load("proximal_pretraining", **text | {"model.distillation.teacher": "reference"})
    recipe.run()
    assert isinstance(recipe.model, ProximalPretraining)
    assert recipe.model.distillation.teacher == str(Path("run/reference"))


def headless(tiny_network: Path) -> str:
    """Store the encoder alone, as networks for sentences come."""
    AutoModel.from_pretrained(tiny_network).save_pretrained("headless")
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained("headless")
    return "headless"


def test_a_fresh_head_does_not_teach(
    text: dict[str, Any], tiny_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"model.network": headless(tiny_network), "model.distillation.teacher": "reference"}
    with pytest.raises(SystemExit):
        run.main(["recipe=proximal_pretraining", *as_options(text | own)])
    said = " ".join(capsys.readouterr().err.split())
    assert "headless has no masked language model head, only one of random numbers (cls.predictions.bias" in said
    assert "Or set dense=true" in said
    assert not Path("run").exists()
    recipe = load("proximal_pretraining", **text | own | {"dense": True})
    recipe.run()
    assert recipe.model.distillation.teacher == str(Path("run/dense"))


def test_another_network_without_a_head_does_not_teach(
    text: dict[str, Any], tiny_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run.main(
            [
                "recipe=proximal_pretraining",
                *as_options(text | {"model.distillation.teacher": headless(tiny_network)}),
            ]
        )
    assert "Give a network that was trained on masked tokens" in " ".join(capsys.readouterr().err.split())


def test_patterns_are_compared_at_one_sparsity_and_budget(
    text: dict[str, Any], small: dict[str, Any], tiny_network: Path
) -> None:
    load("proximal_pretraining", **text | {"output": "pretrained"}).run()
    by_size = load("magnitude_pretraining", **text | {"output": "by-size"}).run()
    assert [row.name for row in by_size.rows] == ["before", "magnitude_pretraining"]
    options = small | {"model.sparsity": 0.6, "universal": "pretrained/model", "baseline": "by-size/model"}
    report = load("proximal_transfer", **options).run()
    names = ["universal_proximal", "universal_baseline", "universal_magnitude", "proximal_pruning"]
    names += ["curvature_pruning", "magnitude_pruning"]
    assert [row.name for row in report.rows] == ["fine_tuning", *names]
    assert [round(row.sparsity, 3) for row in report.rows] == [0] + [0.6] * 6
    assert len({row.extras["optimizer_steps"] for row in report.rows}) == 1

    networks = {name: blocks(AutoModelForSequenceClassification.from_pretrained(f"run/{name}")) for name in names}
    learnt = blocks(AutoModelForMaskedLM.from_pretrained("pretrained/model"))
    others = blocks(AutoModelForMaskedLM.from_pretrained("by-size/model"))
    came = blocks(AutoModelForMaskedLM.from_pretrained(tiny_network))
    sizes = torch.cat([weight.abs().flatten() for weight in came.values()])
    boundary = sizes.sort().values[round(0.6 * len(sizes)) - 1]
    for name, weight in networks["universal_proximal"].items():
        assert torch.equal(weight == 0, learnt[name] == 0)
        assert torch.equal(networks["universal_baseline"][name] == 0, others[name] == 0)
        assert torch.equal(networks["universal_magnitude"][name] == 0, came[name].abs() <= boundary)
    assert any(not torch.equal(weight, learnt[name]) for name, weight in networks["universal_proximal"].items())
    inputs = AutoTokenizer.from_pretrained("run/universal_proximal")("a good film", return_tensors="pt")
    assert toolkit.load("run/universal_proximal")(**inputs).logits.shape == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["2:4", "4x4"])
def test_transfer_of_structured_zeros(pattern: str, text: dict[str, Any], small: dict[str, Any]) -> None:
    sparsity = None if ":" in pattern else 0.5
    own = {"model.pattern": pattern, "model.sparsity": sparsity}
    load("proximal_pretraining", **text | own | {"output": "pretrained"}).run()
    report = load("proximal_transfer", **small | own | {"universal": "pretrained/model"}).run()
    assert [round(row.sparsity, 2) for row in report.rows] == [0, 0.5, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "No pre-trained pattern is given. Make one by `python -m toolkit.run recipe=proximal_pretraining"),
        ({"universal": "nowhere"}, "universal=nowhere is no folder of a network"),
        ({"universal": "half", "model.sparsity": 0.5, "baseline": "nowhere"}, "recipe=magnitude_pretraining"),
        ({"universal": "half"}, "has 0.5000 of the targets at zero, but model.sparsity is 0.8; set model.sparsity=0.5"),
        (
            {"universal": "half", "model.sparsity": None, "model.pattern": "2:4"},
            "The zeros of universal=half do not lie in the pattern model.pattern=2:4: 0.2500 of the targets",
        ),
        (
            {"universal": "half", "model.sparsity": 0.5, "model.pattern": "32x1"},
            "Set model.pattern to that of the folder, or prune it anew by `python -m toolkit.run "
            "recipe=proximal_pretraining",
        ),
        ({"universal": "half", "model.sparsity": None, "model.penalty": 0.1}, "Patterns are compared at one sparsity"),
    ],
)
def test_mistakes_are_named_with_their_remedy(
    options: dict[str, Any],
    message: str,
    small: dict[str, Any],
    tiny_network: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = AutoModelForMaskedLM.from_pretrained(tiny_network)
    with torch.no_grad():
        for weight in blocks(network).values():
            weight[: len(weight) // 2] = 0
    network.save_pretrained("half")
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained("half")
    with pytest.raises(SystemExit):
        run.main(["recipe=proximal_transfer", *as_options(small | options)])
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "own",
    [
        {"model.pattern": "4x4", "model.targets": r"layer\.0.*query", "model.sparsity": 0.5},
        {"model.pattern": "1:4", "model.sparsity": None},
    ],
)
@pytest.mark.parametrize("option", ["universal", "baseline"])
def test_suggested_command_makes_what_is_compared(
    option: str, own: dict[str, Any], small: dict[str, Any], tiny_network: Path
) -> None:
    """The network, the targets and the pattern are the run's."""
    recipe = load("proximal_transfer", **small | own | {"universal": "nowhere"})
    with pytest.raises(FileNotFoundError, match="Make one by") as raised:
        recipe.check_universal(option, Path("nowhere"), "magnitude" if option == "baseline" else "proximal", 0.5)
    words = shlex.split(str(raised.value).split("`")[1])
    assert words[:3] == ["python", "-m", "toolkit.run"]
    Path("TEXT").write_text("the film is good\n" * 40)
    options = dict(word.split("=", 1) for word in words[3:])
    made = load(options.pop("recipe"), **options).model
    assert (made.network_name, made.targets) == (str(tiny_network), own.get("model.targets", ".*"))
    assert (made.pattern, made.sparsity) == (recipe.model.pattern, recipe.model.sparsity)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"num_hidden_layers": 1}, "bert.encoder.layer.1.attention.self.query.weight is absent there and shaped (32"),
        ({"num_hidden_layers": 3}, "layer.2.attention.self.query.weight is shaped (32, 32) there and absent here"),
        ({"intermediate_size": 16}, "layer.0.intermediate.dense.weight is shaped (16, 32) there and shaped (64, 32)"),
    ],
)
def test_universal_pattern_of_another_network_is_refused(
    other: dict[str, Any], message: str, small: dict[str, Any], tiny_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(tiny_network, **other)).save_pretrained("other")
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained("other")
    with pytest.raises(SystemExit):
        run.main(["recipe=proximal_transfer", *as_options(small | {"universal": "other"})])
    said = " ".join(capsys.readouterr().err.split())
    assert f"universal=other is another network than model.network={tiny_network}" in said
    assert message in said
    assert not Path("run").exists()


def test_pre_training_needs_text(small: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    left = {key: value for key, value in small.items() if key not in ("data.task", "data.limit_eval")}
    for words, message in (([], "data.files is empty"), (["data.task=sst2"], "no option data.task")):
        with pytest.raises(SystemExit):
            run.main(["recipe=proximal_pretraining", *as_options(left), *words])
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_end_with_one_network(text: dict[str, Any], tmp_path: Path) -> None:
    own = {"trainer.strategy": "ddp", "trainer.devices": 2, "data.batch_size": 8, "model.training.dropout": 0.0}
    command = [sys.executable, "-m", "toolkit.run", "recipe=proximal_pretraining", *as_options(text | own)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("perplexity") == 1  # Only the first process prints.
    assert zeros(AutoModelForMaskedLM.from_pretrained(tmp_path / "run/model")) == pytest.approx(0.6, abs=1e-4)
    rows = Report.read(tmp_path / "run").rows
    assert rows[0].extras["masked_tokens"] == rows[1].extras["masked_tokens"]
