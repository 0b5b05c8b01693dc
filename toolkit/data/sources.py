"""Where the rows of a task come from: a folder, the hub, or the embedded sentences."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from toolkit.data.glue import read_tsv
from toolkit.data.hub import read_hub
from toolkit.data.synthetic import generate
from toolkit.data.tagging import read_conll, read_conllu
from toolkit.tasks import Task

LAYOUT = "a folder with glue/<TASK>/… and tagging/<set>/…, or the unpacked GLUE archive"
SYNTHETIC_TEST = 1000
"""Rows of a synthetic test set, whatever the size of the training set: scores stay comparable."""


def read_split(task: Task, split: str, root: Path | None = None, size: int = 2000) -> list[dict[str, Any]]:
    """Read all rows of one split of a task.

    The files are looked for in ``root``, else in the folder that the environment variable ``TOOLKIT_DATA`` names, else
    in the current folder; a task with a place on the hub is loaded from there if neither of the first two is given.

    Args:
        task: The task.
        split: Name of the split: ``train``, ``dev`` where the task has one, ``test`` or ``test_…``.
        root: Folder that holds ``glue/<TASK>/…`` and ``tagging/<set>/…``, or the unpacked GLUE archive.
        size: Number of training rows of a synthetic task.

    Returns:
        Rows with ``sentence``, or ``sentence1`` and ``sentence2``, and ``label``; of a tagging task ``words`` and
        ``tags``.

    Raises:
        FileNotFoundError: If the root or the file is missing.
        ConnectionError: If the hub is needed and cannot be reached.
        ValueError: If the data is not what the task expects.
    """
    if task.format == "synthetic":
        # Rows of one draw differ from each other, and a shorter draw begins a longer one: the test set is disjoint
        # from the training set and the same for every size.
        rows = generate(task.name, SYNTHETIC_TEST + (size if split == "train" else 0), seed=0)
        return rows[SYNTHETIC_TEST:] if split == "train" else rows[:SYNTHETIC_TEST]
    from_environment = root is None and bool(os.environ.get("TOOLKIT_DATA"))
    if from_environment:
        root = Path(os.environ["TOOLKIT_DATA"])
    # Decided for the whole task: of a folder with some of its files the missing one is an error, not the hub's.
    here = root is not None or any(Path(file).is_file() for file in task.files.values())
    if not task.files or (task.hub is not None and not here):
        return read_hub(task, split)
    path = find_file(task, split, root, "TOOLKIT_DATA" if from_environment else "data.root")
    read = {"tsv": read_tsv, "conll": read_conll, "conllu": read_conllu}[task.format]
    return read(path, task)


def find_file(task: Task, split: str, root: Path | None, setting: str = "data.root") -> Path:
    """Find the file of a split below the root.

    Args:
        task: The task.
        split: Name of the split.
        root: Folder of the data; none is the current folder.
        setting: Where the root was set, for the message.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If the task has no such split.
    """
    if split not in task.files:
        raise ValueError(f"task {task.name!r} has no split {split!r}; there are: {', '.join(task.files)}")
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; set {setting} to {LAYOUT}")
    path = Path(root or "", task.files[split])
    # The GLUE archive has its tasks at the top.
    unpacked = Path(root or "", task.files[split].removeprefix("glue/"))
    for candidate in (path, unpacked):
        if candidate.is_file():
            return candidate
    remedy = f"set {setting} to {LAYOUT}" if task.hub else f"mend `files` of the task, or {setting}"
    raise FileNotFoundError(f"{path}: no such file, needed for split {split!r} of task {task.name!r}; {remedy}")
