"""What each task reads, predicts and is scored by: a plain table, and the type of its rows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["classification", "regression", "tagging"]
Format = Literal["tsv", "conll", "conllu", "synthetic"]

IGNORED = -100
"""Label of a position that is not scored, as ``torch.nn.CrossEntropyLoss`` has it."""
_NAME = re.compile(r"\w[\w +.-]*")
METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "f1", "matthews_correlation"),
    "regression": ("pearson", "spearman"),
    "tagging": ("accuracy", "span_f1"),
}
_FORMATS: dict[str, tuple[str, ...]] = {
    "classification": ("tsv", "synthetic"),
    "regression": ("tsv", "synthetic"),
    "tagging": ("conll", "conllu", "synthetic"),
}


@dataclass(frozen=True, kw_only=True)
class Hub:
    """Where the Hugging Face hub has a task's data, and how its columns are called there.

    Args:
        path: Repository on the hub, or a local folder of CSV, TSV, JSON, Parquet or Arrow files.
        splits: The hub's split for each of the task's: ``{"train": "train", "test": "validation"}``.
        texts: Columns of the texts; of a tagging task the column of the word lists.
        label: Column of the label, the score or the tag lists.
        name: Configuration of the data set.
        revision: Branch or commit; ``refs/convert/parquet`` where the repository itself is a script.
        head: CoNLL-U only: the column of syntactic heads; words without one (multi-word tokens and empty nodes)
            are left out.
    """

    path: str
    splits: Mapping[str, str]
    texts: tuple[str, ...]
    label: str
    name: str | None = None
    revision: str | None = None
    head: str | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task: its files, its columns, its labels and its metrics.

    Args:
        name: Name of the task.
        kind: One label or one score for a text or a pair of texts, or one tag for each word.
        format: Tab-separated values without quoting, CoNLL columns, CoNLL-U, or embedded synthetic sentences.
        metrics: Names of the metrics; the first is the one that tables are ordered by.
        texts: Columns of the one or two texts, by name or, without a header, by number from 0; of a tagging task
            the column of the word (CoNLL: by number, CoNLL-U: by its field name).
        label: Column of the label, the score or the tag, in the same way.
        files: Path for each split, absolute or relative to the root of the data: ``train``; ``test``, the set that
            results are judged on (more sets may be called ``test_…``); ``dev`` where there is one beside it.
        labels: Names of the labels, in the order of the network's outputs; left out, those of the data, sorted.
        values: The label's name for a value in the file, where the two differ: ``{"0": "negative"}``.
        score_range: Lowest and highest score of a regression; a score outside is an error.
        header: Whether the first line of a tab-separated file names the columns.
        broken_rows: How many rows with too few columns the published file has; so many are left out, with a
            warning, and one more is an error.
        hub: Where the hub has the data.

    Raises:
        ValueError: If the fields contradict each other.

    Example:
        >>> task = Task(name="topic", kind="classification", format="tsv", texts=("text",), label="topic",
        ...             files={"train": "train.tsv", "test": "test.tsv"}, metrics=("accuracy",))
        >>> task.labels   # found in train.tsv
        ()
    """

    name: str
    kind: Kind
    format: Format
    metrics: tuple[str, ...]
    texts: tuple[str, ...] = ("sentence",)
    label: str = "label"
    files: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    score_range: tuple[float, float] | None = None
    header: bool = True
    broken_rows: int = 0
    hub: Hub | None = None

    def __post_init__(self) -> None:
        # A YAML file gives lists, and Python does not turn them into the tuples that the fields promise.
        for name in ("metrics", "texts", "labels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not _NAME.fullmatch(self.name):  # Files and folders are called by it.
            raise self._error("a name has letters, digits, blanks and _ + - . only, and begins with none of - .")
        if self.kind not in METRICS:
            raise self._error(f"kind {self.kind!r} is none of {', '.join(METRICS)}")
        if self.format not in _FORMATS[self.kind]:
            raise self._error(f"format {self.format!r} is none of {', '.join(_FORMATS[self.kind])} ({self.kind})")
        unknown = [metric for metric in self.metrics if metric not in METRICS[self.kind]]
        if unknown or not self.metrics:
            wrong = repr(unknown[0]) if unknown else "none given; it"
            raise self._error(f"metric {wrong} must be one of {', '.join(METRICS[self.kind])} ({self.kind})")
        if not 1 <= len(self.texts) <= (1 if self.kind == "tagging" else 2):
            raise self._error(f"{len(self.texts)} text columns; give one, or two for pairs of texts")
        if len(set(self.labels)) != len(self.labels):
            raise self._error(f"a label is listed twice: {', '.join(self.labels)}")
        if self.kind == "regression" and self.labels:
            raise self._error("a regression has no labels; leave `labels` out")
        if self.labels and (strange := sorted(set(self.values.values()) - set(self.labels))):
            raise self._error(f"`values` leads to {strange[0]!r}, which is none of `labels`")
        if "f1" in self.metrics and len(self.labels) not in (0, 2):
            raise self._error(f"f1 is binary and needs two labels, not {len(self.labels)}; choose accuracy")
        if self.format != "synthetic":
            self._check_splits()

    def _check_splits(self) -> None:
        numbered = self.format == "conll" or (self.format == "tsv" and not self.header)
        if self.files and numbered and not all(column.isdecimal() for column in (*self.texts, self.label)):
            raise self._error("columns of a file without a header are numbers from 0, as strings: '0', '1'")
        splits = self.files or (self.hub.splits if self.hub else {})
        if "train" not in splits or "test" not in splits:
            raise self._error("`files` must name a train and a test file, relative to the root of the data")

    def _error(self, message: str) -> ValueError:
        return ValueError(f"task {self.name!r}: {message}")

    @property
    def num_labels(self) -> int:
        """Number of outputs of the network: one for a regression, else one for each label."""
        return 1 if self.kind == "regression" else len(self.labels)

    @property
    def judged(self) -> tuple[str, ...]:
        """The sets that results are judged on: ``test``, then ``test_…`` in the order of the table."""
        splits = self.files or (self.hub.splits if self.hub else {})
        return ("test", *(name for name in splits if name.startswith("test_")))


def find_task(task: str | Task) -> Task:
    """Look a task up by its name; a task of the user's own is returned as it is.

    Args:
        task: Name of a task of `TASKS`, or a `Task`.

    Raises:
        ValueError: If no task has that name.

    Example:
        >>> find_task("stsb").kind
        'regression'
    """
    if isinstance(task, Task):
        return task
    if task in TASKS:
        return TASKS[task]
    near = difflib.get_close_matches(task, TASKS, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"unknown task {task!r}; {hint}there are: {', '.join(TASKS)}")


_PAIR = ("sentence1", "sentence2")
_UPOS = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM"),
    *("PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X"),
)
_ALL_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def _glue(name: str, folder: str, hub_texts: tuple[str, ...], *, binary: bool = False, **columns: Any) -> Task:
    files = {"train": f"glue/{folder}/train.tsv", "test": f"glue/{folder}/dev.tsv"}
    splits = {"train": "train", "test": "validation"}
    if name == "mnli":
        files.update(test=f"glue/{folder}/dev_matched.tsv", test_mismatched=f"glue/{folder}/dev_mismatched.tsv")
        splits.update(test="validation_matched", test_mismatched="validation_mismatched")
    if binary:  # the file holds 0 and 1 for the labels in this order
        columns["values"] = dict(zip("01", columns["labels"], strict=True))
    hub = Hub(path="nyu-mll/glue", name=name, splits=splits, texts=hub_texts, label="label")
    kind: Kind = "classification" if "labels" in columns else "regression"
    return Task(name=name, kind=kind, format="tsv", files=files, hub=hub, **{"texts": hub_texts, **columns})


