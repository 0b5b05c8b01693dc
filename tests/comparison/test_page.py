"""The page of a comparison: whole, escaped, and in need of nothing else."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

from toolkit.comparison.page import page
from toolkit.comparison.results import Results
from toolkit.comparison.table import sections, summary_line, title

EMPTY = {"meta", "img", "br", "wbr"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps texts, cells, tags and sources."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        elif tag == "br":
            self.rows[-1][-1] += "\n"
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "th" in self.open or "td" in self.open:
            self.rows[-1][-1] += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


def test_page_holds_the_tables(compared: Results) -> None:
    read_page = read(page(compared))
    tables = sections(compared)
    shown = [table for table in tables if not table.long] + [table for table in tables if table.long]
    assert read_page.rows == [
        row
        for table in shown
        for row in (list(table.header), *([field.text + field.marks for field in line] for line in table.lines))
    ]
    assert read_page.texts.count(title(compared)) == 2
    assert summary_line(compared) in read_page.texts
    for table in tables:
        assert table.note in read_page.texts
    assert not read_page.sources


def test_page_needs_nothing_else_and_runs_nothing(compared: Results, tmp_path: Path) -> None:
    (tmp_path / "tasks.png").write_bytes(b"a picture")
    text = page(compared, [tmp_path / "tasks.png"])
    read_page = read(text)
    (source,) = read_page.sources
    assert b64decode(source.removeprefix("data:image/png;base64,")) == b"a picture"
    assert not {"script", "link", "iframe", "object", "b", "i"} & read_page.tags  # Nor tags out of names.
    assert not re.search(r"@import|url\(|https?:", text)
    assert "@media print" in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_page_without_a_cell_is_a_sentence() -> None:
    read_page = read(page(Results.gather([])))
    assert "No cell is finished, 0 failed: there are no scores to compare." in read_page.texts
    assert not {"table", "h2"} & read_page.tags


def test_wide_tables_scroll_by_themselves(compared: Results) -> None:
    text = page(compared)
    assert text.count('<div class="wide"') == text.count("<table>") == len(sections(compared))
