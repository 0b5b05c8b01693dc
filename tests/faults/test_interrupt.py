"""Ctrl-C and SIGTERM: a run ends in seconds, says how to go on, leaves no process, and goes on to the same weights."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import end, start
from tests.faults.recipes import make_network, results, words_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="asks /proc for the processes of a run"),
]
PATIENCE = 900.0  # Seconds until a run has come to what it is to be interrupted in, on a busy machine.
SECONDS = 15.0  # That it may take to end on a busy machine; a worker of a grid has ten to write its checkpoint.
MARK = "TOOLKIT_TEST_OF_INTERRUPTS"


@contextmanager
def started(words: list[str], mark: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a run whose processes, and theirs, carry a mark in their environment."""
    command = [sys.executable, "-m", "toolkit.run", *words]
    # As many threads as the undisturbed run, whatever the number: with another one, sums are rounded otherwise.
    environment = {**os.environ, MARK: mark}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell runs in the background ignores Ctrl-C, and hands that on to its children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            for number in survivors(mark):
                os.kill(number, signal.SIGKILL)


def survivors(mark: str) -> list[int]:
    """Numbers of the processes that carry a mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # It has ended meanwhile, or is somebody else's.
    return found


def interrupted(words: list[str], mark: str, is_there: Callable[[], Any], number: int = signal.SIGINT) -> str:
    """Send a signal, Ctrl-C by default, once a run has come so far, and return what it said."""
    with started(words, mark) as process:
        limit = time.monotonic() + PATIENCE
        while not is_there():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < limit
            time.sleep(0.02)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # As a terminal does, to all processes in the foreground.
        else:
            process.send_signal(number)  # As schedulers and containers do, to the first process.
        began = time.monotonic()
        _, said = process.communicate(timeout=PATIENCE)
        seconds = time.monotonic() - began
        left = survivors(mark)
    assert process.returncode == 128 + number, said
    assert seconds < SECONDS
    assert not left
    assert "Traceback" not in said
    assert said.count("resume=true") == 1
    return said


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    make_network(tmp_path / "network")
    return tmp_path / "network"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("recipe", "moment"),
    [
        ("proximal_pruning", "checkpoints/model/last.ckpt"),
        ("neuron_selection", "features/.train.partial/plan.json"),
        ("layer_analysis", "config.yaml"),
    ],
)
def test_a_run_that_is_interrupted_goes_on(
    recipe: str, moment: str, number: int, network: Path, tmp_path: Path
) -> None:
    words, whole, folder = words_of(recipe, network, data__size=640), tmp_path / "whole", tmp_path / "run"
    end(start(words, whole), whole)
    interrupted([*words, f"output={folder}"], f"{recipe} {number}", (folder / moment).exists, number)
    assert not (folder / "report.json").exists()
    end(start([*words, "resume=true"], folder), folder)
    assert results(folder) == results(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_grid_that_is_interrupted_goes_on(number: int, network: Path, tmp_path: Path) -> None:
    words, whole, folder = words_of("compare", network), tmp_path / "whole", tmp_path / "run"
    end(start(words, whole), whole)

    def begun() -> list[Path]:
        return list(folder.glob("cells/*/run/checkpoints"))

    interrupted([*words, f"output={folder}"], f"compare {number}", begun, number)
    assert not (folder / "compare.json").exists()
    end(start([*words, "resume=true"], folder), folder)
    assert results(folder) == results(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_processes_that_are_interrupted_go_on(number: int, network: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = words_of("fine_tuning", network, trainer__strategy="ddp", trainer__devices=2, trainer__max_epochs=20)
    words.append(f"output={folder}")
    interrupted(words, f"ddp {number}", (folder / "checkpoints/model/last.ckpt").exists, number)
    done = subprocess.run(
        [sys.executable, "-m", "toolkit.run", *words, "resume=true"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "report.json").is_file()
