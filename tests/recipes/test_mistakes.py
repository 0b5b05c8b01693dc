"""What the doors say of a mistake: the culprit and the remedy in a line, before anything is written."""

from pathlib import Path
from typing import Any

import pytest

from toolkit import cli, run
from toolkit.options.words import as_options
from toolkit.tasks import find_task


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipe=proximal_prunning"], "did you mean proximal_pruning?"),
        (["recipe=fine_tuning", "model.sparsity=0.5"], "no option model.sparsity"),
        (["recipe=proximal_pruning", "model.sparsty=0.5"], "did you mean model.sparsity?"),
        (["recipe=proximal_pruning", "model.learning_rate=1"], "did you mean model.training.learning_rate?"),
        (["recipe=proximal_pruning", "trainer.max_epoch=1"], "did you mean trainer.max_epochs?"),
        (["recipe=magnitude_pruning", "model.scope=globl"], "one of global, layer, row; did you mean global?"),
        (["recipe=proximal_pruning", "model.sparsity=much"], "model.sparsity"),
        (["recipe=proximal_pruning", "model.sparsity=1.5"], "[0, 1)"),
        (["recipe=proximal_pruning", "model.metric=l2"], "model.metric"),
        (["recipe=proximal_pruning", "data.task=sst3"], "did you mean sst2?"),
        (["recipe=proximal_pruning", "model.network=no/such/folder/at/all"], "no/such/folder"),
        (["recipe=magnitude_pruning", "reference=nowhere"], "reference=nowhere"),
        (["recipe=fine_tuning", "model.distillation.teacher=nowhere/at/all"], "nowhere/at/all"),
        (["recipe=fine_tuning", "trainer.enable_checkpointing=false"], "ModelCheckpoint"),
        (["recipe=neuron_selection", "data.task=sst2", "data.dev=official"], "the very set that they are judged on"),
        (
            ["recipe=neuron_selection", "data.task=sst2", "data.dev=official", "model.selection.faithful=true"],
            "leave it out",
        ),
        (["recipe=neuron_selection", "model.selection.delta=2"], "selection.delta"),
        (
            ["recipe=layer_dropping", "data.task=sst2", "data.dev=official", "model.score=probe"],
            "layers on the very set that they are judged on",
        ),
        (["recipe=layer_dropping", "model.keep=9"], "model.keep is 9"),
        (["recipe=layer_dropping", "model.keep=two"], "model.keep is 'two', but must be a whole number or null"),
        (["recipe=fine_tuning", "data.batch_size=1.5"], "data.batch_size is '1.5', but must be a whole number"),
        (["recipe=proximal_pruning", "model.exponent=up"], "is 'up', but must be rising or a number"),
        (["recipe=proximal_pruning", "model.exponent=rising"], "Give model.reweight_interval=50 or so."),
        (["recipe=proximal_pruning", "model.sparsity=80"], "but got 80.0; for 80 % give 0.8."),
        (["verbose"], "'verbose' is no option"),
        (["proximal_pruning"], "did you mean recipe=proximal_pruning?"),
        (["data.task=sst2"], "begin with recipe=NAME"),
    ],
)
def test_mistakes_are_named_with_their_remedy(
    words: list[str], message: str, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {key.split("=")[0] for key in words}
    shared = [f"--{key}={value}" for key, value in small.items() if key not in kept] if len(words) > 1 else []
    with pytest.raises(SystemExit) as ended:
        run.main([*words[:1], *shared, *words[1:]])
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    assert message in said
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resamples=0"], "resamples is 0, but must be at least 1."),
        (["engine.gpus=-1"], "engine.gpus is -1, but must not be negative."),
        (["engine.workers=slurm", "engine.minutes=0"], "engine.minutes is 0, but must be at least 1."),
        (["engine.workers=ray"], "engine.workers=ray needs the package ray; install the extra [ray]."),
    ],
)
def test_mistakes_of_a_comparison_are_named_before_any_cell_runs(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("toolkit.comparison.engine.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        run.main(["recipe=compare", "methods=[layer_dropping]", "tasks=[synthetic_sentiment]", "output=run", *words])
    assert ended.value.code == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == f"error: {message}"
    assert not Path("run").exists()


GOOD_ROWS = "sentence\tlabel\n" + "good film\t1\nbad film\t0\n" * 20
GOOD_WORDS = "the\tO\nJ\tB-person\n\n" * 20


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("sst2", GOOD_ROWS + "bad\n", "train.tsv, line 42: 1 column, but the header has 2"),
        ("sst2", GOOD_ROWS + "bad\t0\t0\n", "train.tsv, line 42: 3 columns"),
        ("sst2", GOOD_ROWS + "odd\t2\n", "train.tsv, line 42: unknown label '2'; task 'sst2' knows 0, 1"),
        ("sst2", "sentence\tlabel\n", "train.tsv: no rows; the split of task 'sst2' is empty"),
        ("sst2", GOOD_ROWS + "\udce9\t1\n", "train.tsv, line 42: byte 0xe9 is not UTF-8"),
        ("ner", GOOD_WORDS + "b\n", "line 61: 'b' has 1 column and so no tag"),
        ("ner", GOOD_WORDS + "b\tI-person\n", "line 61: tag I-person follows"),
    ],
    ids=["short row", "long row", "label", "empty", "no UTF-8", "no tag", "no IOB2"],
)
def test_mistakes_in_files_are_named_with_their_line(
    task: str, content: str, message: str, small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a door, before anything is written."""
    for split, name in find_task(task).files.items():
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        good = GOOD_ROWS if task == "sst2" else GOOD_WORDS
        file.write_bytes((content if split == "train" else good).encode("utf-8", "surrogateescape"))
    options = small | {"data.task": task, "data.root": "data"}
    with pytest.raises(SystemExit) as ended:
        run.main(["recipe=fine_tuning", *as_options({key: options[key] for key in options if key != "data.size"})])
    assert ended.value.code == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not Path("run").exists()


def test_misspelt_key_of_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: proximal_pruning\nmodel: {sparsty: 0.5}\n")
    with pytest.raises(SystemExit):
        cli.main(["fit", "--config", str(file)])
    assert "did you mean model.sparsity?" in capsys.readouterr().err


def test_folder_of_another_run_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run.main(["recipe=fine_tuning", *words])
    report = Path("run/report.json").read_bytes()
    for extra, message in (
        ([], "resume=true"),
        (["resume=true", "data.size=130"], "data.size: 120 there, 130 here"),
    ):
        with pytest.raises(SystemExit):
            run.main(["recipe=fine_tuning", *words, *extra])
        assert message in capsys.readouterr().err
    run.main(["recipe=fine_tuning", *words, "resume=true"])
    assert Path("run/report.json").read_bytes() == report
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("")
    with pytest.raises(SystemExit):
        run.main(["recipe=fine_tuning", *words, "output=mine"])
    assert "no run's folder" in capsys.readouterr().err
    assert [file.name for file in Path("mine").iterdir()] == ["thesis.tex"]
