"""The data of labelled tasks, from the file to the batch."""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import load_from_disk
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

import toolkit.data.task_data
from toolkit.data import TaskData
from toolkit.data.sources import read_split
from toolkit.tasks import TASKS, Task

REAL = [name for name, task in TASKS.items() if task.format != "synthetic"]
# xpos has many rare tags, which the tiny tree has not; everything else is the same task after task.
KINDS = ["sst2", "mrpc", "stsb", "mnli", "upos", "chunking", "synthetic_entities"]


@pytest.fixture
def make(tiny_network: Path, tiny_data: Path, tmp_path: Path) -> Any:
    """Make the data of a task from the tiny tree, with the tiny tokenizer and a cache of its own."""

    def make(task: str | Task, **options: Any) -> TaskData:
        defaults: dict[str, Any] = {"network": str(tiny_network), "root": tiny_data, "cache": tmp_path / "cache"}
        return TaskData(task, **(defaults | {"batch_size": 8, "size": 60} | options))

    return make


@pytest.mark.parametrize("name", REAL)
def test_every_row_of_every_real_task_is_in_one_split(name: str, data_root: Path) -> None:
    data = TaskData(name, root=data_root)
    task = data.task
    train, dev = data.sentences("train"), data.sentences("dev")
    if "dev" in task.files:
        assert train == read_split(task, "train", data_root)
        assert dev == read_split(task, "dev", data_root)
    else:
        whole = read_split(task, "train", data_root)
        assert Counter(map(repr, train + dev)) == Counter(map(repr, whole))
        assert len(dev) == round(0.1 * len(whole))
    for split in data.splits:
        assert data.sentences(split) == read_split(task, split, data_root)
    assert data.splits == (("test", "test_mismatched") if name == "mnli" else ("test",))


@pytest.mark.parametrize("name", KINDS)
def test_batches_are_what_a_network_takes(name: str, make: Any, tiny_network: Path) -> None:
    data = make(name)
    auto = AutoModelForTokenClassification if data.task.kind == "tagging" else AutoModelForSequenceClassification
    network = auto.from_pretrained(tiny_network, num_labels=data.task.num_labels).eval()
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.keys() == {"input_ids", "attention_mask", "token_type_ids", "labels", "index"}
    rows, tokens = batch["input_ids"].shape
    assert rows == 8
    assert batch["attention_mask"].sum(1).max() == tokens  # no more padding than the longest row needs
    shape, kind = {
        "classification": ((rows,), torch.int64),
        "regression": ((rows,), torch.float32),
        "tagging": ((rows, tokens), torch.int64),
    }[data.task.kind]
    assert batch["labels"].shape == shape
    assert batch["labels"].dtype == kind
    assert batch["index"].dtype == torch.int64
    index = batch.pop("index")
    assert network(**batch).loss.isfinite()
    sentences = data.sentences("train")
    for row, number in enumerate(index.tolist()):
        if data.task.kind == "tagging":
            labels = [data.task.labels[label] for label in batch["labels"][row] if label != -100]
            assert labels == sentences[number]["tags"]
        elif data.task.kind == "classification":
            assert data.task.labels[batch["labels"][row]] == sentences[number]["label"]
        else:
            assert batch["labels"][row].item() == pytest.approx(sentences[number]["label"])


def test_loaders_of_every_split(make: Any) -> None:
    data = make("mnli")
    loaders = data.test_dataloader()
    assert [len(loader.dataset) for loader in loaders] == [12, 10]
    assert len(data.predict_dataloader()) == 2
    assert len(data.val_dataloader().dataset) == len(data.sentences("dev")) == 4
    judged = torch.cat([batch["index"] for batch in data.loader("train")])
    assert sorted(judged.tolist()) == list(range(36))
    with pytest.raises(ValueError, match="no split 'validation'; there are: train, dev, test, test_mismatched"):
        data.loader("validation")


@pytest.mark.parametrize("name", ["sst2", "upos"])
def test_shares_have_every_row_once_and_mark_special_tokens(name: str, make: Any) -> None:
    data = make(name, eval_batch_size=4)
    batches = [batch for rank in range(3) for batch in data.share("train", rank, 3)]
    assert sorted(torch.cat([batch["index"] for batch in batches]).tolist()) == list(range(len(data.split("train"))))
    inputs = next(iter(data.loader("train"))).keys()
    for batch in batches:
        assert batch.keys() - inputs == {"special_tokens_mask"}
        ends = batch["attention_mask"].sum(1) - 1  # of [CLS] … [SEP] and padding
        places = torch.arange(batch["input_ids"].shape[1])
        assert torch.equal(batch["special_tokens_mask"].bool(), (places == 0) | (places >= ends[:, None]))


