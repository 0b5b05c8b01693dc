"""The report of a run: the dense network beside the compressed ones, on screen, in Markdown and in JSON."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from toolkit.evaluation.row import Row
from toolkit.evaluation.side_by_side import SideBySide, side_by_side
from toolkit.files.json_files import write_json
from toolkit.files.writing import write_text

__all__ = ["Report", "Row"]

_SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """Networks to compare; the first row of each task and seed is the dense one, by which the rest is measured.

    Args:
        rows: The networks.

    Example:
        >>> dense = Row(name="dense", task="sst2", seed=0, scores={"accuracy": 0.9}, parameters=10,
        ...             nonzero_parameters=10, sparsity=0.0)
        >>> Report((dense,)).to_json()["rows"][0]["scores"]
        {'accuracy': 0.9}
    """

    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``report.json``: ``{"schema": 1, "rows": [{…}, …]}``."""
        return {"schema": _SCHEMA, "rows": [row.to_dict() for row in self.rows]}

    def to_markdown(self) -> str:
        """Return one table in Markdown for each task and seed."""
        parts = []
        for comparison in self._comparisons():
            header, *lines = (
                "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
                for line in (comparison.header, *comparison.lines)
            )
            ruler = "| --- |" + " ---: |" * (len(comparison.header) - 1)
            table = "\n".join((header, ruler, *lines))
            parts.append(f"## {comparison.title}\n\n{table}\n\n{comparison.note}\n")
        return "\n".join(parts)

    def __rich__(self) -> Group:
        tables = []
        for comparison in self._comparisons():
            table = Table(title=comparison.title, caption=comparison.note, caption_justify="left")
            for column, name in enumerate(comparison.header):
                table.add_column(Text(name), justify="right" if column else "left", overflow="fold")
            for line in comparison.lines:
                table.add_row(*map(Text, line))  # as Text, brackets in names are no markup
            tables.append(table)
        return Group(*tables)

    def write(self, folder: str | Path) -> None:
        """Write ``report.json`` and ``report.md``, each of them whole or not at all.

        Args:
            folder: Where to; it is made if need be.
        """
        write_json(Path(folder) / "report.json", self.to_json())
        write_text(Path(folder) / "report.md", self.to_markdown())

    @classmethod
    def read(cls, path: str | Path) -> "Report":
        """Read a report.

        Args:
            path: ``report.json``, or the folder that holds it.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no report of this schema; the message names the row and the key.
        """
        path = Path(path) / "report.json" if Path(path).is_dir() else Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no report {path}; give report.json or the run's folder.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no JSON in UTF-8 ({error}); run the recipe again.") from error
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != _SCHEMA:
            raise ValueError(f"{path} has schema {schema!r}, expected {_SCHEMA}; run the recipe again.")
        rows = content.get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path} has no list of rows under the key 'rows'; run the recipe again.")
        try:
            return cls(tuple(map(Row.from_dict, rows)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _comparisons(self) -> list[SideBySide]:
        groups: dict[tuple[str, int | None], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.task, row.seed), []).append(row)
        return [side_by_side(rows) for rows in groups.values()]
