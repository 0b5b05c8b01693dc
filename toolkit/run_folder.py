"""The folder of a run: whose it is, whether it may be used, and files that are there as a whole or not at all."""

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import BaseFileLock, FileLock, Timeout
from rich.console import Console

from toolkit.yaml_options import read_options

VOLATILE = ("output", "resume")  # Options that say nothing of what a run computes.

LOCKS = {".lock", ".owner"}  # They stay when a run ends: removing them would let two processes lock different files.

# What a process that was killed leaves of what it was writing beside its place: `.NAME.PID`, or a folder of `tempfile`
# with the new NAME in it and the old one.
_LEFT_FILE = re.compile(r"\.(.+)\.\d+")
_LEFT_FOLDER = re.compile(r"\.(.+)-[a-z0-9_]{8}")


def is_first_process() -> bool:
    """Whether this process is the only one, or the one of several that writes and prints.

    Lightning's launcher, torchrun and SLURM set one of these variables before the process group exists.
    """
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))


def show(result: Any) -> None:
    """Print something that rich can print, in the first process only."""
    if is_first_process():
        Console().print(result)


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
        who = owner.read_text(encoding="utf-8").strip() if owner.is_file() else "another process"
        raise FileExistsError(
            f"{output} is in use by {who}; wait for it, stop it, or choose another folder with output=FOLDER."
        ) from None
    write_text(owner, f"process {os.getpid()} on {socket.gethostname()}")
    return file


def check_folder(output: Path, config: str, *, resume: bool) -> None:
    """Refuse a folder that belongs to something else.

    Raises:
        FileExistsError: If the folder holds another run, this one without ``resume``, or no run at all.
        ValueError: If the options of the run that it holds cannot be read.
    """
    stored = output / "config.yaml"
    if not output.exists():
        return
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


def left_of(entry: Path) -> str | None:
    """Name of the file or folder that an entry is the half-written form of, if it is one.

    Args:
        entry: Of a folder.

    Example:
        >>> left_of(Path("run/.config.yaml.4711")), left_of(Path("run/config.yaml"))
        ('config.yaml', None)
    """
    if not entry.is_dir():
        found = _LEFT_FILE.fullmatch(entry.name)
        return found[1] if found else None
    found = _LEFT_FOLDER.fullmatch(entry.name)
    return found[1] if found and {inner.name for inner in entry.iterdir()} <= {found[1], "replaced"} else None


def sweep(output: Path) -> None:
    """Remove what earlier attempts at a run, killed in the middle of writing, left behind: nothing reads it.

    Args:
        output: The run's folder; no other process works in it.
    """
    folders = (output, output / "predictions", *(output / "checkpoints").glob("*"))
    for folder in filter(Path.is_dir, folders):
        for entry in [entry for entry in folder.iterdir() if left_of(entry)]:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def changed_options(stored: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """Options that differ between two configurations, as ``key: old there, new here``.

    Example:
        >>> changed_options({"model": {"sparsity": 0.8}}, {"model": {"sparsity": 0.9}, "resume": True})
        ['model.sparsity: 0.8 there, 0.9 here']
    """
    there, here = lasting(stored), lasting(options)
    return [
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]


def fingerprint(config: str) -> str:
    """Eight letters that stand for everything a run computes.

    Example:
        >>> fingerprint("resume: true") == fingerprint("{resume: false, output: here}") != fingerprint("model: {}")
        True
    """
    return digest(options_of(config))[:8]


def digest(content: Any) -> str:
    """Hash of plain values, 64 hexadecimal digits.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def options_of(config: str) -> dict[str, Any]:
    """The options of a configuration in YAML that say what a run computes, by their dotted keys.

    Example:
        >>> options_of("{model: {sparsity: 0.8}, output: here}")
        {'model.sparsity': 0.8}
    """
    return lasting(yaml.safe_load(config) or {})


def lasting(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say what a run computes, by their dotted keys.

    Args:
        options: All of them.
    """
    return {key: value for key, value in flatten(options).items() if key not in VOLATILE}


def flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by their dotted keys.

    Example:
        >>> flatten({"model": {"sparsity": 0.8}, "resume": True})
        {'model.sparsity': 0.8, 'resume': True}
    """
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and rename it, so that it is there as a whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