def test_fingerprint_is_of_the_rows_and_what_encodes_them(make: Any) -> None:
    data = make("upos")
    prints = [data.fingerprint(split) for split in ("train", "dev", "test")]
    assert len(set(prints)) == 3
    assert make("upos", batch_size=3).fingerprint("dev") == prints[1]
    assert prints[1] not in {
        make("upos", **change).fingerprint("dev") for change in ({"max_length": 9}, {"limit_eval": 2})
    }


@pytest.mark.parametrize("name", ["sst2", "stsb", "ner", "synthetic_sentiment"])
def test_limits_are_seeded_and_do_not_touch_dev(name: str, make: Any) -> None:
    whole, limited = make(name), make(name, limit_train=10)
    assert len(limited.sentences("train")) == 10
    rows = [repr(row) for row in whole.sentences("train")]
    assert all(repr(row) in rows for row in limited.sentences("train"))
    assert limited.sentences("dev") == whole.sentences("dev")
    assert limited.sentences("test") == whole.sentences("test")
    assert make(name, limit_train=10).sentences("train") == limited.sentences("train")
    assert make(name, limit_train=10, split_seed=1).sentences("train") != limited.sentences("train")
    few = make(name, limit_eval=3)
    assert (len(few.sentences("dev")), len(few.sentences("test"))) == (3, 3)
    assert few.sentences("train") == whole.sentences("train")


def test_limit_is_stratified(make: Any) -> None:
    data = make("synthetic_entailment", size=200, limit_train=30)
    counts = Counter(row["label"] for row in data.sentences("train"))
    assert sum(counts.values()) == 30
    assert all(9 <= count <= 11 for count in counts.values())


def test_official_dev_is_the_judged_set_and_leaves_all_of_train(make: Any) -> None:
    data = make("sst2", dev="official")
    assert data.sentences("dev") == data.sentences("test")
    assert len(data.sentences("train")) == 40
    assert data.dev_is_judged
    assert not make("sst2").dev_is_judged
    assert not make("ner", dev="official").dev_is_judged
    assert make("ner", dev="official").sentences("dev") == make("ner").sentences("dev") != make("ner").sentences("test")


