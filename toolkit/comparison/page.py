"""A comparison as one HTML page that needs nothing else: figures and tables, on a screen, a phone or paper."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.comparison.layout import LOSS, Field, Section
from toolkit.comparison.quality_table import BEST
from toolkit.comparison.table import sections, summary_line, title

if TYPE_CHECKING:
    from toolkit.comparison.results import Results

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --paper: #fff; --head: #f2f4f7;
        --loss: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #a3abb5; --line: #3b424b; --paper: #15181c; --head: #20252b; --loss: #ff9c94; }
}
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
       background: var(--paper); overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { background: var(--head); vertical-align: bottom; line-height: 1.25; }
tbody th { font-weight: 500; } .text { text-align: left; } td.text { white-space: normal; min-width: 4rem; }
.first { position: sticky; left: 0; background: var(--paper); max-width: 14rem; white-space: normal; }
thead .first { background: var(--head); }
.marks { display: inline-block; text-align: left; }
.best { font-weight: 700; } .loss .marks { color: var(--loss); }
.note { color: var(--soft); font-size: .875rem; max-width: 60rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figure.broad { grid-column: 1 / -1; overflow-x: auto; }
img { max-width: 100%; height: auto; display: block; background: #fff; border-radius: .25rem; }
figure.broad img { max-width: none; width: max(100%, 38rem); }
details { margin-top: .75rem; } summary { cursor: pointer; font-weight: 600; }
@media (max-width: 40rem) { body { margin: 1rem auto; } .first { max-width: 8.5rem; } }
@page { size: landscape; margin: 1cm; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #333; --line: #999; --paper: #fff; --head: #fff; --loss: #000; }
  body { font-size: 10pt; margin: 0; max-width: none; } .wide, figure.broad { overflow: visible; }
  table { font-size: 6.5pt; } th, td { padding: .1rem .2rem; } .first { position: static; }
  tr, figure { break-inside: avoid; } h2, summary { break-after: avoid; } thead { display: table-header-group; }
  figure.broad img { width: 65%; } .note { max-width: none; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
_CAPTIONS = {
    "pareto-size": "Average score over the size of the stored weights",
    "pareto-latency": "Average score over the latency of a forward pass",
    "tasks": "Score of every method on every task",
}
_BROAD = ("tasks",)


def page(results: Results, figures: Sequence[Path] = ()) -> str:
    """The page as text.

    Args:
        results: Of the comparison.
        figures: PNG files to show on it.
    """
    heading = escape(title(results))
    tables = sections(results)
    body = [_section(table) for table in tables if not table.long]
    drawn = [_figure(file) for file in figures]
    body.insert(1, f'<div class="figures">\n{"".join(drawn)}</div>' if drawn else "")
    in_detail = [_section(table) for table in tables if table.long]
    body += ["<h2>In detail</h2>", *in_detail] if in_detail else []
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{heading}</h1>\n<p>{escape(summary_line(results))}</p>\n{chr(10).join(body)}\n</body>\n</html>\n"
    )


def _figure(file: Path) -> str:
    image = b64encode(file.read_bytes()).decode()
    caption = escape(_CAPTIONS.get(file.stem, file.stem))
    kind = ' class="broad"' if file.stem in _BROAD else ""
    return f'<figure{kind}><img src="data:image/png;base64,{image}" alt="{caption}"></figure>\n'


def _section(section: Section) -> str:
    wide = [max(len(line[column].marks) for line in section.lines) for column in range(len(section.header))]
    header = "".join(
        f'<th scope="col"{_kind(section, column)}>{escape(name).replace(chr(10), "<br>")}</th>'
        for column, name in enumerate(section.header)
    )
    lines = [
        f"<tr>{''.join(_cell(section, column, field, wide[column]) for column, field in enumerate(line))}</tr>"
        for line in section.lines
    ]
    table = (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(section.title)}"><table>\n'
        f"<thead><tr>{header}</tr></thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>\n"
        f'<p class="note">{escape(section.note)}</p>'
    )
    if section.long:
        return f"<details>\n<summary>{escape(section.title)}</summary>\n{table}\n</details>"
    return f"<h2>{escape(section.title)}</h2>\n{table}"


def _cell(section: Section, column: int, field: Field, wide: int) -> str:
    marks = f'<span class="marks" style="width:{wide}.1em">{field.marks}</span>' if wide else ""
    styles = [name for name, mark in (("best", BEST), ("loss", LOSS)) if mark in field.marks]
    tag = 'th scope="row"' if column == 0 else "td"
    text = escape(field.text).replace("_", "_<wbr>")  # where a long name may be broken
    return f"<{tag}{_kind(section, column, *styles)}>{text}{marks}</{tag[:2]}>"


def _kind(section: Section, column: int, *styles: str) -> str:
    kinds = [*(["first"] if column == 0 else []), *(["text"] if column < section.words else []), *styles]
    return f' class="{" ".join(kinds)}"' if kinds else ""
