"""The table of tasks, and tasks of the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from toolkit.data import TaskData
from toolkit.data.synthetic import LABELS
from toolkit.tasks import TASKS, Task, find_task

OWN = Task(
    name="topic",
    kind="classification",
    format="tsv",
    texts=("text",),
    label="topic",
    files={"train": "train.tsv", "test": "test.tsv"},
    metrics=("accuracy",),
)


def test_every_promised_task_is_there() -> None:
    glue = "cola sst2 mrpc stsb qqp mnli qnli rte wnli"
    tagging = "upos xpos chunking ner"
    kinds = "sentiment acceptability paraphrase entailment similarity pos entities"
    assert list(TASKS) == [*glue.split(), *tagging.split(), *(f"synthetic_{kind}" for kind in kinds.split())]


@pytest.mark.parametrize("name", LABELS)
def test_synthetic_labels_are_those_of_the_generator(name: str) -> None:
    assert set(TASKS[name].labels) == set(LABELS[name])


@pytest.mark.parametrize(
    ("name", "metrics"),
    [("cola", "matthews_correlation"), ("mrpc", "accuracy f1"), ("qqp", "accuracy f1"), ("stsb", "pearson spearman")],
)
def test_glue_tasks_have_the_metrics_of_glue(name: str, metrics: str) -> None:
    assert set(metrics.split()) <= set(TASKS[name].metrics)


def test_positive_class_of_f1_is_the_second_label() -> None:
    for task in TASKS.values():
        if "f1" in task.metrics:
            assert task.labels[1] in ("equivalent", "duplicate")


def test_number_of_outputs() -> None:
    assert find_task("stsb").num_labels == 1
    assert find_task("mnli").num_labels == 3
    assert find_task("mnli").judged == ("test", "test_mismatched")
    assert find_task("cola").judged == ("test",)


def test_own_task_is_returned_as_it_is() -> None:
    assert find_task(OWN) is OWN


def test_unknown_task_names_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match=r"unknown task 'mprc'; did you mean mrpc.*there are: cola, sst2"):
        find_task("mprc")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ranking"}, "kind 'ranking' is none of"),
        ({"format": "conll"}, "format 'conll' is none of tsv, synthetic"),
        ({"metrics": ("pearson",)}, "metric 'pearson' must be one of accuracy, f1"),
        ({"metrics": ()}, "metric none given"),
        ({"texts": ("a", "b", "c")}, "3 text columns"),
        ({"labels": ("x", "x")}, "listed twice"),
        ({"labels": ("x", "y"), "values": {"0": "z"}}, "`values` leads to 'z'"),
        ({"labels": ("x", "y", "z"), "metrics": ("f1",)}, "f1 is binary"),
        ({"kind": "regression", "metrics": ("pearson",), "labels": ("x",)}, "a regression has no labels"),
        ({"files": {"train": "train.tsv"}}, "must name a train and a test file"),
        ({"header": False}, "numbers from 0"),
    ],
)
def test_contradictions_are_errors(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        replace(OWN, **change)  # type: ignore[arg-type]
    assert "'topic'" in str(error.value)


def test_task_is_given_as_a_mapping_in_yaml(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        """
data:
  task:
    name: topic
    kind: classification
    format: tsv
    texts: [text]
    label: topic
    files: {train: train.tsv, test: test.tsv}
    values: {"0": sport, "1": politics}
    labels: [politics, sport]
    metrics: [accuracy, f1]
  root: .
""",
        encoding="utf-8",
    )
    for split in ("train", "test"):
        (tmp_path / f"{split}.tsv").write_text("text\ttopic\na\t0\nb\t1\nc\t1\n", encoding="utf-8")
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(TaskData, "data")
    # The method was renamed in jsonargparse 4.49, and the old name warns.
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    data = instantiate(parser.parse_args([f"--config={config}", f"--data.root={tmp_path}"])).data
    assert data.task.labels == ("politics", "sport")
    assert [row["label"] for row in data.sentences("test")] == ["sport", "politics", "politics"]
    by_name = instantiate(parser.parse_args(["--data.task=rte"])).data
    assert by_name.task is TASKS["rte"]
