"""Everything that is run on this project: ``nox -l`` lists it, ``nox -s NAME`` sets it up and runs it."""

import os
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
# Two workers with a thread each: tests are small, and threads that wait for each other are slower than one.
TEST_THREADS = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def install(session: nox.Session, *groups: str, package: str | None = None) -> None:
    """Install dependency groups, and the package with its extras, at the versions of ``constraints.txt``."""
    wanted = [requirement for group in groups for requirement in nox.project.dependency_groups(PYPROJECT, group)]
    if package is not None:
        wanted += ["-e", package]
    session.install("-c", "constraints.txt", *wanted)


@nox.session
def demo(session: nox.Session) -> None:
    """Prune MiniLM on a synthetic task in two ways and compare: the quickstart, in about three minutes."""
    install(session, package=".[demo]")
    session.run("python", "-m", "toolkit.run", "recipe=quickstart", "resume=true", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run unit tests and doctests; with CI=true the slow ones as well. TOOLKIT_DATA names a folder of real data."""
    install(session, "tests", package=".[demo]")
    tier = "not benchmark" if os.environ.get("CI") else "not benchmark and not slow"
    session.run("pytest", "-n", "2", "-m", tier, *session.posargs, env=TEST_THREADS)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style and spelling."""
    install(session, "lint")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install(session, "types", package=".[plots]")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into ``site/``; a warning is an error."""
    install(session, "docs", package=".[plots]")
    session.run("sphinx-build", "-W", "--keep-going", "docs", "site")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what pruning steps, statistics, features and selection cost; prints ratios and writes JSON."""
    install(session, "tests", package=".[demo]")
    Path("runs").mkdir(exist_ok=True)
    session.run("pytest", "-m", "benchmark", "-s", "tests/benchmarks", *session.posargs)
