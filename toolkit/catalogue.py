"""The recipes by name: what there is and what each does, without importing any."""

import ast
import difflib
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any


def recipe_names() -> list[str]:
    """The recipes: the YAML files in ``recipes/``."""
    return sorted(Path(entry.name).stem for entry in files("recipes").iterdir() if entry.name.endswith(".yaml"))


def recipe_file(name: str) -> str:
    """Path of a recipe's own values."""
    return str(files("recipes") / f"{name}.yaml")


def summary(name: str) -> str:
    """First line of the docstring of a recipe's class, the last class of its file."""
    tree = ast.parse((files("recipes") / f"{name}.py").read_text(encoding="utf-8"))
    recipe = [node for node in tree.body if isinstance(node, ast.ClassDef)][-1]
    return (ast.get_docstring(recipe) or "").partition("\n")[0]


def check_name(name: str) -> None:
    """Refuse a recipe that there is none of.

    Args:
        name: Of the recipe.

    Raises:
        ValueError: If there is none; the message lists them.
    """
    names = recipe_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(f"there is no recipe {name!r}{hint} The recipes are: {', '.join(names)}.")


def recipe_class(name: str) -> type[Any]:
    """The recipe that is called ``name``.

    Raises:
        ValueError: If there is none; the message lists them.
    """
    check_name(name)
    recipe: type[Any] = import_module(f"recipes.{name}").recipe
    return recipe
