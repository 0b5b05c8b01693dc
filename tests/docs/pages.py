"""The code blocks of a page of the documentation: files to write and commands to run."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\S+\.(?:py|yaml))\n")


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every block of code, in the order of the page.

    Args:
        page: Its file, relative to ``docs/``.
    """
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def write_files(page: str, folder: Path) -> list[Path]:
    """Write the blocks whose first line is a comment with a path, ``# recipes/mine.py``.

    Args:
        page: Its file, relative to ``docs/``.
        folder: That the paths are relative to.

    Returns:
        The files.

    Raises:
        ValueError: If a block would replace a file that is there.
    """
    files = []
    for _, text in blocks(page):
        if named := NAMED.match(text):
            file = folder / named[1]
            if file.exists():
                raise ValueError(f"{page} writes {named[1]}, which is there already.")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            files.append(file)
    return files


def commands(page: str) -> str:
    """All commands of a page's ``bash`` blocks, as one script."""
    return "".join(text for language, text in blocks(page) if language == "bash")
