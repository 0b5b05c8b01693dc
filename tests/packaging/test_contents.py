"""The check of distributions finds what is missing and what is too much."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packaging.contents import ADDED, FILES, check_sources, check_wheel, main

PACKAGED = ("toolkit/__init__.py", "toolkit/py.typed", "recipes/quickstart.yaml")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sources: two packages, a test, and Python's cache."""
    for name in (*PACKAGED, "tests/test_it.py", "docs/index.md", "toolkit/__pycache__/it.pyc", *FILES, *ADDED):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "root"


def make(root: Path, names: tuple[str, ...]) -> tuple[Path, Path]:
    """A wheel of some files, and a source distribution of the same files and all the others."""
    folder = root.parent / "dist"
    folder.mkdir()
    wheel, archive = folder / "it-1.whl", folder / "it-1.tar.gz"
    with zipfile.ZipFile(wheel, "w") as zipped:
        for name in (*names, "it-1.dist-info/METADATA"):
            zipped.writestr(name, name)
    with tarfile.open(archive, "w:gz") as tar:
        for name in (*names, "tests/test_it.py", "docs/index.md", *FILES, *ADDED):
            tar.add(root / name, f"it-1/{name}")
    return wheel, archive


def test_the_sources_and_no_more(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel, _ = make(root, PACKAGED)
    main(wheel.parent, root)
    assert "hold what they should" in capsys.readouterr().out


@pytest.mark.parametrize("lost", PACKAGED)
def test_lost_file_is_named(root: Path, lost: str) -> None:
    wheel, archive = make(root, tuple(name for name in PACKAGED if name != lost))
    assert check_wheel(wheel, root) == check_sources(archive, root) == [f"missing: {lost}"]
    with pytest.raises(SystemExit, match=lost):
        main(wheel.parent, root)


def test_tests_do_not_belong_into_a_wheel(root: Path) -> None:
    wheel, archive = make(root, (*PACKAGED, "toolkit/__pycache__/it.pyc", "tests/test_it.py"))
    assert check_wheel(wheel, root) == ["not wanted: tests/test_it.py", "not wanted: toolkit/__pycache__/it.pyc"]
    assert check_sources(archive, root) == ["not wanted: toolkit/__pycache__/it.pyc"]
