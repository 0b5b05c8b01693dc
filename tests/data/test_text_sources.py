"""Text from files, from the sentences of tasks, and from data sets of text."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from toolkit.data import TaskData, Text
from toolkit.data.text_sources import TextSet, hub_texts, task_texts
from toolkit.tasks import Task


@pytest.fixture(autouse=True)
def _own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.delenv("TOOLKIT_DATA", raising=False)


def column(file: Path, name: str) -> list[str]:
    """One column of a file of GLUE, read without the toolkit."""
    header, *rows = file.read_text(encoding="utf-8-sig").split("\n")
    place = header.split("\t").index(name)
    return [row.split("\t")[place] for row in rows if row]


def test_both_texts_of_a_pair_come_once_and_only_those_of_training(tiny_data: Path) -> None:
    texts = task_texts(["mrpc", "sst2"], tiny_data)
    assert len(texts) == len(set(texts))
    files = {task: tiny_data / "glue" / task / "train.tsv" for task in ("MRPC", "SST-2")}
    everything = {
        *column(files["MRPC"], "#1 String"),
        *column(files["MRPC"], "#2 String"),
        *column(files["SST-2"], "sentence"),
    }
    assert set(texts) < everything
    trained = {
        text
        for task in ("mrpc", "sst2")
        for row in TaskData(task, root=tiny_data).sentences("train")
        for key, text in row.items()
        if key != "label"
    }
    assert set(texts) == trained
    assert len(everything) > len(trained)  # What is held out as dev stays out.


def test_words_of_a_tagging_task_are_joined() -> None:
    texts = task_texts(["synthetic_pos"], size=50)
    assert set(texts) == {" ".join(row["words"]) for row in TaskData("synthetic_pos", size=50).sentences("train")}


def test_sentences_of_the_judged_sets_are_never_read() -> None:
    texts = set(task_texts(["synthetic_sentiment"], size=300))
    data = TaskData("synthetic_sentiment", size=300)
    assert len(texts) == 270
    for split in ("dev", "test"):
        assert not texts & {row["sentence"] for row in data.sentences(split)}


def test_column_of_a_data_set(tmp_path: Path) -> None:
    rows = {"content": ["a cat\n\na dog", " ", "a man"], "number": [1, 2, 3]}
    datasets.Dataset.from_dict(rows).to_json(tmp_path / "set" / "train.jsonl")
    folder = str(tmp_path / "set")
    assert hub_texts(TextSet(path=folder, column="content")) == ["a cat", "a dog", "a man"]
    with pytest.raises(ValueError, match=r"no column 'text'; set data\.hub\.column to one of content, number"):
        hub_texts(TextSet(path=folder))
    with pytest.raises(ValueError, match="holds other things than text"):
        hub_texts(TextSet(path=folder, column="number"))


def test_sources_add_up(tmp_path: Path, tiny_network: Path) -> None:
    (tmp_path / "file.txt").write_text("the film is good\n\nthe book is bad\n")
    datasets.Dataset.from_dict({"text": ["she reads"]}).to_json(tmp_path / "set" / "train.jsonl")
    data = Text(
        [tmp_path / "file.txt"],
        sentences_of=["synthetic_sentiment"],
        hub=TextSet(path=str(tmp_path / "set")),
        size=30,
        network=str(tiny_network),
        max_length=128,
    )
    assert len(data.split("train")) + len(data.split("dev")) == 2 + 27 + 1


def test_unknown_task_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match=r"unknown task 'sst3'; did you mean sst2"):
        Text(sentences_of=["sst3"])


def test_a_task_of_ones_own_has_sentences_too(tmp_path: Path) -> None:
    for name in ("train.tsv", "test.tsv"):
        (tmp_path / name).write_text("text\ttopic\n" + "".join(f"{name} {row}\tsport\n" for row in range(20)))
    task = Task(
        name="topic", kind="classification", format="tsv", texts=("text",), label="topic", metrics=("accuracy",),
        files={"train": "train.tsv", "test": "test.tsv"}, labels=("sport", "other"),
    )  # fmt: skip
    texts = task_texts([task], tmp_path)
    assert set(texts) < {f"train.tsv {row}" for row in range(20)}
    assert Text(sentences_of=[task], root=tmp_path).sentences_of == [task]
