"""Pages that a user follows with their own data, network and method: their code is run as it stands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, commands, write_files

ROOT = DOCS.parent
FROM_THE_CHECKOUT = ("toolkit", "recipes", "tests/conftest.py", "pyproject.toml")


def follow(page: str, folder: Path) -> str:
    """Write a page's files and run its commands in a folder; stop at the first that fails.

    Args:
        page: Its file, relative to ``docs/``.
        folder: Where to; what it holds of the toolkit is what is run.

    Returns:
        What the commands printed.
    """
    write_files(page, folder)
    script = f'set -euo pipefail\npython() {{ "{sys.executable}" "$@"; }}\n{commands(page)}'
    paths = os.pathsep.join(filter(None, (str(folder), str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


@pytest.mark.slow
def test_a_method_of_ones_own(tmp_path: Path) -> None:
    for name in FROM_THE_CHECKOUT:
        source, copied = ROOT / name, tmp_path / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copied, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copied)
    printed = follow("your-method.md", tmp_path)
    assert "Share of the prunable weights that is zero at the end" in printed
    assert "3 passed" in printed
    assert (tmp_path / "runs/first-order/model/model.safetensors").is_file()
    assert "first_order_pruning" in (tmp_path / "runs/first-order-or-magnitude/compare.md").read_text(encoding="utf-8")
    assert (tmp_path / "runs/half-and-most/sparsity-0.8/model.safetensors").is_file()


@pytest.mark.slow
def test_data_of_ones_own(tmp_path: Path) -> None:
    follow("your-data.md", tmp_path)
    for run in ("topics", "topics-three", "topics-code", "topics-csv"):
        assert "accuracy" in (tmp_path / "runs" / run / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_network_of_ones_own(tmp_path: Path) -> None:
    printed = follow("your-network.md", tmp_path)
    assert "3 blocks" in printed
    for run in ("mine", "mine-two", "mine-again", "mine-pruned"):
        assert (tmp_path / "runs" / run / "report.json").is_file()
