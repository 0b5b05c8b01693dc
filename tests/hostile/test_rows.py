"""Any bytes as files of examples: what a minimal parser of its own finds in them, or an error that names the line."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.data.glue import read_tsv
from toolkit.data.tagging import FIELDS, read_conll, read_conllu
from toolkit.data.text_sources import file_texts
from toolkit.tasks import TASKS, Task

Row = dict[str, Any]
quick = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
# What a reader may stumble over, beside any text at all.
ODD = ("\x00", "\ufeff", "\r", "\r\n", "\u2028", "\x85", "\t\t", "  ", " ", "\t", "#", '"', "_", "-DOCSTART-", "\n\n")
CELLS = st.one_of(
    st.sampled_from(("0", "1", "good", "O", "B-x", "I-x", "1-2", "8.1", "-1", "1_0", "٣", *ODD)), st.text(max_size=3)
)
RAW = st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))


def table(gap: str, head: str = "", width: int = 3) -> st.SearchStrategy[bytes]:
    """Lines of cells, most of them of one width."""
    line = st.one_of(st.lists(CELLS, min_size=width, max_size=width), st.lists(CELLS, max_size=width + 1)).map(gap.join)
    lines = st.lists(line, max_size=6).map(lambda lines: head + "\n".join(lines))
    return st.one_of(lines.map(lambda text: text.encode("utf-8", "surrogatepass")), RAW)


def lines_of(content: bytes) -> list[str]:
    """The lines of UTF-8, without a mark at the beginning, Windows line ends, and empty lines at the end."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    lines = [line[:-1] if line.endswith("\r") else line for line in text.split("\n")]
    return lines[: max((number for number, line in enumerate(lines, 1) if line), default=0)]


def check(
    read: Callable[[Path], list[Any]], parse: Callable[[list[str]], list[Any]], content: bytes, file: Path
) -> None:
    """What is read is what the parser finds; what is refused names the file, and a line if there is one to blame."""
    file.write_bytes(content)
    refusal = ""
    try:
        found = read(file)
    except ValueError as error:
        refusal = str(error)
    if not refusal:
        assert found == parse(lines_of(content))
        return
    assert str(file) in refusal
    assert re.search(r"line \d+|no rows|no sentences|no text", refusal)
    assert re.search(r"mend|add|save|convert|separated|empty|blank", refusal), "no remedy"
    with contextlib.suppress(UnicodeDecodeError):
        number = re.search(r"line (\d+)", refusal)
        assert number is None or 1 <= int(number[1]) <= max(1, len(lines_of(content)))


def own(kind: str, **columns: Any) -> Task:
    return Task(
        name="own", kind="tagging" if "con" in kind else "classification", format=kind, metrics=("accuracy",),
        files={"train": "x", "test": "x"}, **columns,
    )  # fmt: skip


@quick
@given(table("\t", "text\tlabel\tmore\n"))
def test_tsv_with_a_header(tmp_path: Path, content: bytes) -> None:
    def parse(lines: list[str]) -> list[Row]:
        header, *rest = (line.split("\t") for line in lines)
        assert all(len(row) == len(header) for row in rest)
        rows = [dict(zip(header, row, strict=True)) for row in rest]
        return [{"sentence": row["text"], "label": row["label"]} for row in rows]

    task = own("tsv", texts=("text",), label="label")
    check(lambda file: read_tsv(file, task), parse, content, tmp_path / "x.tsv")


@quick
@given(table("\t"))
def test_tsv_without_a_header(tmp_path: Path, content: bytes) -> None:
    def parse(lines: list[str]) -> list[Row]:
        return [{"sentence1": a, "sentence2": b, "label": c} for a, b, c in (line.split("\t")[:3] for line in lines)]

    task = own("tsv", texts=("0", "1"), label="2", header=False)
    check(lambda file: read_tsv(file, task), parse, content, tmp_path / "x.tsv")


@quick
@given(table(" "))
def test_conll_with_blanks(tmp_path: Path, content: bytes) -> None:
    check(lambda file: read_conll(file, own("conll", texts=("0",), label="2")), conll, content, tmp_path / "x.txt")


