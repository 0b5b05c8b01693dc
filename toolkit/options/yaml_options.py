"""Options in YAML, read with limits: a file may come from anywhere, and must not lose a line or fill the memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader
from yaml.constructor import ConstructorError

LOADER = "options"
"""Name under which the parsers of the command line know this reader."""

_CHARACTERS = 2**20  # Of a file; the largest recipe has 3,000.
_DEPTH = 50  # Mappings and lists within each other.
_NODES = 100_000  # Values and keys once every alias is written out.
# What the name of a class, and a mapping, count for: to build a parser of what they may hold takes up to 50 ms.
_CLASS, _MAPPING = 1000, 250


def load_options(text: str) -> Any:
    """Read plain values from YAML: mappings, lists, strings, numbers, true, false and null.

    Anchors and aliases may be used. YAML keeps only the last of two equal keys, and lets a few lines of aliases stand
    for more values than a memory holds; both are errors here. Tags that would build objects are unknown.

    Args:
        text: The file's content.

    Raises:
        yaml.YAMLError: If it is no YAML, a key is given twice, or it is too large, too deep, or refers to itself; the
            message names the line.

    Example:
        >>> load_options("{a: 1, b: [x, 2026-01-31]}")
        {'a': 1, 'b': ['x', '2026-01-31']}
    """
    try:
        check_yaml(text)
        return get_loader("yaml")(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: surrogates, or a number of more than 4,300 digits.
        raise yaml.YAMLError(_one_line(error)) from error


def read_options(file: Path) -> Any:
    """Read plain values from a YAML file, as `load_options` does.

    Args:
        file: Its path.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no plain values; the message names the file and the line.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no file of options {file}; give the path of a YAML file.")
    content = file.read_bytes()
    try:
        return load_options(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{file}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save it as UTF-8"
        ) from error
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: {error}; mend the file.") from error


def check_yaml(text: str) -> None:
    """Look for what a YAML loader would do without a word: drop keys, or unfold aliases without an end.

    Only the parser's events are looked at, which takes time and memory in proportion to the text.

    Args:
        text: The file's content.

    Raises:
        yaml.YAMLError: As in `load_options`.
    """
    if len(text) > _CHARACTERS:
        raise yaml.YAMLError(f"{len(text):,} characters are more than options need ({_CHARACTERS:,} at most)")
    open_nodes: list[_Node] = []
    sizes: dict[str, int] = {}  # Of what an anchor stands for.
    total = 0
    for event in _events(text):
        if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            if open_nodes:
                open_nodes[-1].take(None, event)
            open_nodes.append(_Node(event))
            if len(open_nodes) > _DEPTH:
                raise _error(f"more than {_DEPTH} mappings and lists within each other", event)
            size = open_nodes[-1].size
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            closed = open_nodes.pop()
            if closed.anchor is not None:
                sizes[closed.anchor] = closed.size
            size = 0  # Counted when its parts were.
            if open_nodes:
                open_nodes[-1].size += closed.size
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in {node.anchor for node in open_nodes}:
                raise _error(f"the alias *{event.anchor} stands within what it refers to", event)
            size = sizes.get(str(event.anchor), 1)
            if open_nodes:
                open_nodes[-1].take(None, event, size)
        elif isinstance(event, yaml.ScalarEvent):
            size = _CLASS if event.value.startswith("lightning.") else 1
            if event.anchor:
                sizes[event.anchor] = size
            if open_nodes:
                open_nodes[-1].take(event.value, event, size)
        else:
            size = 0
        total += size
        if total > _NODES:
            limits = f"{_NODES:,} values, {_NODES // _MAPPING} mappings or {_NODES // _CLASS} classes"
            raise _error(f"more than {limits}, aliases written out", event)


class _Node:
    """A mapping or list whose end has not come yet."""

    def __init__(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent) -> None:
        self.anchor = event.anchor
        self.size = _MAPPING if isinstance(event, yaml.MappingStartEvent) else 1
        self._keys: set[str] | None = set() if isinstance(event, yaml.MappingStartEvent) else None
        self._is_key = True

    def take(self, key: str | None, event: yaml.Event, size: int = 0) -> None:
        """Take a part in; every second part of a mapping is a key."""
        self.size += size
        if self._keys is None:
            return
        if self._is_key and key is not None:
            if key in self._keys:
                raise _error(f"the key {key!r:.80} is given twice", event)
            self._keys.add(key)
        self._is_key = not self._is_key


def _events(text: str) -> Iterator[yaml.Event]:
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return events


def _one_line(error: Exception) -> str:
    """What is wrong with a text, and where, without the excerpt of it."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    said = f"line {mark.line + 1}: {problem}" if mark is not None and problem else str(error)
    return " ".join(said.split()).rstrip(".")


def _error(problem: str, event: yaml.Event) -> yaml.YAMLError:
    mark: Any = event.start_mark  # The parser in C has marks of its own.
    return ConstructorError(None, None, problem, mark)


set_loader(LOADER, load_options, exceptions=(yaml.YAMLError,))
