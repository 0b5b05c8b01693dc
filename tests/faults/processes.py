"""Runs in processes of their own that start at once: forked from one that has imported the libraries."""

import os
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from toolkit.run import main as main_of_toolkit

_FORKS = get_context("forkserver")
_PATIENCE = 900.0  # Seconds that a run may take at most.


def start(words: Sequence[str], folder: Path, **environment: str) -> ForkServerProcess:
    """Start a run in a process group of its own, with a cache of its own beside its folder.

    It is forked from a process that has imported the libraries, which takes longer than the run.

    Args:
        words: Of the command line.
        folder: Of the run; what it prints goes into a file beside it.
        environment: Further variables of the process.
    """
    _FORKS.set_forkserver_preload(["toolkit.options.command_line", "toolkit.recipe", "torch", "datasets"])
    process = _FORKS.Process(target=run_here, args=([*words, f"output={folder}"], folder, environment))
    process.start()
    return process


def run_here(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a command line in this process, which begins a group of its own.

    Args:
        words: Of the command line.
        folder: Of the run.
        environment: Further variables.
    """
    os.setsid()
    with folder.with_name(f"{folder.name}.log").open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    os.environ["TOOLKIT_CACHE"] = str(folder.with_name(f"{folder.name}-cache"))
    os.environ["TOOLKIT_TRACEBACK"] = "1"
    os.environ |= environment
    main_of_toolkit(words)


def wait_for(path: Path, process: ForkServerProcess) -> float:
    """Wait until a path is there, or the process has ended.

    Returns:
        The moment, of ``time.monotonic``.
    """
    while not path.exists() and process.is_alive():
        time.sleep(0.01)
    return time.monotonic()


def end(process: ForkServerProcess, folder: Path) -> None:
    """Wait for the end of a run.

    Raises:
        RuntimeError: If it fails, or has no end.
    """
    process.join(_PATIENCE)
    if process.exitcode != 0:
        if process.is_alive():
            process.kill()
        raise RuntimeError(f"the run {folder} failed ({process.exitcode}): {last_words(folder)}")


def last_words(folder: Path) -> str:
    """The last lines that a run printed."""
    return folder.with_name(f"{folder.name}.log").read_text(encoding="utf-8", errors="replace").strip()[-300:]
