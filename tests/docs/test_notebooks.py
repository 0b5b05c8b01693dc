"""The notebooks: their cells run one after the other, and what is stored beside them is of one whole run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import DOCS

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of code, in their order."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_notebooks() -> None:
    assert {notebook.stem for notebook in NOTEBOOKS} >= {"layers", "neurons"}


@every_notebook
def test_outputs_are_of_one_whole_run(notebook: Path) -> None:
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
@every_notebook
def test_cells_run(notebook: Path, tmp_path: Path) -> None:
    program = tmp_path / f"{notebook.stem}.py"
    program.write_text("\n\n".join("".join(cell["source"]) for cell in code_cells(notebook)), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "TOOLKIT_DATA"}
    paths = os.pathsep.join(filter(None, (str(DOCS.parent), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(program)],  # A process of its own: the cells quieten loggers.
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": paths, "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert list(tmp_path.glob("runs/*/report.json"))
