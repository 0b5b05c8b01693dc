"""Options from anywhere, through every door: nothing is imported or run but Lightning's own classes."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit import cli, run
from toolkit.options.command_line import Resolving, command_line
from toolkit.recipe import load

MARK = "EXECUTED"
EVIL = f"import pathlib\npathlib.Path({MARK!r}).touch()\nfrom lightning import Callback\nclass Evil(Callback): pass\n"
# What a class path may not lead to, and arguments that it would be called with.
PATHS: dict[str, dict[str, Any]] = {
    "os.system": {"command": f"touch {MARK}"},
    "subprocess.Popen": {"args": ["touch", MARK]},
    "subprocess.getoutput": {"cmd": f"touch {MARK}"},
    "builtins.eval": {"source": f"open({MARK!r}, 'w')"},
    "lightning.pytorch.callbacks.LambdaCallback": {"setup": "os.system"},
    "lightning.pytorch.callbacks.model_checkpoint.os.system": {"command": f"touch {MARK}"},
    "toolkit.runs.folder.os.system": {"command": f"touch {MARK}"},
    "toolkit.data.Text": {"files": ["x"]},
    "evil.Evil": {},
}
KEYS = ("callbacks", "logger", "plugins", "strategy", "profiler", "accelerator")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, from which Python imports, with a module that says when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("TOOLKIT_CLASSES", raising=False)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    Path("evil.py").write_text(EVIL)


def first(recipe: str, options: dict[str, Any]) -> None:
    run.main([f"recipe={recipe}", *(f"{key}={json.dumps(value)}" for key, value in options.items())])


def second(recipe: str, options: dict[str, Any]) -> None:
    nested: dict[str, Any] = {"recipe": recipe}
    for key, value in options.items():
        group, _, name = key.partition(".")
        nested.setdefault(group, {}).update({name: value}) if name else nested.update({group: value})
    Path("mine.yaml").write_text(yaml.safe_dump(nested))
    cli.main(["fit", "--config", "mine.yaml"])


def third(recipe: str, options: dict[str, Any]) -> None:
    load(recipe, **options).run()


doors = pytest.mark.parametrize("door", [first, second, third])
Door = Callable[[str, dict[str, Any]], None]


@doors
@pytest.mark.parametrize("path", PATHS)
def test_class_paths_run_nothing(door: Door, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"class_path": path, "init_args": PATHS[path]}
    with pytest.raises((ValueError, SystemExit)) as refused:
        door("fine_tuning", {"trainer.callbacks": [given]})
    said = str(refused.value) if door is third else capsys.readouterr().err
    assert " is not imported: options name only Lightning's own" in said
    assert "list its module in the environment variable TOOLKIT_CLASSES" in said
    assert not Path(MARK).exists()


@pytest.mark.parametrize(
    "function",
    ["os.system", "toolkit.cli.main", "toolkit.files.writing.write_text", "toolkit.tasks.Task._error",
     "toolkit.evaluation.report.Report.read", "toolkit.recipe.load", "recipes.fine_tuning.FineTuningRecipe",
     "recipes.fine_tuning.FineTuningRecipe.run", "toolkit.data.text_sources.datasets.load_dataset"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("callback", "key"), [("BackboneFinetuning", "lambda_func"), ("ThroughputMonitor", "batch_size_fn")]
)
def test_functions_are_no_options(function: str, callback: str, key: str) -> None:
    given = {"class_path": f"lightning.pytorch.callbacks.{callback}", "init_args": {key: function}}
    with pytest.raises(ValueError, match=re.escape(f"{function} is not imported")):
        Resolving("fine_tuning", [f"--trainer.callbacks=[{json.dumps(given)}]"])


def test_the_types_of_options_are_found_by_their_paths() -> None:
    task = {"name": "own", "kind": "classification", "format": "tsv", "metrics": ["accuracy"], "texts": ["text"],
            "label": "label", "files": {"train": "x", "test": "x"}}  # fmt: skip
    stages = [{"recipe": "fine_tuning", "name": "first"}]
    assert len(load("pipeline", stages=stages).stages) == 1
    for given in (task, {"class_path": "toolkit.tasks.Task", "init_args": task}):
        assert "name: own" in Resolving("fine_tuning", [f"--data.task={json.dumps(given)}"]).resolved()


@pytest.mark.parametrize("words", [["=evil.Evil"], [".class_path=evil.Evil"], ["+=evil.Evil"], ["=[evil.Evil]"]])
def test_other_forms_of_a_class_path(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"evil.Evil is not imported"):
        Resolving("fine_tuning", [f"--trainer.callbacks{word}" for word in words])
    assert not Path(MARK).exists()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("path", ["os.system", "evil.Evil"])
def test_no_part_of_a_trainer_runs_what_it_is_given(key: str, path: str) -> None:
    with pytest.raises(ValueError, match=f"{path} is not imported"):
        load("fine_tuning", **{f"trainer.{key}": {"class_path": path, "init_args": PATHS[path]}})
    assert not Path(MARK).exists()


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("compare", {"methods": ["layer_dropping"], "tasks": ["synthetic_sentiment"], "data": {"root": "GIVEN"}}),
        ("compare", {"methods": [{"recipe": "layer_dropping", "options": {"trainer.callbacks": "GIVEN"}}],
                     "tasks": ["synthetic_sentiment"]}),
        ("compare", {"methods": ["layer_dropping"], "tasks": ["synthetic_pos"], "trainer": {"callbacks": "GIVEN"}}),
        ("pipeline", {"stages": [{"recipe": "layer_dropping", "options": {"trainer.callbacks": "GIVEN"}}]}),
        ("pipeline", {"stages": [{"recipe": "layer_dropping"}], "trainer": {"callbacks": ["GIVEN"]}}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["subprocess.getoutput", "evil.Evil"])
def test_grids_and_stages_run_nothing(recipe: str, options: dict[str, Any], path: str) -> None:
    given = {"class_path": path, "init_args": PATHS[path]}
    with pytest.raises(ValueError, match=f"{path}|data.root|trainer.callbacks"):
        load(recipe, **json.loads(json.dumps(options).replace('"GIVEN"', json.dumps(given)))).run()
    assert not Path(MARK).exists()


def test_classes_of_lightning_and_of_modules_that_the_user_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "loss"}}
    Resolving("fine_tuning", [f"--trainer.callbacks=[{json.dumps(stopping)}]"])
    Path(MARK).unlink(missing_ok=True)
    monkeypatch.setenv("TOOLKIT_CLASSES", "other, evil")
    Resolving("fine_tuning", ["--trainer.callbacks=evil.Evil"])
    assert Path(MARK).exists()
    with pytest.raises(ValueError, match="does not correspond to a subclass of Logger"):
        Resolving("fine_tuning", ["--trainer.logger.class_path=evil.Evil"])
    monkeypatch.setenv("TOOLKIT_CLASSES", "my module")
    with pytest.raises(ValueError, match="TOOLKIT_CLASSES lists 'my module'; give names of modules"):
        Resolving("fine_tuning", [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system ['touch EXECUTED']", "line 2: could not determine a constructor"),
        ("model: !!python/name:os.system", "line 2: could not determine a constructor"),
        ("output: a\noutput: b", "line 3: the key 'output' is given twice"),
        ("a: &a [x, x]\nb: &b [" + "*a," * 400 + "]\nc: [" + "*b," * 400 + "]", "more than 100,000 values"),
        ("a: &a {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1 or ''},*a{n - 1 or ''}]}}\n" for n in range(1, 40)),
         "more than 100,000 values"),
        ("a: &a [" + "lightning.pytorch.callbacks.Timer," * 60 + "]\nb: [*a]", "or 100 classes"),
        ("a: &a {x: *a}", "line 2: the alias \\*a stands within what it refers to"),
        ("model: " + "[" * 10_000, "line 2: more than 50 mappings and lists"),
        ("model: " + "x" * 2_000_000, "characters are more than options need"),
        ("seed_everything: " + "9" * 5000, "4300"),
        ("model: \x00", "control characters are not allowed"),
        ("---\nrecipe: fine_tuning", "another document"),
    ],
)  # fmt: skip
def test_files_of_options_with_traps(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(f"recipe: fine_tuning\n{text}\n")
    for read in (
        lambda: run.main(["recipe=fine_tuning", "config=mine.yaml"]),
        lambda: cli.main(["fit", "--config=mine.yaml"]),
    ):
        with pytest.raises(SystemExit):
            read()
        said = capsys.readouterr().err
        assert said.startswith("error: mine.yaml: ")
        assert re.search(message, said)
    with pytest.raises(ValueError, match=message):
        command_line("compare", ["--config=mine.yaml"])
    assert not Path(MARK).exists()


def test_bytes_that_are_no_utf8_are_named_by_their_line() -> None:
    Path("mine.yaml").write_bytes(b"recipe: fine_tuning\noutput: \xed\xa0\x80\n")
    with pytest.raises(ValueError, match=r"mine.yaml, line 2: byte 0xed is not UTF-8"):
        Resolving("fine_tuning", ["--config=mine.yaml"])


@pytest.mark.parametrize(
    ("recipe", "key"),
    [("compare", "budget"), ("fine_tuning", "model"), ("fine_tuning", "model.training"), ("fine_tuning", "timing")],
)
def test_a_group_without_options_is_named(recipe: str, key: str) -> None:
    group, _, name = key.partition(".")
    Path("mine.yaml").write_text(yaml.safe_dump({group: {name: None} if name else None}))
    given = ["--methods=[layer_dropping]", "--tasks=[sst2]"] if recipe == "compare" else []
    with pytest.raises(ValueError, match=f"^{key} is empty; give options of it"):
        command_line(recipe, ["--config=mine.yaml", *given])


def test_a_checkpoint_is_read_without_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--weights_only=false", "--ckpt_path=x.ckpt"], "would run whatever code"),
        (["--ckpt_path=https://example.org/x.ckpt"], "on another machine"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["test", "--recipe=fine_tuning", *words])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../outside", "/etc/x", "a/b", ".hidden", "", "x\x00", "-x"])
def test_names_that_would_lead_out_of_a_folder(name: str) -> None:
    task = {"name": name, "kind": "tagging", "format": "conll", "metrics": ["accuracy"], "texts": ["0"], "label": "1",
            "files": {"train": "x", "test": "x"}}  # fmt: skip
    with pytest.raises(ValueError, match="a name has letters, digits"):
        load("fine_tuning", **{"data.task": task})
    if name:
        with pytest.raises(ValueError, match="a name has letters, digits"):
            load("pipeline", stages=[{"recipe": "fine_tuning", "name": name}]).run()


@pytest.mark.parametrize(
    "folder", ["x/{seed.__class__}", "x/{task.foo}", "x/{0}", "x/{}", "x/{seed!r}", "x/{task:>9999999999}", "x/{"]
)
def test_templates_of_folders_give_task_and_seed_only(folder: str) -> None:
    with pytest.raises(ValueError, match="braces that stand for nothing"):
        load("compare", methods=[folder], tasks=["synthetic_sentiment"]).run()


def test_the_settings_of_other_command_lines_stay() -> None:
    from jsonargparse import ArgumentParser
    from lightning.pytorch.callbacks import Callback

    Resolving("fine_tuning", [])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--own", type=Callback)
    assert parser.parse_args(["--own=evil.Evil"]).own.class_path == "evil.Evil"
    assert Path(MARK).exists()
