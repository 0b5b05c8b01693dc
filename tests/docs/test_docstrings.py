"""Docstrings of what is public say which errors it raises."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FILES = sorted(file for folder in ("toolkit", "recipes") for file in Path(folder).rglob("*.py"))


def public(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions and methods whose names, and those of their classes, have no underscore in front."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            if isinstance(child, ast.FunctionDef):
                yield child
            else:
                yield from public(child)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_errors_are_documented(file: Path) -> None:
    for function in public(ast.parse(file.read_text(encoding="utf-8"))):
        raises = any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(function))
        if raises:
            assert "Raises:" in (ast.get_docstring(function) or ""), f"{file}:{function.lineno} {function.name}"


def test_files_are_found() -> None:
    assert len(FILES) > 150
