"""The evaluator from the command line: a whole grid, interrupted, changed, broken, and drawn again."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from toolkit import run
from toolkit.comparison.results import Results
from toolkit.evaluation import compare, cost, evaluate
from toolkit.evaluation.costs import Timing
from toolkit.evaluation.predictions import Judgement
from toolkit.models import storage
from toolkit.options.words import as_options
from toolkit.recipe import load

pytestmark = pytest.mark.slow


@pytest.fixture
def grid(tiny_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a comparison that takes half a minute."""
    monkeypatch.chdir(tmp_path)
    return {
        "methods": [
            "layer_dropping",
            {"name": "half", "recipe": "magnitude_pruning", "options": {"model.sparsity": 0.5}},
        ],
        "tasks": ["synthetic_sentiment"],
        "seeds": [0],
        "budget.steps": 3,
        "data": {"size": 60, "limit_eval": 20, "max_length": 32, "cache": str(tmp_path / "cache")},
        "model": {"network": str(tiny_network)},
        "trainer": {"accelerator": "cpu", "precision": "32-true", "enable_progress_bar": False},
        "latency.seconds": 0.01,
        "throughput.seconds": 0.01,
        "engine.workers": 2,
        "engine.threads": 1,
        "resamples": 100,
        "output": "out",
    }


def scores(folder: str = "out") -> dict[tuple[str, str, int], dict[str, float]]:
    rows = json.loads(Path(folder, "compare.json").read_text())["rows"]
    return {(row["method"], row["task"], row["seed"]): row["scores"] for row in rows}


def done(folder: str = "out") -> dict[Path, int]:
    """The cells that are done, and when each was."""
    return {file.parent: file.stat().st_mtime_ns for file in Path(folder, "cells").glob("*/run/report.json")}


def test_a_comparison_is_run_changed_and_drawn_again(grid: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run.main(["recipe=compare", *as_options(grid)])
    assert "half" in capsys.readouterr().out
    first, before = scores(), done()
    assert [method for method, _, _ in first] == ["fine_tuning", "layer_dropping", "half"]
    for name in ("compare.csv", "compare.md", "compare.html"):
        assert "half" in Path("out", name).read_text()

    run.main(["recipe=compare", *as_options(grid | {"resamples": 50})])
    assert done() == before
    assert scores() == first

    changed = json.loads(json.dumps(grid))
    changed["methods"][1]["options"]["model.sparsity"] = 0.25
    results = load("compare", **changed).run()
    after = done()
    assert {folder for folder in after if folder not in before or after[folder] != before[folder]} == (
        after.keys() - before.keys()
    )
    assert len(after) == len(before) + 1
    assert next(entry.row.sparsity for entry in results.entries if entry.method == "half") == (
        pytest.approx(0.25, abs=1e-3)
    )

    Path("out", "compare.json").unlink()
    with pytest.MonkeyPatch.context() as patch:  # Of libraries that were upgraded since, and data that are gone.
        patch.setattr("toolkit.comparison.grid.version", lambda _: "9")
        run.main(["recipe=compare", "report_only=true", "output=out"])
    assert [method for method, _, _ in scores()] == ["fine_tuning", "layer_dropping", "half"]
    assert done() == after
    assert isinstance(Results.read(Path("out", "compare.json")), Results)
    with pytest.raises(FileExistsError, match="holds a comparison; continue it with resume=true"):
        load("compare", **changed | {"resume": False}).run()
    predictions = next(Path("out", "cells", results.entries[0].key, "run", "predictions").iterdir())
    predictions.write_bytes(b"broken")
    load("compare", **changed).run()
    assert Judgement.read(predictions).name == "synthetic_sentiment"


def test_a_folder_of_something_else_is_left_alone(grid: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "compare.md").write_text("mine")
    for options in (grid, grid | {"report_only": True}):
        with pytest.raises(FileExistsError, match="no comparison's folder"):
            load("compare", **options).run()
    assert (tmp_path / "out" / "compare.md").read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="holds no comparison"):
        load("compare", **grid | {"report_only": True, "output": "nothing"}).run()


def test_a_killed_comparison_continues_to_the_same_numbers(grid: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "toolkit.run", "recipe=compare"]
    with subprocess.Popen([*command, *as_options(grid)], stdout=subprocess.DEVNULL) as killed:
        limit = time.monotonic() + 240
        while not done() and time.monotonic() < limit:
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
    assert len(done()) < 3
    assert not Path("out", "compare.json").exists()
    subprocess.run([*command, *as_options(grid)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*command, *as_options(grid | {"output": "undisturbed"})], check=True, stdout=subprocess.DEVNULL)
    assert scores() == scores("undisturbed")


def test_a_cell_that_fails_is_reported_and_leaves_the_others_alone(
    grid: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    grid["methods"][0] = {"name": "odd", "recipe": "layer_dropping", "options": {"model.keep": 7}}
    with pytest.raises(SystemExit) as ended:
        run.main(["recipe=compare", *as_options(grid)])
    assert ended.value.code == 1
    assert [method for method, _, _ in scores()] == ["fine_tuning", "half"]
    failures = json.loads(Path("out", "compare.json").read_text())["failures"]
    assert [(failure["method"], failure["task"], failure["seed"]) for failure in failures] == [
        ("odd", "synthetic_sentiment", 0)
    ]
    assert "keep" in failures[0]["reason"]
    assert failures[0]["reason"] in " ".join(capsys.readouterr().out.split())


def test_stored_networks_are_compared_from_the_command_line_and_in_code(
    grid: dict[str, Any], tiny_network: Path
) -> None:
    dense = load(
        "fine_tuning", output="dense", data=grid["data"] | {"task": "synthetic_sentiment"}, model=grid["model"],
        trainer=grid["trainer"] | {"max_epochs": 1}, timing={"seconds": 0},
    ).run()  # fmt: skip
    swapped = storage.load("dense/model")
    layer = swapped.classifier
    layer.weight.data, layer.bias.data = layer.weight.data.flip(0), layer.bias.data.flip(0)
    swapped.config.id2label = dict(enumerate(reversed(swapped.config.id2label.values())))
    swapped.config.label2id = {label: row for row, label in swapped.config.id2label.items()}
    swapped.save_pretrained("swapped")
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained("swapped")

    run.main(["recipe=compare", *as_options(grid | {"methods": ["./swapped", "./dense/model"]})])
    found = scores()
    expected = dense.rows[0].scores
    assert found["./swapped", "synthetic_sentiment", 0] == expected
    assert found["./dense/model", "synthetic_sentiment", 0] == expected

    assert evaluate("swapped", "synthetic_sentiment", **grid["data"]).scores() == expected
    in_memory = storage.load("swapped")
    assert evaluate(in_memory, "synthetic_sentiment", **grid["data"]).scores() == expected
    assert list(in_memory.config.id2label.values()) == list(swapped.config.id2label.values())
    price = cost("swapped", Timing(seconds=0))
    assert price.parameters == sum(weight.numel() for weight in swapped.parameters())
    assert price.latency_ms is None
    networks = {"dense": "dense/model", "swapped": in_memory}
    results = compare(networks, "synthetic_sentiment", timing=Timing(seconds=0.01), resamples=50, **grid["data"])
    assert [test.p_value for test in results.tests] == [1.0] * len(results.tests)
    with pytest.raises(ValueError, match="are not those of synthetic_acceptability"):
        evaluate(in_memory, "synthetic_acceptability", **grid["data"])
    with pytest.raises(ValueError, match="was not fine-tuned on synthetic_acceptability"):
        evaluate("swapped", "synthetic_acceptability", **grid["data"])
