"""Where plain text comes from: files, the sentences of tasks, the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from toolkit.data.data_sets import check_columns, load_data_set
from toolkit.data.lines import read_lines
from toolkit.data.task_data import TaskData
from toolkit.tasks import Task


@dataclass(frozen=True, kw_only=True)
class TextSet:
    """A data set of texts on the Hugging Face hub, or in a local folder of text and table files.

    Args:
        path: Repository on the hub, or the folder, of text, CSV, TSV, JSON, Parquet or Arrow files.
        name: Configuration of the data set.
        split: The split that is read; ``train[:1%]`` is a part of one.
        column: The column of the texts.
        revision: Branch or commit.
    """

    path: str
    name: str | None = None
    split: str = "train"
    column: str = "text"
    revision: str | None = None


def file_texts(file: Path) -> list[str]:
    """Read the lines of a text file in UTF-8 that are not blank.

    Args:
        file: Its path.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not in UTF-8, or every line is blank.
    """
    texts = [line for line in read_lines(file) if line.strip()]
    if not texts:
        raise ValueError(f"{file}: no text; every line is blank")
    return texts


def task_texts(tasks: Sequence[str | Task], root: Path | None = None, size: int = 2000) -> list[str]:
    """Read the sentences of tasks that those tasks are trained on, without their labels.

    What a task judges on, its dev and test sets, is left out, and so is the part of the training file that `TaskData`
    holds out as dev by default. The texts of a pair are two; words of a tagging task are joined by spaces.

    Args:
        tasks: Names of tasks, or tasks of your own.
        root: Folder of the data files, as of `TaskData`.
        size: Training sentences of a synthetic task, dev included.

    Returns:
        The texts, each once: a text that came twice would be trained on and held out.

    Raises:
        FileNotFoundError: If the root or a file is missing.
        ValueError: If there is no such task.
    """
    texts: dict[str, None] = {}
    for task in tasks:
        for row in TaskData(task, root=root, size=size).sentences("train"):
            sentences = [" ".join(row["words"])] if "words" in row else [row[key] for key in row if key != "label"]
            texts |= dict.fromkeys(text for text in sentences if text.strip())
    return list(texts)


def hub_texts(source: TextSet) -> list[str]:
    """Load texts from the hub, line by line; blank lines are left out.

    Args:
        source: Says which.

    Raises:
        ConnectionError: If the hub cannot be reached.
        FileNotFoundError: If there is no such data set.
        ValueError: If it cannot be read or is refused (see `toolkit.data.data_sets`), has no such column, or the
            column holds no text.
    """
    where = f"data.hub.path={source.path}{f' ({source.name})' if source.name else ''}, split {source.split}"
    try:
        data = load_data_set(source.path, source.split, name=source.name, revision=source.revision)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{where} was not found; give a data set of the hub or a local folder") from error
    except ConnectionError as error:
        raise ConnectionError(f"{where}: the hub cannot be reached; connect, or give data.files") from error
    except (RuntimeError, datasets.exceptions.DatasetsError) as error:  # Also of scripts, which are not run.
        raise ValueError(f"{where} cannot be read: {error}; give text, CSV, JSON or Parquet files") from error
    if source.column not in data.column_names:
        columns = ", ".join(data.column_names)
        raise ValueError(f"{where} has no column {source.column!r}; set data.hub.column to one of {columns}")
    check_columns(data, [source.column], where)
    values = data[source.column]
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{where}: column {source.column!r} holds other things than text; set data.hub.column")
    texts = [line for value in values for line in value.splitlines() if line.strip()]
    if not texts:
        raise ValueError(f"{where}: no text; every line of column {source.column!r} is blank")
    return texts