def _tagging(
    name: str, set_name: str, suffix: str, splits: Mapping[str, str], hub: tuple[str, str, str], **columns: Any
) -> Task:
    path, configuration, label = hub
    return Task(
        name=name,
        kind="tagging",
        files={split: f"tagging/{set_name}/{split}.{suffix}" for split in splits},
        hub=Hub(
            path=path,
            name=configuration,
            revision="refs/convert/parquet",
            splits=splits,
            texts=("tokens",),
            label=label,
            head="head" if suffix == "conllu" else None,
        ),
        **columns,
    )


def _universal_dependencies(name: str, labels: tuple[str, ...]) -> Task:
    hub = ("universal-dependencies/universal_dependencies", "en_ewt", name)
    columns: dict[str, Any] = {"texts": ("FORM",), "label": name.upper(), "labels": labels, "metrics": ("accuracy",)}
    return _tagging(name, "ud-ewt", "conllu", _ALL_SPLITS, hub, format="conllu", **columns)


def _spans(*types: str) -> tuple[str, ...]:
    return ("O", *(f"{prefix}-{name}" for name in types for prefix in "BI"))


def _synthetic(name: str, kind: Kind, **columns: Any) -> Task:
    columns = {"texts": ("words",), "label": "tags"} | columns if kind == "tagging" else columns
    return Task(name=f"synthetic_{name}", kind=kind, format="synthetic", **columns)


