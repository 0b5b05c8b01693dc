"""Labelled English sentences from seeded grammars, of any number and without a network.

The rules are in :mod:`toolkit.data.grammars`, the words in :mod:`toolkit.data.lexicon`. A rule is text with slots:
``<symbol>`` expands a symbol, ``<symbol.2>`` takes the third of the forms joined by ``~``, ``<A:symbol>`` also keeps
the result as ``A``, and ``<A>`` or ``<A.1>`` repeat it. Two variables of a row never hold the same words.

A linear probe on frozen features of MiniLM (mean of the last layer, pairs as u, v, |u − v| and u·v, tagging the last
sub-word), trained on 2,000 sentences and tested on 500 others, scores 75 (sentiment), 70 (acceptability), 77
(paraphrase) and 69 % (entailment) accuracy, a Pearson correlation of 0.81 (similarity), 95 % accuracy (parts of speech)
and a span F1 of 70 % (entities).
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from random import Random
from typing import Any, NamedTuple

from toolkit.data import grammars
from toolkit.data.lexicon import WORDS

_KINDS = ("person", "location", "organization", "product")

LABELS: dict[str, tuple[str, ...]] = {
    "synthetic_sentiment": ("negative", "positive"),
    "synthetic_acceptability": ("unacceptable", "acceptable"),
    "synthetic_paraphrase": ("not_equivalent", "equivalent"),
    "synthetic_entailment": ("entailment", "neutral", "contradiction"),
    "synthetic_similarity": (),
    "synthetic_pos": (
        *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN"),
        *("NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "VERB"),
    ),
    "synthetic_entities": ("O", *(f"{prefix}-{kind}" for kind in _KINDS for prefix in "BI")),
}
"""Label names of each task in order; empty for similarity, whose labels are scores from 0 to 5."""

_ATTEMPTS = 50  # draws for a sentence that is not there yet, before a repetition is accepted


class _Slot(NamedTuple):
    variable: str  # empty: not kept
    symbol: str  # empty: the variable again
    form: int | None


_Rules = dict[str, list[str | list[str | _Slot]]]
_Reader = Callable[[str, str], dict[str, Any]]


def generate(task_name: str, size: int, seed: int) -> list[dict[str, Any]]:
    """Draw labelled sentences.

    Labels are balanced: every block of as many rows as there are labels (similarity: scores) holds each once, in
    random order. The result depends on the arguments only, not on the process or any global generator, and a
    shorter draw is the beginning of a longer one. No sentence (or pair) comes twice in a draw unless 50 attempts in
    a row found none that is new; draws of different seeds overlap by chance only.

    Args:
        task_name: One of :data:`LABELS`.
        size: Number of rows.
        seed: Names the draw; take different ones for training and test.

    Returns:
        Rows with ``sentence`` (of pairs ``sentence1`` and ``sentence2``) and ``label``, a label's name or a score from
        0 to 5. For tagging they have ``words`` and ``tags``.

    Raises:
        ValueError: Unknown task, or a negative size.

    Example:
        >>> generate("synthetic_similarity", 20, seed=1)[:5] == generate("synthetic_similarity", 5, seed=1)
        True
    """
    if task_name not in LABELS:
        near = get_close_matches(task_name, LABELS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{task_name!r} is no synthetic task; {hint}there are {', '.join(LABELS)}.")
    if size < 0:
        raise ValueError(f"size is {size}; give the number of sentences, 0 or more.")
    sources, read = _grammar(task_name)
    # A string seeds through SHA-512, the same in every process; tasks of one seed draw differently.
    random = Random(f"{task_name} {seed}")
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    while len(rows) < size:
        for label, rules, start in random.sample(sources, len(sources)):
            for _ in range(_ATTEMPTS):
                text = _expand(rules, start, random.random, {})
                if text not in seen:
                    break
            seen.add(text)
            rows.append(read(text, label))
    return rows[:size]


@cache
def _grammar(task_name: str) -> tuple[list[tuple[str, _Rules, str]], _Reader]:
    match task_name:
        case "synthetic_sentiment":
            text, read = grammars.SENTIMENT, _read_sentence
            for topic in grammars.TOPICS:
                for sign, opposite in ("+-", "-+"):
                    text += grammars.OPINION.replace("@", topic).replace("±", sign).replace("∓", opposite)
        case "synthetic_acceptability":
            text, read = grammars.ACCEPTABILITY, _read_sentence
        case "synthetic_paraphrase":
            text, read = grammars.PARAPHRASE, _read_pair
        case "synthetic_entailment":
            text, read = grammars.ENTAILMENT, _read_pair
        case "synthetic_similarity":
            sources = []
            for score, changes in grammars.SCORES.items():
                frames = [_fill_frames(change) for change in changes.split()]
                rules = _compile("\n".join([grammars.SIMILARITY, "s = " + " | ".join(frames)]), 0)
                sources.append((score, rules, "s"))
            return sources, _read_scored_pair
        case "synthetic_pos":
            return [("", _compile(grammars.PARTS_OF_SPEECH, 0), "s")], _read_tagged
        case _:
            return [("", _compile(grammars.ENTITIES, 0), "s")], _read_entities
    return [(label, _compile(text, index), "s") for index, label in enumerate(LABELS[task_name])], read


def _fill_frames(changes: str) -> str:
    def fill(slot: re.Match[str]) -> str:
        change = changes[int(slot[3]) - 1]
        if change == "-":
            return slot[1] if slot[4] else ""
        return f"{slot[1]}<{slot[2]}_{change}>{slot[4] or ''}"

    frames = grammars.FRAMES.strip().splitlines()
    if "x" in changes:  # persons only can be exchanged
        frames = [frame for frame in frames if "<other3>" in frame]
    return " | ".join(re.sub(r"( ?)<([a-z]+)([1-5])>(, )?", fill, frame) for frame in frames)


def _compile(text: str, index: int) -> _Rules:
    rules: _Rules = {symbol: list(words) for symbol, words in WORDS.items()}
    text = re.sub(r"\{([^{}]*)\}", lambda choices: choices[1].split(";")[index], text)
    for line in text.splitlines():
        symbol, is_new, alternatives = line.rpartition(" = ")
        if is_new:
            rules[symbol] = target = []
        for alternative in filter(None, alternatives.split(" | ")):
            times, weighted, body = alternative.rpartition("*")
            target.extend([_parse(body)] * (int(times) if weighted else 1))
    return rules


def _parse(alternative: str) -> str | list[str | _Slot]:
    parts: list[str | _Slot] = []
    # re.split with groups: text, inner of a slot, text, ...
    for position, piece in enumerate(re.split(r"<([^<>]+)>", alternative)):
        if position % 2 == 0:
            if piece:
                parts.append(piece)
            continue
        name, _, form = piece.partition(".")
        variable, _, symbol = name.rpartition(":")
        if name.isupper():
            variable, symbol = name, ""
        parts.append(_Slot(variable, symbol, int(form) if form else None))
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    return parts


def _expand(rules: _Rules, symbol: str, random: Callable[[], float], variables: dict[str, str]) -> str:
    alternatives = rules[symbol]
    chosen = alternatives[int(random() * len(alternatives))]
    if isinstance(chosen, str):
        return chosen
    pieces = []
    for part in chosen:
        if isinstance(part, str):
            pieces.append(part)
            continue
        variable, name, form = part
        if name:
            value = _expand(rules, name, random, variables)
            if variable:
                while value in variables.values():
                    value = _expand(rules, name, random, variables)
                variables[variable] = value
        else:
            value = variables[variable]
        if form is None and len(chosen) == 1:
            return value  # with all its forms: the symbol stands for the other one
        pieces.append(value.split("~")[form or 0])
    return "".join(pieces)


def _finish(text: str) -> str:
    # "an" before a vowel, also if an annotation or "/DET" comes between; not before "uni…" and "use…".
    text = re.sub(r"\b([Aa])(?= (\[\w+ )?([aeio]|u(?!ni|se)))", r"\1n", text, flags=re.IGNORECASE)
    return text[0].upper() + text[1:]


def _read_sentence(text: str, label: str) -> dict[str, Any]:
    return {"sentence": _finish(text), "label": label}


def _read_pair(text: str, label: str) -> dict[str, Any]:
    first, second = text.split(" // ")
    return {"sentence1": _finish(first), "sentence2": _finish(second), "label": label}


def _read_scored_pair(text: str, score: str) -> dict[str, Any]:
    return {**_read_pair(text, score), "label": float(score)}


def _read_tagged(text: str, _: str) -> dict[str, Any]:
    words, tags = zip(*(token.rsplit("/", 1) for token in text.split()), strict=True)
    return {"words": _finish(" ".join(words)).split(), "tags": list(tags)}


def _read_entities(text: str, _: str) -> dict[str, Any]:
    words, tags = [], []
    tag = "O"
    for token in _finish(text).split():
        if token.startswith("["):
            tag = f"B-{token[1:].lower()}"
            continue
        words.append(token.removesuffix("]"))
        tags.append(tag)
        tag = "O" if token.endswith("]") or tag == "O" else f"I-{tag[2:]}"
    return {"words": words, "tags": tags}