def test_split_ignores_the_seed_of_the_run(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make("sst2").sentences("dev")
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    torch.manual_seed(5)
    assert make("sst2").sentences("dev") == before
    assert make("sst2").train_dataloader().sampler.seed == 5


def own(folder: Path, train: list[str], test: list[str], **changes: Any) -> Task:
    for split, lines in (("train", train), ("test", test)):
        (folder / f"{split}.tsv").write_text("\n".join(["text\ttopic", *lines]))
    task = Task(
        name="own topic+1",
        kind="classification",
        format="tsv",
        texts=("text",),
        label="topic",
        files={"train": "train.tsv", "test": "test.tsv"},
        metrics=("accuracy",),
    )
    return replace(task, **changes)


def test_labels_of_an_own_task_are_those_of_its_training_file(make: Any, tmp_path: Path) -> None:
    rows = [f"text {number}\t{label}" for number in range(5) for label in ("z", "a", "m")]
    data = make(own(tmp_path, rows, rows[:3]), root=tmp_path)
    assert data.task.labels == ("a", "m", "z")
    assert data.task.num_labels == 3
    assert data.split("test")["labels"][:] == [2, 0, 1]
    unknown = make(own(tmp_path, rows, ["text\tb"]), root=tmp_path)
    with pytest.raises(ValueError, match=r"test\.tsv, line 2: unknown label 'b'.*knows a, m, z"):
        unknown.sentences("test")


def test_order_of_labels_is_that_of_their_names(make: Any, tmp_path: Path) -> None:
    rows = [f"text {number}\t{label}" for number in range(5) for label in ("a", "b")]
    data = make(own(tmp_path, rows, rows, labels=("b", "a")), root=tmp_path)
    assert data.split("test")["labels"][:2] == [1, 0]


def test_tag_that_training_lacks_is_an_output_behind_the_others(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split, tags in (("train", "O B-x I-x"), ("test", "B-a I-a O")):
        lines = [f"word {tag}" for tag in tags.split()]
        (tmp_path / f"{split}.txt").write_text("\n".join([*lines, "", *lines]))
    (tmp_path / "dev.txt").write_text("word B-y\n\nword O\n")
    files = {"train": "train.txt", "test": "test.txt", "dev": "dev.txt"}  # In any order.
    task = replace(TASKS["ner"], name="own", labels=(), files=files, hub=None)
    data = make(task, root=tmp_path)
    with caplog.at_level(logging.WARNING):
        assert data.task.labels == ("B-x", "I-x", "O", "B-y", "B-a", "I-a")
    assert "split 'test' has tags that training lacks (B-a, I-a)" in caplog.text
    labels = [label for batch in data.test_dataloader() for label in batch["labels"].flatten().tolist()]
    assert Counter(labels)[data.task.labels.index("I-a")] == 2


def test_chunking_counts_the_tag_that_only_its_test_file_has(data_root: Path) -> None:
    data = TaskData("chunking", root=data_root)
    train = {tag for split in ("train", "dev") for row in data.sentences(split) for tag in row["tags"]}
    test = {tag for row in data.sentences("test") for tag in row["tags"]}
    assert "I-LST" in test - train
    assert test | train <= set(data.task.labels)


def test_lost_words_are_warned_of_and_kept(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    data = make("upos", max_length=8)
    with caplog.at_level(logging.WARNING):
        rows = torch.arange(len(data.split("test")))
        lost = data.lost_labels("test", rows)
        data.lost_labels("test", rows)
    words = sum(len(row["words"]) for row in data.sentences("test"))
    kept = sum(int((batch["labels"] != -100).sum()) for batch in data.test_dataloader())
    missing = int((lost != -100).sum())
    assert missing == words - kept > 0
    assert caplog.text.count(f"split 'test': {missing} words stand behind data.max_length=8 tokens") == 1
    assert lost.dtype == torch.int64
    row = int((lost != -100).any(1).nonzero()[0])
    tags = [data.task.labels.index(tag) for tag in data.sentences("test")[row]["tags"]]
    left = int((lost[row] != -100).sum())
    assert data.lost_labels("test", torch.tensor([row])).tolist() == [tags[-left:]]
    assert make("upos").lost_labels("test", torch.tensor([0])).shape == (1, 0)


def test_splits_are_tokenised_once(make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = make("sst2")
    data.prepare_data()
    assert {path.name.split("-")[1] for path in (tmp_path / "cache").glob("[!.]*")} == {"train", "dev", "test"}
    monkeypatch.setattr(toolkit.data.task_data, "encode", None)  # a second encoding would fail
    again = make("sst2", batch_size=4, num_workers=0)
    again.setup()
    assert again.split("train")[:] == data.split("train")[:]


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 9},
        {"word_label": "first"},
        {"limit_eval": 5},
        {"task": replace(TASKS["chunking"], labels=tuple(reversed(TASKS["chunking"].labels)))},
    ],
)
def test_what_changes_the_tokens_has_an_entry_of_its_own(change: dict[str, Any], make: Any, tmp_path: Path) -> None:
    make("chunking").split("test")
    make("chunking", eval_batch_size=3).split("test")
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 1
    make(change.get("task", "chunking"), **{key: value for key, value in change.items() if key != "task"}).split("test")
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 2


def test_changed_file_is_read_again(make: Any, tmp_path: Path) -> None:
    rows = [f"text {number}\t{label}" for number in range(5) for label in ("a", "b")]
    assert len(make(own(tmp_path, rows, rows), root=tmp_path).split("test")) == 10
    assert len(make(own(tmp_path, rows, rows[:4]), root=tmp_path).split("test")) == 4


def test_tokenizer_is_part_of_the_entry(make: Any, tiny_network: Path, tmp_path: Path) -> None:
    make("sst2").split("test")
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    tokenizer.add_tokens(["cat"])
    tokenizer.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_bytes((tiny_network / "config.json").read_bytes())
    make("sst2", network=str(tmp_path / "other")).split("test")
    entries = list((tmp_path / "cache").glob("[!.]*"))
    assert len(entries) == 2
    assert all(len(load_from_disk(str(entry))) == 12 for entry in entries)


def test_task_is_known_without_a_tokenizer(tiny_data: Path) -> None:
    data = TaskData("xpos", network="there/is-no-such-network", root=tiny_data)
    assert data.task.labels == ("MD", "NN", "RB")
    assert data.task.num_labels == 3


def test_data_module_can_be_sent_to_another_process(make: Any) -> None:
    data = make("sst2")
    data.setup("fit")
    assert pickle.loads(pickle.dumps(data)).sentences("dev") == data.sentences("dev")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "sst3"}, "unknown task 'sst3'; did you mean sst2"),
        ({"batch_size": 0}, r"data\.batch_size is 0"),
        ({"limit_train": 0}, r"data\.limit_train is 0"),
        ({"dev_fraction": 1.0}, r"data\.dev_fraction is 1\.0, but must lie between 0 and 1"),
        ({"dev": "oficial"}, r"data\.dev is 'oficial'"),
        ({"word_label": "all"}, r"data\.word_label is 'all'"),
    ],
)
def test_impossible_options_are_errors_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaskData(**options)
