"""A comparison on a terminal: tables that are folded by groups of columns where they are too wide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from toolkit.comparison.layout import LOSS, Section
from toolkit.comparison.quality_table import BEST
from toolkit.comparison.table import sections, summary_line, title

if TYPE_CHECKING:
    from toolkit.comparison.results import Results


@dataclass(frozen=True)
class Screen:
    """What rich prints of a comparison.

    Args:
        results: Of the comparison.
    """

    results: Results

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text(title(self.results), style="bold")
        yield Text(f"{summary_line(self.results)}\n")
        for section in sections(self.results):
            if section.long:
                continue
            yield Text(section.title, style="bold")
            yield from folded(section, console, options)
            yield Text(f"{section.note}\n", style="dim")


def folded(section: Section, console: Console, options: ConsoleOptions) -> Iterator[Table]:
    """Lay a table out in as many parts as the width asks for; each part begins with the first column.

    Args:
        section: The table.
        console: That it is printed on.
        options: With the width.
    """
    rest = list(range(1, len(section.header)))
    if section.words == len(section.header):  # Words can be broken anywhere.
        yield _table(section, rest)
        return
    while rest:
        part = len(rest)
        while part > 1 and _width(_table(section, rest[:part]), console, options) > options.max_width:
            part -= 1
        yield _table(section, rest[:part])
        rest = rest[part:]


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    return Measurement.get(console, options.update(width=10_000), table).maximum


def _table(section: Section, columns: list[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for column in (0, *columns):
        words = column < section.words
        table.add_column(
            Text(section.header[column]), justify="left" if words else "right", no_wrap=not words, overflow="fold"
        )
    # Marks are as wide in all lines of a column, so that figures stand below each other.
    wide = {column: max(len(line[column].marks) for line in section.lines) for column in columns}
    for line in section.lines:
        cells = [Text(line[0].text)]  # as Text, brackets in names are no markup
        for column in columns:
            field = line[column]
            style = "bold" if BEST in field.marks else "red" if LOSS in field.marks else ""
            cells.append(Text(field.text + field.marks.ljust(wide[column]), style=style))
        table.add_row(*cells)
    return table
