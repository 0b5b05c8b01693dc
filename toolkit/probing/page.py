"""An analysis of redundancy as one HTML page that needs nothing else: tables, and figures within the page."""

from base64 import b64encode
from html import escape
from pathlib import Path

from toolkit.files.writing import write_text
from toolkit.probing.analysis import RedundancyAnalysis
from toolkit.probing.tables import Section, sections, summary, title

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color: #222;
       background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; } .text { text-align: left; }
img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
.wide { overflow-x: auto; } .note { color: #555; font-size: .875rem; }
"""


def write_page(analysis: RedundancyAnalysis, folder: Path) -> Path:
    """Write ``analysis.html`` with the figures that are in the folder.

    Args:
        analysis: What the page holds.
        folder: Where to.

    Returns:
        The page.
    """
    file = folder / "analysis.html"
    write_text(file, page(analysis, folder))
    return file


def page(analysis: RedundancyAnalysis, folder: Path) -> str:
    """The page as text.

    Args:
        analysis: What the page holds.
        folder: Where figures are; those that are not there are left out.
    """
    heading = escape(title(analysis))
    body = "\n".join(_section(section, folder) for section in sections(analysis))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{heading}</h1>\n<p>{escape(summary(analysis))}</p>\n{body}\n</body>\n</html>\n"
    )


def _section(section: Section, folder: Path) -> str:
    kinds = ['class="text"' if column in section.text else "" for column in range(len(section.header))]
    lines = [_line("th", section.header, kinds), *(_line("td", line, kinds) for line in section.lines)]
    parts = [
        f"<h2>{escape(section.title)}</h2>",
        '<div class="wide"><table>',
        *lines,
        "</table></div>",
        f'<p class="note">{escape(section.note)}</p>',
    ]
    for name in section.figures:
        file = folder / f"{name}.png"
        if file.is_file():
            image = b64encode(file.read_bytes()).decode()
            parts.append(f'<img src="data:image/png;base64,{image}" alt="{escape(section.title)}: {escape(name)}">')
    return "\n".join(parts)


def _line(tag: str, cells: tuple[str, ...], kinds: list[str]) -> str:
    opened = (f"<{tag} {kind}>" if kind else f"<{tag}>" for kind in kinds)
    return f"<tr>{''.join(f'{tag_}{escape(cell)}</{tag}>' for tag_, cell in zip(opened, cells, strict=True))}</tr>"
