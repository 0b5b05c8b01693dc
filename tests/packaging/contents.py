"""What a distribution must hold: ``python tests/packaging/contents.py dist`` compares it with the sources."""

import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("recipes", "toolkit")
# Beside the packages; the build backend adds .gitignore, pyproject.toml, README.md and LICENSE, and writes PKG-INFO.
SOURCES = (*PACKAGES, "docs", "tests")
FILES = (
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "constraints.txt",
    "noxfile.py",
)
ADDED = (".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml")


def files_of(root: Path, folders: Iterable[str]) -> set[str]:
    """The files below some folders, from the root, without Python's caches."""
    found = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix() for path in found if "__pycache__" not in path.parts}


def differences(built: set[str], wanted: set[str]) -> list[str]:
    """What is missing from a distribution, and what should not be there, a line each."""
    missing = [f"missing: {name}" for name in sorted(wanted - built)]
    return missing + [f"not wanted: {name}" for name in sorted(built - wanted)]


def check_wheel(wheel: Path, root: Path) -> list[str]:
    """Compare a wheel, but for its metadata, with the packages: code, recipes' values, the marker of types, no more."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    return differences(names, files_of(root, PACKAGES))


def check_sources(archive: Path, root: Path) -> list[str]:
    """Compare a source distribution with what the tests and the documentation need."""
    with tarfile.open(archive) as tar:
        names = {member.name.partition("/")[2] for member in tar.getmembers() if member.isfile()}
    return differences(names, files_of(root, SOURCES) | {*FILES, *ADDED})


def main(folder: Path, root: Path) -> None:
    """Check the one wheel and the one source distribution of a folder.

    Raises:
        SystemExit: If one of them lacks a file or has one too many.
    """
    (wheel,) = folder.glob("*.whl")
    (archive,) = folder.glob("*.tar.gz")
    wrong = check_wheel(wheel, root) + check_sources(archive, root)
    if wrong:
        raise SystemExit("\n".join(wrong))
    print(f"{wheel.name} and {archive.name} hold what they should")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path.cwd())
