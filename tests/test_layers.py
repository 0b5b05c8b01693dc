"""Data flows one way: nothing lower imports anything higher."""

import ast
from pathlib import Path

import pytest

import toolkit

ROOT = Path(toolkit.__file__).parent

# From what knows least to what knows most. What is on one line does not import each other.
LAYERS = [
    {"files", "tasks", "catalogue", "termination"},
    {"metrics", "models", "console"},
    {"data", "pruning", "options"},
    {"evaluation"},
    {"statistics"},
    {"probing"},
    {"modules"},
    {"runs"},
    {"recipe"},
    {"pretraining", "comparison"},
    {"cli", "run"},
]
UPWARDS = {
    ("statistics.profile", "probing"),  # The profile of a network's layers may hold the scores of probes on them.
    ("evaluation", "comparison"),  # `toolkit.evaluation.compare` is the entry, imported when it is called.
    ("", "models"),  # `toolkit.load`
}


def part_of(module: str) -> str:
    return module.partition(".")[0]


def imports(file: Path) -> set[tuple[str, str]]:
    """Pairs of a module and a part of the toolkit that it imports from."""
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")
    nodes = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    named = [part.removeprefix("toolkit.") for node in nodes if (part := node.module or "").startswith("toolkit.")]
    return {(module, part_of(name)) for name in named} - {(module, part_of(module))}


PAIRS = sorted(pair for file in ROOT.rglob("*.py") for pair in imports(file))


def test_every_part_has_its_layer() -> None:
    parts = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert parts - {"__init__"} == set().union(*LAYERS)


@pytest.mark.parametrize(("module", "part"), PAIRS, ids=[f"{module}-{part}" for module, part in PAIRS])
def test_nothing_imports_what_is_above_it(module: str, part: str) -> None:
    height = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    if (module, part) in UPWARDS:
        assert height.get(part_of(module), -1) <= height[part], "this exception is none"
    else:
        assert height[part_of(module)] > height[part], f"{module} imports from {part}, which stands above it"


def test_every_exception_is_needed() -> None:
    assert set(PAIRS) >= UPWARDS