@quick
@given(table("\t"))
def test_conll_with_tabs(tmp_path: Path, content: bytes) -> None:
    check(lambda file: read_conll(file, own("conll", texts=("0",), label="2")), conll, content, tmp_path / "x.txt")


def conll(lines: list[str]) -> list[Row]:
    """Words in the first column and tags in the third."""
    sentences: list[Row] = [{"words": [], "tags": []}]
    for line in lines:
        if line.strip(" \t") == "" or line[:11] == "-DOCSTART- "[:11] or line.startswith("-DOCSTART-"):
            sentences.append({"words": [], "tags": []})
        else:
            cells = re.split("\t" if "\t" in line else " ", line)
            sentences[-1]["words"].append(cells[0])
            sentences[-1]["tags"].append(cells[2])
    return [sentence for sentence in sentences if sentence["words"]]


@quick
@given(table("\t", "1\tgood\t_\tADJ\t_\t_\t0\troot\t_\t_\n", len(FIELDS)))
def test_conllu(tmp_path: Path, content: bytes) -> None:
    def parse(lines: list[str]) -> list[Row]:
        sentences: list[Row] = [{"words": [], "tags": []}]
        for line in lines:
            if line.strip(" \t") == "":
                sentences.append({"words": [], "tags": []})
            elif not line.startswith("#"):
                number, word, _, tag, *_ = line.split("\t")
                if "-" in number or "." in number:
                    assert re.fullmatch("[0-9]+[-.][0-9]+", number)
                else:
                    assert re.fullmatch("[0-9]+", number)
                    sentences[-1]["words"].append(word)
                    sentences[-1]["tags"].append(tag)
        return [sentence for sentence in sentences if sentence["words"]]

    check(lambda file: read_conllu(file, own("conllu", texts=("FORM",), label="UPOS")), parse, content, tmp_path / "x")


@quick
@given(RAW)
def test_plain_text(tmp_path: Path, content: bytes) -> None:
    check(file_texts, lambda lines: [line for line in lines if line.strip()], content, tmp_path / "x.txt")


@pytest.mark.parametrize(
    "score", ["1_0", " 2.5", "٣", "nan", "inf", "1e999", "0x1", "", "2,5", "5.1", "-0.1", "9" * 5000]
)
def test_numbers_that_only_python_takes_are_no_scores(score: str, tmp_path: Path) -> None:
    file = tmp_path / "x.tsv"
    file.write_text(f"sentence1\tsentence2\tscore\na\tb\t{score}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"x\.tsv, line 2: score .* mend or remove the line"):
        read_tsv(file, TASKS["stsb"])


@pytest.mark.parametrize("score", ["0", "2.5", "5.000", ".5", "4.", "1e-3", "+1"])
def test_scores_as_files_have_them(score: str, tmp_path: Path) -> None:
    file = tmp_path / "x.tsv"
    file.write_text(f"sentence1\tsentence2\tscore\na\tb\t{score}\n", encoding="utf-8")
    assert read_tsv(file, TASKS["stsb"]) == [{"sentence1": "a", "sentence2": "b", "label": float(score)}]


def test_a_column_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.tsv"
    file.write_text("sentence\tlabel\tsentence\na\t0\tb\n")
    with pytest.raises(ValueError, match=r"line 1: the header names column 'sentence' 2 times; mend it"):
        read_tsv(file, TASKS["sst2"])


@pytest.mark.parametrize("number", ["-1", "1-", "1--2", ".1", "1.2.3", "٣", "x"])
def test_word_numbers_that_are_none_lose_no_word(number: str, tmp_path: Path) -> None:
    file = tmp_path / "x.conllu"
    file.write_text(f"{number}\tgood\t_\tADJ\t_\t_\t0\troot\t_\t_\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1: .* is no word number"):
        read_conllu(file, TASKS["upos"])


def test_a_long_line_is_refused_in_a_short_message(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    for read, task in ((read_tsv, "sst2"), (read_conll, "chunking"), (read_conllu, "upos")):
        for content in ("x" * 500_000, "x\t" * 100_000):
            file.write_text(f"{content}\nx\n")
            with pytest.raises(ValueError, match=r"line [12]\b") as refused:
                read(file, TASKS[task])
            assert len(str(refused.value)) < 1000
