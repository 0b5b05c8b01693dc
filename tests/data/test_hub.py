"""Hub data sets, from local folders of the same form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from toolkit.data.hub import read_hub
from toolkit.data.sources import read_split
from toolkit.tasks import TASKS, Hub, Task


@pytest.fixture(autouse=True)
def _own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.delenv("TOOLKIT_DATA", raising=False)


def local(task: Task, folder: Path, **changes: Any) -> Task:
    """The task, its hub repository replaced by a local folder of the same form."""
    assert task.hub is not None
    return replace(task, hub=replace(task.hub, path=str(folder), **changes))


def write_configuration(folder: Path, name: str, splits: dict[str, Dataset]) -> None:
    """Write what nyu-mll/glue has: a configuration in the card, and one Parquet file for each split."""
    lines = ["---", "configs:", f"- config_name: {name}", "  data_files:"]
    for split, data in splits.items():
        data.to_parquet(folder / name / f"{split}-00000-of-00001.parquet")
        lines += [f"  - split: {split}", f"    path: {name}/{split}-*"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


def test_labels_come_by_name_whatever_their_order(tmp_path: Path) -> None:
    names = ["equivalent", "not_equivalent"]  # the other way round than on the hub
    features = Features({"sentence1": Value("string"), "sentence2": Value("string"), "label": ClassLabel(names=names)})
    data = Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1]}, features=features)
    write_configuration(tmp_path, "mrpc", {"train": data, "validation": data.select([1])})
    task = local(TASKS["mrpc"], tmp_path)
    rows = [
        {"sentence1": "a", "sentence2": "c", "label": "equivalent"},
        {"sentence1": "b", "sentence2": "d", "label": "not_equivalent"},
    ]
    assert read_split(task, "train") == rows
    assert read_split(task, "test") == rows[1:]


def test_scores_are_numbers(tmp_path: Path) -> None:
    data = Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "label": [3.25]})
    write_configuration(tmp_path, "stsb", {"train": data, "validation": data})
    assert read_hub(local(TASKS["stsb"], tmp_path), "train") == [{"sentence1": "a", "sentence2": "b", "label": 3.25}]


@pytest.mark.parametrize("name", ["chunking", "ner"])
def test_parquet_branch_of_a_script_data_set(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    assert task.hub is not None
    names = sorted(task.labels)
    begin = next(label for label in names if label.startswith("B-"))
    tags = [names.index("O"), names.index(begin), names.index(f"I{begin[1:]}")]
    features = Features({"tokens": List(Value("string")), task.hub.label: List(ClassLabel(names=names))})
    for split in ("train", "test"):
        data = Dataset.from_dict({"tokens": [["a", "b", split]], task.hub.label: [tags]}, features=features)
        data.to_parquet(tmp_path / str(task.hub.name) / split / "0000.parquet")
    rows = read_hub(local(task, tmp_path), "test")
    assert rows == [{"words": ["a", "b", "test"], "tags": ["O", begin, f"I{begin[1:]}"]}]


def test_words_of_universal_dependencies_have_a_head(tmp_path: Path) -> None:
    names = ["NOUN", "_", "AUX", "PART", "VERB"]
    features = Features(
        {
            "tokens": List(Value("string")),
            "upos": List(ClassLabel(names=names)),
            "xpos": List(Value("string")),
            "head": List(Value("string")),
        }
    )
    columns = {
        "tokens": [["can't", "ca", "n't", "gone"]],
        "upos": [[1, 2, 3, 4]],
        "xpos": [[None, "MD", "RB", "VBN"]],
        "head": [["None", "0", "1", "None"]],
    }
    Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "en_ewt" / "train" / "0000.parquet")
    assert read_hub(local(TASKS["upos"], tmp_path), "train") == [{"words": ["ca", "n't"], "tags": ["AUX", "PART"]}]
    assert read_hub(local(TASKS["xpos"], tmp_path), "train") == [{"words": ["ca", "n't"], "tags": ["MD", "RB"]}]


def test_own_task_from_the_hub(tmp_path: Path) -> None:
    Dataset.from_dict({"text": ["a", "b"], "topic": [0, 1]}).to_parquet(tmp_path / "train.parquet")
    task = Task(
        name="own",
        kind="classification",
        format="tsv",
        values={"0": "sport", "1": "politics"},
        metrics=("accuracy",),
        hub=Hub(path=str(tmp_path), splits={"train": "train", "test": "train"}, texts=("text",), label="topic"),
    )
    assert read_split(task, "test") == [{"sentence": "a", "label": "sport"}, {"sentence": "b", "label": "politics"}]


def test_own_tagging_task_from_the_hub(tmp_path: Path) -> None:
    Dataset.from_dict({"tokens": [["a", "b"]], "tags": [["N", "V"]]}).to_parquet(tmp_path / "train.parquet")
    hub = Hub(path=str(tmp_path), splits={"train": "train", "test": "train"}, texts=("tokens",), label="tags")
    task = Task(name="own", kind="tagging", format="conll", metrics=("accuracy",), hub=hub)
    assert read_split(task, "train") == [{"words": ["a", "b"], "tags": ["N", "V"]}]


def test_hidden_and_unknown_labels_are_errors(tmp_path: Path) -> None:
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["negative", "positive"])})
    data = Dataset.from_dict({"sentence": ["a", "b"], "label": [1, -1]}, features=features)
    write_configuration(tmp_path, "sst2", {"train": data})
    task = local(TASKS["sst2"], tmp_path)
    with pytest.raises(ValueError, match=r"split train, row 1: unknown label '-1'"):
        read_hub(task, "train")
    with pytest.raises(ValueError, match=r"no column 'text'; there are: sentence, label"):
        read_hub(local(TASKS["sst2"], tmp_path, texts=("text",)), "train")
    with pytest.raises(ValueError, match="no split 'dev' on the hub"):
        read_hub(task, "dev")
    with pytest.raises(ValueError, match=r"is not on the hub; set data\.root"):
        read_hub(replace(task, hub=None), "train")


@pytest.mark.parametrize("name", ["sst2", "ner"])
def test_no_connection_is_one_line_with_the_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What `datasets` does without a network, at once instead of after its retries.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=r"the hub cannot be reached.*set data\.root or TOOLKIT_DATA") as error:
        read_split(TASKS[name], "train")
    assert "\n" not in str(error.value)


def test_data_set_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"was not found on the hub; set data\.root"):
        read_hub(local(TASKS["ner"], tmp_path / "empty"), "train")
