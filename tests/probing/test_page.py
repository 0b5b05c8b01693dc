"""The page of an analysis of redundancy: whole, escaped, and in need of nothing else."""

from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

from toolkit.probing.analysis import RedundancyAnalysis
from toolkit.probing.page import write_page
from toolkit.probing.tables import sections, summary, title

EMPTY = {"meta", "img"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps texts, cells and sources."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data


def read(file: Path) -> Reader:
    reader = Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    reader.close()
    assert not reader.open
    return reader


def test_page_holds_the_tables_and_needs_no_figures(analysis: RedundancyAnalysis, tmp_path: Path) -> None:
    page = read(write_page(analysis, tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["analysis.html"]
    assert [tuple(row) for row in page.rows] == [
        line for section in sections(analysis) for line in (section.header, *section.lines)
    ]
    assert page.texts.count(title(analysis)) == 2
    assert summary(analysis) in page.texts
    assert not page.sources


def test_figures_are_within_the_page(analysis: RedundancyAnalysis, tmp_path: Path) -> None:
    (tmp_path / "windows.png").write_bytes(b"a picture")
    (tmp_path / "else.png").write_bytes(b"another")
    (source,) = read(write_page(analysis, tmp_path)).sources
    assert b64decode(source.removeprefix("data:image/png;base64,")) == b"a picture"
