"""The folder of a run: whose it is, whether it may be used, and what attempts that were killed left in it."""

import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

import yaml
from filelock import BaseFileLock, FileLock, Timeout

from toolkit.files.json_files import write_json
from toolkit.files.writing import left_of, write_text
from toolkit.options.values import changed_options
from toolkit.options.yaml_options import read_options

DATA = ".data.json"  # What the run's data were when it began.
LOCKS = {".lock", ".owner"}  # They stay when a run ends: removing them would let two processes lock different files.


def lock(output: Path) -> BaseFileLock:
    """Keep other processes out of a folder for as long as the lock lives; this process may take it again.

    The operating system releases the lock of a process that was killed.

    Args:
        output: The folder; it is there.

    Raises:
        FileExistsError: If another process works in the folder; the message says which.
    """
    file = FileLock(output / ".lock", is_singleton=True)
    owner = output / ".owner"
    try:
        file.acquire(timeout=0)
    except Timeout:
        raise _in_use(output) from None
    write_text(owner, f"process {os.getpid()} on {socket.gethostname()}")
    return file


def check_folder(output: Path, config: str, *, resume: bool) -> None:
    """Refuse a folder that belongs to something else.

    Raises:
        FileExistsError: If another process works in the folder, or it holds another run, this one without ``resume``,
            or no run at all.
        ValueError: If the options of the run that it holds cannot be read.
    """
    stored = output / "config.yaml"
    if not output.exists():
        return
    if _is_locked(output):
        raise _in_use(output)
    if output.is_dir() and all(
        entry.name in LOCKS or left_of(entry) in (".owner", "config.yaml") for entry in output.iterdir()
    ):
        return
    if not stored.is_file():
        raise FileExistsError(f"{output} is not empty and no run's folder; choose another with output=FOLDER.")
    changed = changed_options(read_options(stored) or {}, yaml.safe_load(config) or {})
    if changed:
        raise FileExistsError(
            f"{output} holds another run ({'; '.join(changed[:3])}); choose another folder with output=FOLDER."
        )
    if not resume:
        raise FileExistsError(f"{output} holds this very run; continue it with resume=true, or choose another output.")


def check_data(output: Path, fingerprints: Mapping[str, str]) -> None:
    """Note what data a run is about, and refuse to go on with other data, which no option need to tell.

    Args:
        output: The run's folder.
        fingerprints: Of the splits, by their names.

    Raises:
        FileExistsError: If the run was begun with other data.
        ValueError: If the note cannot be read.
    """
    file = output / DATA
    if not file.is_file():
        write_json(file, dict(fingerprints))
        return
    try:
        stored = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} does not say what the run's data were ({error}); delete it to go on.") from error
    if changed := [split for split, found in fingerprints.items() if stored.get(split) != found]:
        raise FileExistsError(
            f"{output} holds a run on other data ({', '.join(changed)} changed since); set data.root or TOOLKIT_DATA "
            "to the folder that it began with, or choose another folder with output=FOLDER."
        )


def _is_locked(output: Path) -> bool:
    """Whether another process works in a folder, which need not be a run's."""
    if not (output / ".lock").is_file():
        return False
    file = FileLock(output / ".lock", is_singleton=True)
    try:
        file.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # It is for reading only: nobody works in it, and what writes to it says so.
        return False
    file.release()
    return False


def _in_use(output: Path) -> FileExistsError:
    owner = output / ".owner"
    who = owner.read_text(encoding="utf-8").strip() if owner.is_file() else "another process"
    return FileExistsError(
        f"{output} is in use by {who}; wait for it, stop it, or choose another folder with output=FOLDER."
    )


def sweep(output: Path) -> None:
    """Remove what earlier attempts at a run, killed in the middle of writing, left behind: nothing reads it.

    Args:
        output: The run's folder; no other process works in it.
    """
    folders = (output, output / "predictions", *(output / "checkpoints").glob("*"))
    for folder in filter(Path.is_dir, folders):
        for entry in [entry for entry in folder.iterdir() if left_of(entry)]:
            shutil.rmtree(entry)
