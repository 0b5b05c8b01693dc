"""Disks that are full or for reading only: one clear error, nothing half-done, and a run that continues."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Mount
from tests.faults.recipes import results
from toolkit import run
from toolkit.options.words import as_options
from toolkit.recipe import load


def leftovers(folder: Path) -> set[str]:
    return {file.name for file in folder.rglob(".*")} - {".lock", ".owner", ".data.json"}


# Each is enough for a little more of the run: not for the configuration, a checkpoint, the network, its predictions.
@pytest.mark.parametrize("kilobytes", [4, 200, 400, 560])
def test_a_run_on_a_full_disk_says_so_and_continues_when_there_is_room(
    kilobytes: int, small: dict[str, Any], mount: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    load("fine_tuning", **small | {"output": "whole"}).run()
    disk = mount(f"size={kilobytes}k")
    words = ["recipe=fine_tuning", *as_options(small | {"output": str(disk / "run")})]
    with pytest.raises(SystemExit) as ended:
        run.main(words)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert f"error: The disk of {disk / 'run'} is full" in said.strip().splitlines()[-1]
    assert "resume=true" in said
    assert not leftovers(disk)
    mount("remount,size=64m")
    run.main([*words, "resume=true"])
    assert results(disk / "run") == results(Path("whole"))


def test_hidden_states_that_do_not_fit_the_disk(
    small: dict[str, Any], mount: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is mapped to memory would end the process by a signal, without a word."""
    load("fine_tuning", **small | {"output": "dense"}).run()
    disk = mount("size=20k")  # 60 sentences × 3 layers × 32 dimensions × 4 bytes are 23 kB.
    options = small | {"data.limit_train": 60, "reference": "dense/model", "model.selection.ranking": "norm"}
    options |= {"model.features": str(disk / "features"), "model.features_dtype": "float32"}
    with pytest.raises(SystemExit) as ended:
        run.main(["recipe=neuron_selection", *as_options(options)])
    assert ended.value.code == 1
    assert "is full" in capsys.readouterr().err.strip().splitlines()[-1]
    mount("remount,size=64m")
    load("neuron_selection", **options).run()
    assert not leftovers(disk)


def test_a_cache_that_is_full_is_named(small: dict[str, Any], mount: Mount, capsys: pytest.CaptureFixture[str]) -> None:
    disk = mount("size=8k")
    with pytest.raises(SystemExit):
        run.main(["recipe=fine_tuning", *as_options(small | {"data.cache": str(disk / "cache")})])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"The disk of {disk / 'cache'} is full" in said
    assert "data.cache=FOLDER" in said
    assert not Path("run").exists()
    left = [file for file in disk.rglob("*") if file.is_file()]
    assert [(file.name, file.stat().st_size) for file in left] == [(".lock", 0)]  # Which all who use the cache share.


@pytest.mark.parametrize("option", ["output", "data.cache"])
def test_a_disk_for_reading_only_is_named_with_a_remedy(
    option: str, small: dict[str, Any], mount: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    mount("size=4m")
    disk = mount("remount,ro")
    with pytest.raises(SystemExit) as ended:
        run.main(["recipe=fine_tuning", *as_options(small | {option: str(disk / "folder")})])
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: {disk / 'folder'} cannot be written")
    assert said.endswith(f"{option}=FOLDER.")


@pytest.mark.parametrize("output", ["file", "file/run"])
def test_a_file_in_the_way_is_named(output: str, small: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        run.main(["recipe=fine_tuning", *as_options(small | {"output": output})])
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: {output} ")
    assert "output=FOLDER" in said
    assert Path("file").read_text() == "mine"


def test_what_a_killed_process_left_half_written_is_swept_away(small: dict[str, Any]) -> None:
    """Also where nothing else is there yet: the folder is still nobody's."""
    Path("run/.config.yaml-1a2b3c4d").mkdir(parents=True)
    Path("run/.config.yaml-1a2b3c4d/config.yaml").write_text("recipe: fine_tu")
    load("fine_tuning", **small).run()
    whole = results(Path("run"))
    Path("run/predictions/.fine_tuning.safetensors-_bc_efgh").mkdir()
    Path("run/predictions/.fine_tuning.safetensors-_bc_efgh/fine_tuning.safetensors").write_bytes(b"half")
    shutil.copytree("run/model", "run/.model-1a2b3c4d/model")
    load("fine_tuning", **small | {"resume": True}).run()
    assert results(Path("run")) == whole
    assert not leftovers(Path("run"))
