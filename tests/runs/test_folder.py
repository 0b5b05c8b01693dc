"""The folder of a run: one process at a time, and nobody else's."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolkit.runs.folder import check_data, check_folder, lock

HOLD = """
import sys, time
from pathlib import Path
from toolkit.runs.folder import lock
held = lock(Path(sys.argv[1]))
Path(sys.argv[2]).touch()
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    return made


def test_a_second_process_is_told_by_whom_the_folder_is_used(folder: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder), str(tmp_path / "ready")]) as other:
        limit = time.monotonic() + 60
        while not (tmp_path / "ready").exists() and time.monotonic() < limit:
            time.sleep(0.02)
        with pytest.raises(FileExistsError, match=rf"is in use by process {other.pid} on .*output=FOLDER"):
            lock(folder)
        with pytest.raises(FileExistsError, match=rf"is in use by process {other.pid} on "):
            check_folder(folder, "model: {}", resume=False)  # Whether or not it would be continued.
        other.kill()  # What was killed holds nothing.
        other.wait()
    lock(folder).release()
    assert f"process {os.getpid()} " in (folder / ".owner").read_text()


def test_a_run_goes_on_with_its_own_data_only(folder: Path) -> None:
    for _ in range(2):
        check_data(folder, {"train": "a", "dev": "b"})
    with pytest.raises(FileExistsError, match=r"on other data \(dev changed since\); set data.root or TOOLKIT_DATA"):
        check_data(folder, {"train": "a", "dev": "c"})


def test_the_same_process_may_take_it_again(folder: Path) -> None:
    first, second = lock(folder), lock(folder)
    second.release()
    first.release()


def test_a_lock_alone_is_no_run(folder: Path) -> None:
    held = lock(folder)
    check_folder(folder, "model: {}", resume=False)
    held.release()
    (folder / "something").touch()
    with pytest.raises(FileExistsError, match="no run's folder"):
        check_folder(folder, "model: {}", resume=False)
