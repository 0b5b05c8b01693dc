"""Run notebooks and store them with their outputs: ``python docs/notebooks/execute.py FOLDER [NAME ...]``.

They are run in FOLDER, which keeps their runs. What is left out of the outputs is progress bars and stderr.
"""

import argparse
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def says_something(output: Any) -> bool:
    """Whether an output is more than a progress bar, of which an empty text is left, or what libraries say."""
    if output["output_type"] == "stream":
        return bool(output["name"] == "stdout")
    text = output.get("data", {}).get("text/plain", "")
    return bool(text.strip()) and "ipywidgets" not in text


def main() -> None:
    """Run all notebooks, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for file in [HERE / f"{name}.ipynb" for name in options.names] or sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        resources = {"metadata": {"path": str(options.folder)}}
        NotebookClient(notebook, timeout=None, resources=resources).execute()
        for cell in notebook.cells:
            cell.metadata.clear()  # Times of execution.
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if says_something(output)]
        nbformat.write(notebook, file)


if __name__ == "__main__":
    main()
