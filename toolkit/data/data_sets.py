"""Data sets through ``datasets``: of the hub, or of a local folder, of which its own plain files alone are read."""

import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import datasets.packaged_modules
import yaml
from datasets.packaged_modules.arrow.arrow import Arrow
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.json.json import Json
from datasets.packaged_modules.parquet.parquet import Parquet
from datasets.packaged_modules.text.text import Text
from huggingface_hub import DatasetCard

# Other readers decode images, unpack archives, open what a file names, or, of the past, load pickles.
_READERS = (Arrow, Csv, Json, Parquet, Text)
_SUFFIXES = (".arrow", ".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv", ".txt")


def load_data_set(
    path: str,
    split: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    files: Mapping[str, str] | None = None,
) -> datasets.Dataset:
    """Load one split of a data set.

    A folder is read without a connection: what its card, ``README.md`` or ``.huggingface.yaml``, says of its files is
    followed within the folder alone.

    Args:
        path: A folder, or the name of a data set on the hub.
        split: The split, or a part of one.
        name: Configuration of the data set.
        revision: Branch or commit on the hub.
        files: The files of each split, as patterns within the data set; ``None`` leaves them to the data set.

    Raises:
        ConnectionError: If the hub cannot be reached.
        FileNotFoundError: If there is no such data set.
        ValueError: If `path` is the name of a reader of ``datasets``, or the folder's card is none, or it or `files`
            name something outside, or the files are no CSV, TSV, JSON, Parquet, Arrow or text.
        RuntimeError: If the data set is a script.
    """
    folder = Path(path)
    if not folder.is_dir():
        _check_name(path)
    for pattern in (files or {}).values():
        _check_inside(pattern, path)
    if not folder.is_dir():
        return datasets.load_dataset(path, name, data_files=files, revision=revision, split=split)
    _check_card(folder)
    with _reading(folder):
        builder = datasets.load_dataset_builder(str(folder.absolute()), name, data_files=files)
    _check_files(builder, folder)
    with _reading(folder):
        builder.download_and_prepare()
        return builder.as_dataset(split=split)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Name the folder in what its card and its files make the library stumble over."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError, datasets.exceptions.DatasetsError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder} cannot be read ({reason:.200}); mend its files, mend or remove its README.md and "
            ".huggingface.yaml, or give another configuration or split"
        ) from error


def check_columns(data: datasets.Dataset, columns: Sequence[str], place: str) -> None:
    """Refuse columns that hold something else than texts, numbers and labels: images and the like open what they name.

    Args:
        data: The data set, of which no row has been read.
        columns: Those that will be read.
        place: For the message.

    Raises:
        ValueError: If there is one.
    """
    for column in columns:
        feature = data.features[column]
        while isinstance(feature, datasets.List | datasets.LargeList):
            feature = feature.feature
        if not isinstance(feature, datasets.Value | datasets.ClassLabel):
            kind = type(feature).__name__
            raise ValueError(f"{place}: column {column!r} holds other things than text ({kind}); give another column")


def _check_name(path: str) -> None:
    """Names of the hub alone: ``datasets`` takes those of its readers, and addresses, before it looks there."""
    if path in {module.name for module in pkgutil.iter_modules(datasets.packaged_modules.__path__)}:
        raise ValueError(
            f"{path!r} is a reader of the library datasets and no data set; give the folder that holds the files, or "
            "the whole name of a data set on the hub: owner/name"
        )
    if path.startswith(".") or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        raise FileNotFoundError(f"there is no folder {path!r}, and it is no name of the hub")


def _check_inside(pattern: str, place: str | Path) -> None:
    """A pattern of files stays in its data set; a colon begins an address, or chains two."""
    if ":" in pattern or "\\" in pattern or pattern.startswith(("/", "~")) or ".." in PurePosixPath(pattern).parts:
        raise ValueError(
            f"{place} names the data files {pattern!r:.200}, which lie outside; a data set is read from its own files: "
            "put them there, and give their paths in it"
        )


def _check_card(folder: Path) -> None:
    """What a card says of files is looked up at once, elsewhere, too, if it may be."""
    for file in (folder / "README.md", folder / ".huggingface.yaml"):
        if not file.exists():
            continue
        with _reading(folder):
            if file.name == "README.md":
                content = DatasetCard.load(file).data.to_dict()
            else:
                content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for pattern in _patterns(content):
            _check_inside(pattern, file)


def _patterns(content: Any) -> Iterator[str]:
    """Every text in what the configurations of a card say of files."""
    configurations = content.get("configs") if isinstance(content, dict) else None
    waiting = [
        configuration.get(key)
        for configuration in (configurations if isinstance(configurations, list) else [])
        if isinstance(configuration, dict)
        for key in ("data_files", "data_dir")
    ]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())


def _check_files(builder: datasets.DatasetBuilder, folder: Path) -> None:
    """The files that were found, before any is read."""
    inside = folder.resolve()
    files = [Path(file) for found in (builder.config.data_files or {}).values() for file in found]
    for file in files:
        if not file.is_relative_to(inside) or ".." in file.parts or "::" in str(file):
            raise ValueError(
                f"{file} is no file of {folder}; put the files themselves there, without :: in their names"
            )
    for file in files:
        if not isinstance(builder, _READERS) or file.suffix.lower() not in _SUFFIXES:
            raise ValueError(
                f"{file} is read neither as text nor as a table; give CSV, TSV, JSON, Parquet, Arrow or text files "
                "alone, and unpack archives"
            )
