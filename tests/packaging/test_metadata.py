"""Files that say the same of the project agree."""

import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import toolkit

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))


def test_one_version() -> None:
    newest = re.search(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    said = {toolkit.__version__, PYPROJECT["project"]["version"], CITATION["version"], newest[1]}
    assert said == {version("lightning-compression-toolkit")}


def test_citation_says_what_the_package_says() -> None:
    assert CITATION["license"] == PYPROJECT["project"]["license"]
    assert CITATION["abstract"] == PYPROJECT["project"]["description"]
    assert CITATION["keywords"] == PYPROJECT["project"]["keywords"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    cited = {identifier["value"] for paper in CITATION["references"] for identifier in paper["identifiers"]}
    assert cited == {f"arXiv:{number}" for number in re.findall(r"\[arXiv:([\d.]+)\]", readme)}


@pytest.mark.parametrize(("repository", "tool"), [("ruff-pre-commit", "ruff"), ("codespell", "codespell")])
def test_hooks_are_of_the_versions_that_the_checks_run_with(repository: str, tool: str) -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    revisions = {hook["repo"].rsplit("/", 1)[-1]: hook["rev"] for hook in hooks["repos"]}
    assert revisions[repository] == f"v{PINS[tool]}"


def test_git_ignores_no_source() -> None:
    """An ignored file is in no clone, in no distribution, and no linter reads it."""
    if not (ROOT / ".git").exists():
        pytest.skip("the sources are no checkout")
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "toolkit", "recipes", "tests", "docs"]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [name for name in ignored if "__pycache__" not in name] == []
