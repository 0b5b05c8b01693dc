"""CoNLL and CoNLL-U files, compared with a plain loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.data.tagging import check_iob2, read_conll, read_conllu
from toolkit.tasks import TASKS

# Sentences and words of the published files: train, dev (where there is one), test.
PUBLISHED = {
    "upos": [(12544, 204577), (2001, 25147), (2077, 25094)],
    "xpos": [(12544, 204577), (2001, 25147), (2077, 25094)],
    "chunking": [(8936, 211727), (2012, 47377)],
    "ner": [(3394, 62730), (1009, 15733), (1287, 23394)],
}
READ = {"conll": read_conll, "conllu": read_conllu}


@pytest.mark.parametrize("name", PUBLISHED)
def test_words_and_tags_are_those_of_a_plain_loop(name: str, data_root: Path, tiny_data: Path) -> None:
    task = TASKS[name]
    counts = []
    for file in task.files.values():
        sentences: list[list[tuple[str, str]]] = [[]]
        for line in (data_root / file).read_text(encoding="utf-8").split("\n"):
            cells = line.split("\t" if name != "chunking" else " ")
            if not line:
                sentences.append([])
            elif name in ("upos", "xpos"):
                if line[0] != "#" and "-" not in cells[0] and "." not in cells[0]:
                    sentences[-1].append((cells[1], cells[3 if name == "upos" else 4]))
            else:
                sentences[-1].append((cells[0], cells[-1]))
        expected = [sentence for sentence in sentences if sentence]
        rows = READ[task.format](data_root / file, task)
        assert [list(zip(row["words"], row["tags"], strict=True)) for row in rows] == expected
        counts.append((len(rows), sum(len(row["words"]) for row in rows)))
    if data_root != tiny_data:
        assert counts == PUBLISHED[name]


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_documents_spaces_and_hashtags(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "-DOCSTART- O\n\n#a O\nb  \nc O\n".replace("b  ", "b O  ") + " \n\n\nd O")
    rows = read_conll(path, TASKS["ner"])
    assert [row["words"] for row in rows] == [["#a", "b", "c"], ["d"]]


def test_tab_separated_words_may_hold_spaces(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "New York\tB-location\n")
    assert read_conll(path, TASKS["ner"]) == [{"words": ["New York"], "tags": ["B-location"]}]


BROKEN: list[tuple[str, str, str]] = [
    ("ner", "a\tO\nb\n", r"line 2: 'b' has 1 column and so no tag, which task 'ner' reads from column 1"),
    ("ner", "a\tO\nb\t\n", r"line 2: 'b\\t' has 1 column and so no tag"),
    ("ner", "a\tO\nb\tO\tO\n", r"line 2: 3 columns, but the first word of the file has 2"),
    ("ner", "a\tO\n\tO\n", r"line 2: no word in column 0"),
    ("ner", "a\tO\nb\tB-animal\n", r"line 2: unknown tag 'B-animal'; task 'ner' knows O, B-corporation"),
    ("ner", "a\tO\nb\tI-person\n", r"line 2: tag I-person follows O, but in IOB2 a span begins with B-person"),
    ("ner", "a\tB-person\n\nb\tI-person\n", r"line 3: tag I-person follows O"),
    ("ner", "a\tB-person\nb\tI-group\n", r"line 2: tag I-group follows B-person"),
    ("ner", "\n\n", r"no sentences; the split of task 'ner' is empty"),
    ("upos", "# only a comment\n\n", r"no sentences"),
    ("upos", "1\ta\t_\tX\n", r"line 1: 4 columns, but CoNLL-U has 10"),
    ("upos", "x\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", r"line 1: 'x' is no word number"),
    ("upos", "# c\n1\ta\t_\t_\tX\t_\t_\t_\t_\t_\n", r"line 2: word 'a' has no tag in column UPOS"),
    ("upos", "1\ta\t_\tQ\tX\t_\t_\t_\t_\t_\n", r"line 1: unknown tag 'Q'"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_broken_files_are_errors(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "train.txt", content)
    with pytest.raises(ValueError, match=message) as error:
        READ[TASKS[name].format](path, TASKS[name])
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_no_iob2_is_asked_for_without_span_f1(tmp_path: Path) -> None:
    task = replace(TASKS["ner"], labels=(), metrics=("accuracy",))
    assert read_conll(write(tmp_path / "f", "a\tE-x\n"), task)[0]["tags"] == ["E-x"]


@pytest.mark.parametrize("tag", ["E-x", "S-x", "B", "B-", "i-x", "o", "-x"])
def test_other_schemes_are_no_iob2(tag: str) -> None:
    with pytest.raises(ValueError, match="is no IOB2 tag"):
        check_iob2([tag], ["line 1"])


def test_column_that_conllu_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'WORD' is no CoNLL-U field"):
        read_conllu(tmp_path / "f", replace(TASKS["upos"], texts=("WORD",)))
