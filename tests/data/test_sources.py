"""Where the rows of a task come from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.data.sources import SYNTHETIC_TEST, find_file, read_split
from toolkit.tasks import TASKS


def test_root_may_be_the_unpacked_archive(tiny_data: Path) -> None:
    assert find_file(TASKS["rte"], "train", tiny_data / "glue") == tiny_data / "glue" / "RTE" / "train.tsv"
    assert find_file(TASKS["rte"], "train", tiny_data) == tiny_data / "glue" / "RTE" / "train.tsv"


def test_environment_names_the_root_unless_it_is_given(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_data / "glue" / "RTE", tmp_path / "RTE")
    lines = (tmp_path / "RTE" / "dev.tsv").read_text().split("\n")
    (tmp_path / "RTE" / "dev.tsv").write_text("\n".join(lines[:4]))
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path))
    assert len(read_split(TASKS["rte"], "test")) == 3
    assert len(read_split(TASKS["rte"], "test", tiny_data)) == 12


def test_own_task_without_a_root_is_read_from_the_current_folder(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOOLKIT_DATA", raising=False)
    monkeypatch.chdir(tiny_data)
    task = replace(TASKS["rte"], hub=None)
    assert len(read_split(task, "train")) == 40
    absolute = replace(task, files={split: str(tiny_data / file) for split, file in task.files.items()})
    monkeypatch.chdir(tiny_data.parent)
    assert read_split(absolute, "test") == read_split(task, "test", tiny_data)


def test_a_folder_with_some_of_the_files_is_not_mixed_with_the_hub(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOOLKIT_DATA", raising=False)
    monkeypatch.setattr("toolkit.data.sources.read_hub", lambda *_: pytest.fail("the hub was asked"))
    file = tmp_path / TASKS["rte"].files["train"]
    file.parent.mkdir(parents=True)
    shutil.copy(tiny_data / TASKS["rte"].files["train"], file)
    monkeypatch.chdir(tmp_path)
    assert len(read_split(TASKS["rte"], "train")) == 40
    with pytest.raises(FileNotFoundError, match="needed for split 'test'"):
        read_split(TASKS["rte"], "test")


def test_missing_folder_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; set data\.root to a folder with glue"):
        read_split(TASKS["rte"], "train", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"train\.tsv: no such file, needed for split 'train' of task 'rte'"):
        read_split(TASKS["rte"], "train", tmp_path)
    with pytest.raises(FileNotFoundError, match="mend `files` of the task"):
        read_split(replace(TASKS["rte"], hub=None), "train", tmp_path)
    monkeypatch.setenv("TOOLKIT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; set TOOLKIT_DATA to"):
        read_split(TASKS["rte"], "train")
    with pytest.raises(ValueError, match="task 'rte' has no split 'dev'; there are: train, test"):
        read_split(TASKS["rte"], "dev", tmp_path)


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("synthetic")])
def test_synthetic_splits_are_disjoint_and_their_test_set_fixed(name: str) -> None:
    small, large = (read_split(TASKS[name], "train", size=size) for size in (100, 300))
    test = read_split(TASKS[name], "test", size=100)
    assert (len(small), len(large), len(test)) == (100, 300, SYNTHETIC_TEST)
    assert large[:100] == small
    assert read_split(TASKS[name], "test", size=300) == test
    texts = [{tuple(row.get("words", ())) or tuple(row.values())[:-1] for row in rows} for rows in (large, test)]
    assert not texts[0] & texts[1]
