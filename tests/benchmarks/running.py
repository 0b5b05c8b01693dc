"""What the tables of docs/results.md share: a recipe that is run once."""

from pathlib import Path
from typing import Any

from toolkit.configuration import user_errors
from toolkit.evaluation.report import Report, Row
from toolkit.recipe import load


def last_row(recipe: str, output: Path, overrides: dict[str, Any]) -> Row:
    """The last row of a run's report, from its folder if it is complete."""
    if (output / "report.json").is_file():
        return Report.read(output).rows[-1]
    with user_errors():
        row: Row = load(recipe, output=output, resume=True, **overrides).run().rows[-1]
        return row


def folder_name(method: str) -> str:
    """A method's name as a folder's."""
    return "".join(letter if letter.isalnum() else "-" for letter in method.lower())
