"""What every page of a method has, and every command of the documentation: that its options are there."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import BLOCK, DOCS
from toolkit import cli
from toolkit.catalogue import recipe_names
from toolkit.options.command_line import PlainCLI, Resolving, has_module
from toolkit.options.values import flatten

SECTIONS = ("The idea", "Recipe", "In a real run", "Cost", "When to use it, and when not", "What is the paper")
METHODS = sorted((DOCS / "methods").glob("*.md"))
ROOT = DOCS.parent
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
NOT_PARSED = ("--help", "--print_config", "--config", "--data.task.help")


@pytest.mark.parametrize("page", METHODS, ids=lambda page: page.stem)
def test_a_method_has_its_sections_and_a_figure(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    places = [next(number for number, heading in enumerate(headings) if heading.startswith(name)) for name in SECTIONS]
    assert places == sorted(places)
    assert re.search(r"^\$\$$.+?^\$\$$", text, re.MULTILINE | re.DOTALL), "no equation"
    figure = re.search(r"^```\{figure\} (\S+)$", text, re.MULTILINE)
    assert figure is not None
    file = page.parent / figure[1]
    assert file.stem == page.stem
    assert f"def {page.stem}(" in (DOCS / "figures/draw.py").read_text(encoding="utf-8")
    assert 0 < file.stat().st_size < 60_000


def test_every_recipe_that_compresses_has_a_page() -> None:
    others = {"compare", "evaluation", "export", "layer_analysis", "pipeline", "quickstart"}
    others |= {"magnitude_pretraining", "proximal_transfer"}  # On the page of sparse pre-training.
    assert {page.stem for page in METHODS} == set(recipe_names()) - others


def commands_of(page: Path, program: str) -> list[list[str]]:
    """What follows a program's name in each command of a page, in lists as well."""
    text = re.sub(r"^ +(?=```)", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for _, block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    # With a prompt it shows an error; behind a mark it is a quotation.
    shown = [line for line in lines if f"{program} " in line and not line.startswith("$ ") and ">" not in line[:2]]
    words = [shlex.split(line, comments=True) for line in shown]
    return [line[line.index(program) + 1 :] for line in words if program in line]


def run_commands(page: Path) -> list[tuple[str, list[str]]]:
    """Recipe and options of each command of a page that runs one by ``toolkit.run``."""
    found = []
    for options in commands_of(page, "toolkit.run"):
        if name := next((word.removeprefix("recipe=") for word in options if word.startswith("recipe=")), None):
            own = [word for word in options if "=" in word or word.startswith("-")]
            own = [word for word in own if not word.startswith(("recipe=", *NOT_PARSED))]
            found.append((name, [word if word.startswith("-") else f"--{word}" for word in own]))
    return found


def cli_commands(page: Path) -> list[list[str]]:
    """Words of each command of a page that runs ``toolkit.cli`` with a file that the repository has."""
    found = commands_of(page, "toolkit.cli")
    return [words for words in found if "--config" in words and (ROOT / words[words.index("--config") + 1]).is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_options_that_are_there(page: Path) -> None:
    for name, options in run_commands(page):
        if name not in recipe_names():
            assert page.name == "your-method.md"  # It makes one of its own.
        elif has_module(name):
            Resolving(name, options)
        else:
            PlainCLI(name, options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, words in enumerate(cli_commands(page))
    ],
)
def test_lightnings_commands_have_options_that_are_there(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--print_config"])
    printed = capsys.readouterr()
    assert ended.value.code in (0, None), printed.err
    assert yaml.safe_load(printed.out)["data"]["task"] in " ".join(words)


def described_options(page: Path) -> set[str]:
    """The options that the tables of a page describe, those of a group as ``GROUP.``."""
    found = set()
    for head, rows in re.findall(r"^\| (option[^|]*) \|.*\n\|[ -|:]*\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE):
        group = re.search(r"`(\w+\.)`", head)
        for row in rows.splitlines():
            names = re.findall(r"`([\w.*]+)`", row.split("|")[1])
            found |= {(group[1] if group else "") + name.removesuffix("*") for name in names}
    return found


@pytest.mark.parametrize(
    ("page", "recipe"),
    [("configuration.md", "proximal_pruning"), ("comparing.md", "compare")]
    + [(f"methods/{page.stem}.md", page.stem) for page in METHODS],
)
def test_tables_describe_options_that_are_there(page: str, recipe: str) -> None:
    names = described_options(DOCS / page)
    assert names
    given = ["--data.hub.path=texts"] if recipe == "proximal_pretraining" else []  # Null, a group shows no options.
    config = Resolving(recipe, given).resolved() if has_module(recipe) else PlainCLI(recipe, []).recipe().config
    options = {f"{name}." for name in flatten(yaml.safe_load(config))}
    lacking = {name for name in names if not any(option.startswith(name.rstrip(".") + ".") for option in options)}
    assert lacking == set()


def test_commands_are_found() -> None:
    assert sum(len(run_commands(page)) for page in PAGES) > 50
    readme = ROOT / "README.md"
    assert {name for name, _ in run_commands(readme)} >= {"proximal_pruning", "compare"}
    assert [words[0] for words in cli_commands(readme)] == ["fit", "test"]
