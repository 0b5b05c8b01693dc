"""Sentences with one tag for each word, from CoNLL columns and from CoNLL-U.

CoNLL-U: https://universaldependencies.org/format.html. IOB2: Tjong Kim Sang and Veenstra 1999, section 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from toolkit.data.lines import read_lines
from toolkit.tasks import Task

FIELDS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_WORD = re.compile(r"[0-9]+")  # Ids of CoNLL-U: of a word, and of a multi-word token (1-2) or an empty node (8.1).
_NO_WORD = re.compile(r"[0-9]+[-.][0-9]+")


def read_conll(path: Path, task: Task) -> list[dict[str, Any]]:
    """Read a file with one word a line, its columns separated by a tab or by spaces, and a blank line after a sentence.

    A document mark (``-DOCSTART-``) is no word. There are no comments: ``#`` begins words of social media.

    Args:
        path: The file.
        task: Names the columns by number from 0; its tags must be IOB2 if it is scored by span F1.

    Returns:
        One dictionary a sentence, of ``words`` and ``tags``, two lists of the same length.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line has no tag, too few or too many columns, an unknown tag or one that IOB2 forbids there,
            or if there is no sentence. The message names the file and the line.
    """
    word, tag = int(task.texts[0]), int(task.label)
    width = 0
    tokens: list[tuple[int, str, str] | None] = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip(" \t") or line.startswith("-DOCSTART-"):
            tokens.append(None)
            continue
        cells = line.split("\t") if "\t" in line else line.split(" ")
        while cells and not cells[-1]:
            cells.pop()  # spaces at the end of the line
        place = f"{path}, line {number}"
        if len(cells) <= max(word, tag):
            raise ValueError(
                f"{place}: {line!r:.80} has {_columns(len(cells))} and so no tag, which task {task.name!r} "
                f"reads from column {tag} (counted from 0); add it, or a blank line between sentences"
            )
        width = width or len(cells)
        if len(cells) != width:
            raise ValueError(
                f"{place}: {_columns(len(cells))}, but the first word of the file has {width}; mend the line"
            )
        tokens.append((number, cells[word], cells[tag]))
    return list(_sentences(path, task, tokens))


def read_conllu(path: Path, task: Task) -> list[dict[str, Any]]:
    """Read a CoNLL-U file; multi-word tokens (``1-2``) and empty nodes (``8.1``) are not words and left out.

    Args:
        path: The file.
        task: Names the columns by their CoNLL-U field: ``FORM``, and ``UPOS`` or ``XPOS`` or another.

    Returns:
        One dictionary a sentence, of ``words`` and ``tags``, two lists of the same length.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As in `read_conll`; a tag ``_`` is a missing tag.
    """
    for column in (*task.texts, task.label):
        if column not in FIELDS:
            raise ValueError(f"task {task.name!r}: {column!r} is no CoNLL-U field; there are: {', '.join(FIELDS)}")
    word, tag = FIELDS.index(task.texts[0]), FIELDS.index(task.label)
    tokens: list[tuple[int, str, str] | None] = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip(" \t"):
            tokens.append(None)
            continue
        if line.startswith("#"):
            continue
        place, cells = f"{path}, line {number}", line.split("\t")
        if len(cells) != len(FIELDS):
            raise ValueError(f"{place}: {_columns(len(cells))}, but CoNLL-U has {len(FIELDS)}, separated by tabs")
        if not _WORD.fullmatch(cells[0]):
            if not _NO_WORD.fullmatch(cells[0]):
                raise ValueError(f"{place}: {cells[0]!r:.80} is no word number (1), range (1-2) or empty node (8.1)")
            continue
        if cells[tag] in ("_", ""):
            raise ValueError(f"{place}: word {cells[word]!r:.80} has no tag in column {task.label}; add it")
        tokens.append((number, cells[word], cells[tag]))
    return list(_sentences(path, task, tokens))


def check_iob2(tags: Sequence[str], places: Sequence[str]) -> None:
    """Check that the tags of one sentence are IOB2: ``O``, ``B-TYPE``, or ``I-TYPE`` after ``B-TYPE`` or ``I-TYPE``.

    Args:
        tags: The tags of the sentence.
        places: Where each of them stands, for the message.

    Raises:
        ValueError: At the first tag that is not.

    Example:
        >>> check_iob2(["B-NP", "I-NP", "O"], ["line 1", "line 2", "line 3"])
        >>> check_iob2(["O", "I-NP"], ["line 1", "line 2"])
        Traceback (most recent call last):
        ...
        ValueError: line 2: tag I-NP follows O, but in IOB2 a span begins with B-NP; convert the file to IOB2
    """
    previous = "O"
    for tag, place in zip(tags, places, strict=True):
        prefix, dash, name = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not dash or not name):
            raise ValueError(f"{place}: {tag!r:.80} is no IOB2 tag (O, B-TYPE or I-TYPE); convert the file to IOB2")
        if prefix == "I" and previous not in (f"B-{name}", tag):
            raise ValueError(
                f"{place}: tag {tag:.80} follows {previous:.80}, but in IOB2 a span begins with B-{name:.80}; "
                "convert the file to IOB2"
            )
        previous = tag


def _sentences(path: Path, task: Task, tokens: Sequence[tuple[int, str, str] | None]) -> Iterator[dict[str, Any]]:
    words: list[str] = []
    tags: list[str] = []
    places: list[str] = []
    empty = True
    for token in (*tokens, None):
        if token is not None:
            number, word, tag = token
            place, tag = f"{path}, line {number}", task.values.get(tag, tag)
            if not word:
                raise ValueError(f"{place}: no word in column {task.texts[0]}; mend or remove the line")
            if not tag:
                raise ValueError(f"{place}: word {word!r:.80} has no tag in column {task.label}; add it")
            if task.labels and tag not in task.labels:
                raise ValueError(
                    f"{place}: unknown tag {tag!r:.80}; task {task.name!r} knows {', '.join(task.labels)}; "
                    "mend the line or the task"
                )
            words.append(word)
            tags.append(tag)
            places.append(place)
        elif words:
            if "span_f1" in task.metrics:
                check_iob2(tags, places)
            yield {"words": words, "tags": tags}
            words, tags, places, empty = [], [], [], False
    if empty:
        raise ValueError(f"{path}: no sentences; the split of task {task.name!r} is empty")


def _columns(number: int) -> str:
    return f"{number} column" + ("" if number == 1 else "s")