# The label names of GLUE are those of its release on the hub.
_TABLE = (
    _glue(
        "cola",
        "CoLA",
        ("sentence",),
        header=False,
        texts=("3",),
        label="1",
        labels=("unacceptable", "acceptable"),
        binary=True,
        metrics=("matthews_correlation", "accuracy"),
    ),
    _glue("sst2", "SST-2", ("sentence",), labels=("negative", "positive"), binary=True, metrics=("accuracy",)),
    _glue(
        "mrpc",
        "MRPC",
        _PAIR,
        texts=("#1 String", "#2 String"),
        label="Quality",
        labels=("not_equivalent", "equivalent"),
        binary=True,
        metrics=("accuracy", "f1"),
    ),
    _glue("stsb", "STS-B", _PAIR, label="score", score_range=(0.0, 5.0), metrics=("pearson", "spearman")),
    _glue(
        "qqp",
        "QQP",
        ("question1", "question2"),
        label="is_duplicate",
        labels=("not_duplicate", "duplicate"),
        binary=True,
        # A few questions of the first release contain a line break, which cuts their rows in two.
        broken_rows=6,
        metrics=("accuracy", "f1"),
    ),
    _glue(
        "mnli",
        "MNLI",
        ("premise", "hypothesis"),
        texts=_PAIR,
        label="gold_label",
        labels=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
    ),
    _glue("qnli", "QNLI", ("question", "sentence"), labels=("entailment", "not_entailment"), metrics=("accuracy",)),
    _glue("rte", "RTE", _PAIR, labels=("entailment", "not_entailment"), metrics=("accuracy",)),
    _glue("wnli", "WNLI", _PAIR, labels=("not_entailment", "entailment"), binary=True, metrics=("accuracy",)),
    _universal_dependencies("upos", _UPOS),
    _universal_dependencies("xpos", ()),
    _tagging(
        "chunking",
        "conll2000",
        "txt",
        {"train": "train", "test": "test"},
        ("eriktks/conll2000", "conll2000", "chunk_tags"),
        format="conll",
        texts=("0",),
        label="2",
        # I-LST is in the test file only: an output that is never trained, so its words count as errors.
        labels=_spans("ADJP", "ADVP", "CONJP", "INTJ", "LST", "NP", "PP", "PRT", "SBAR", "UCP", "VP"),
        metrics=("span_f1", "accuracy"),
    ),
    _tagging(
        "ner",
        "wnut17",
        "txt",
        _ALL_SPLITS,
        ("leondz/wnut_17", "wnut_17", "ner_tags"),
        format="conll",
        texts=("0",),
        label="1",
        labels=_spans("corporation", "creative-work", "group", "location", "person", "product"),
        metrics=("span_f1", "accuracy"),
    ),
    _synthetic("sentiment", "classification", labels=("negative", "positive"), metrics=("accuracy",)),
    _synthetic(
        "acceptability",
        "classification",
        labels=("unacceptable", "acceptable"),
        metrics=("matthews_correlation", "accuracy"),
    ),
    _synthetic(
        "paraphrase",
        "classification",
        texts=_PAIR,
        labels=("not_equivalent", "equivalent"),
        metrics=("accuracy", "f1"),
    ),
    _synthetic(
        "entailment",
        "classification",
        texts=_PAIR,
        labels=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
    ),
    _synthetic("similarity", "regression", texts=_PAIR, score_range=(0.0, 5.0), metrics=("pearson", "spearman")),
    _synthetic("pos", "tagging", labels=tuple(tag for tag in _UPOS if tag not in ("SYM", "X")), metrics=("accuracy",)),
    _synthetic(
        "entities",
        "tagging",
        labels=_spans("person", "location", "organization", "product"),
        metrics=("span_f1", "accuracy"),
    ),
)
TASKS: dict[str, Task] = {task.name: task for task in _TABLE}
