"""A task's rows from the Hugging Face hub, or from a local folder of the same form, through ``datasets``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
from lightning.pytorch.utilities import rank_zero_info

from toolkit.data.data_sets import check_columns, load_data_set
from toolkit.data.glue import read_label, text_names
from toolkit.data.tagging import check_iob2
from toolkit.tasks import Hub, Task


def read_hub(task: Task, split: str) -> list[dict[str, Any]]:
    """Load one split of a task from the hub; labels are taken by the names that the data set gives them.

    Data sets whose repository is a script are read from the Parquet branch that the hub made of them, where
    ``<configuration>/<split>/*.parquet`` holds a split; no code of the repository is run.

    Args:
        task: The task; its ``hub`` says where the data is.
        split: The task's name of the split, such as ``train`` or ``test``.

    Returns:
        Rows as `read_tsv` and `read_conll` give them.

    Raises:
        ConnectionError: If the hub cannot be reached.
        FileNotFoundError: If the hub has no such data set.
        ValueError: If the task is not on the hub, its data set is refused (see `toolkit.data.data_sets`), or a column,
            a label or a tag is not what the task expects.
    """
    hub = task.hub
    if hub is None:
        raise ValueError(
            f"task {task.name!r} is not on the hub; set data.root or TOOLKIT_DATA to the folder of its files"
        )
    if split not in hub.splits:
        raise ValueError(f"task {task.name!r} has no split {split!r} on the hub; there are: {', '.join(hub.splits)}")
    place = f"{hub.path}{f' ({hub.name})' if hub.name else ''}, split {hub.splits[split]}"
    data = _load(task.name, hub, hub.splits[split], place)
    columns = [*hub.texts, hub.label, *([hub.head] if hub.head else [])]
    for column in columns:
        if column not in data.column_names:
            raise ValueError(f"{place}: no column {column!r}; there are: {', '.join(data.column_names)}")
    check_columns(data, columns, place)
    if not len(data):
        raise ValueError(f"{place}: no rows; the split of task {task.name!r} is empty")
    feature = data.features[hub.label]
    names = getattr(getattr(feature, "feature", feature), "names", None)
    rows = data.select_columns(columns)
    if task.kind == "tagging":
        return [_sentence(row, task, hub, names, f"{place}, row {number}") for number, row in enumerate(rows)]
    return [_pair(row, task, hub, names, f"{place}, row {number}") for number, row in enumerate(rows)]


def _load(task: str, hub: Hub, split: str, place: str) -> datasets.Dataset:
    if not Path(hub.path).exists():  # Without a connection, its library tries for half a minute before it gives up.
        rank_zero_info(f"task {task!r}: no local files (data.root, TOOLKIT_DATA); asking the hub for {place}")
    try:
        if hub.revision == "refs/convert/parquet":
            files = {split: f"{hub.name or 'default'}/{split}/*.parquet"}
            return load_data_set(hub.path, split, revision=hub.revision, files=files)
        return load_data_set(hub.path, split, name=hub.name, revision=hub.revision)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"task {task!r}: {place} was not found on the hub; set data.root or TOOLKIT_DATA to a folder with the files"
        ) from error
    except ConnectionError as error:
        raise ConnectionError(
            f"task {task!r}: the hub cannot be reached for {place}; connect, or set data.root or TOOLKIT_DATA "
            "to a folder with glue/<TASK>/… and tagging/<set>/…"
        ) from error
    except (RuntimeError, datasets.exceptions.DatasetsError) as error:  # Also of scripts, which are not run.
        raise ValueError(
            f"task {task!r}: {place} cannot be read: {error}; set data.root or TOOLKIT_DATA to a folder with the files"
        ) from error


def _name(value: Any, names: list[str] | None) -> str:
    # A class label of -1 marks a hidden label and must not be read as the last name.
    # One behind the last name is no label either; `read_label` says so where the task lists its labels.
    known = names is not None and isinstance(value, int) and 0 <= value < len(names)
    return names[value] if names is not None and known else str(value)


def _pair(row: dict[str, Any], task: Task, hub: Hub, names: list[str] | None, place: str) -> dict[str, Any]:
    texts = {name: row[column] for name, column in zip(text_names(len(hub.texts)), hub.texts, strict=True)}
    for column in hub.texts:
        if not isinstance(row[column], str):
            raise ValueError(f"{place}: column {column!r} holds {row[column]!r:.80}, no text; mend the data set")
    return {**texts, "label": read_label(_name(row[hub.label], names), task, place)}


def _sentence(row: dict[str, Any], task: Task, hub: Hub, names: list[str] | None, place: str) -> dict[str, Any]:
    for column in (hub.texts[0], hub.label, *([hub.head] if hub.head else [])):
        if not isinstance(row[column], list):
            raise ValueError(f"{place}: column {column!r} holds {row[column]!r:.80}, no list; mend the data set")
    words, tags = row[hub.texts[0]], [_name(tag, names) for tag in row[hub.label]]
    if not all(isinstance(word, str) and word for word in words):
        raise ValueError(f"{place}: column {hub.texts[0]!r} holds something else than words; mend the data set")
    if len(words) != len(tags):
        raise ValueError(f"{place}: {len(words)} words but {len(tags)} tags")
    if hub.head:
        kept = [head not in (None, "None", "_") for head in row[hub.head]]
        words = [word for word, keep in zip(words, kept, strict=True) if keep]
        tags = [tag for tag, keep in zip(tags, kept, strict=True) if keep]
    tags = [str(read_label(tag, task, place)) for tag in tags]
    if "span_f1" in task.metrics:
        check_iob2(tags, [place] * len(tags))
    return {"words": words, "tags": tags}
