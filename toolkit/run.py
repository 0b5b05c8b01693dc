"""The first door: ``python -m toolkit.run recipe=NAME [key=value ...]`` runs a whole recipe."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from toolkit.configuration import USAGE, RecipeCLI, recipe_file, recipe_names, run_recipe, summary, user_errors


def recipe_table() -> Table:
    """The recipes, one line each."""
    table = Table("recipe", "what it does", title="Recipes", title_justify="left")
    for name in recipe_names():
        table.add_row(name, summary(name))
    return table


def options(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split the command line into the recipe's name and its options.

    Example:
        >>> options(["recipe=quickstart", "model.sparsity=0.9", "--help"])
        ('quickstart', ['--model.sparsity=0.9', '--help'])

    Raises:
        ValueError: If a word is neither ``key=value`` nor a flag.
    """
    name, rest = None, []
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        if key == "recipe" and equals:
            name = value
        elif equals or word.startswith("-"):
            rest.append(word if word.startswith("-") else f"--{word}")
        else:
            raise ValueError(f"{word!r} is no option; options are key=value. usage: {USAGE}")
    return name, rest


def main(words: Sequence[str] | None = None) -> None:
    """Run the recipe that the command line describes, and print its report."""
    with user_errors():
        name, rest = options(sys.argv[1:] if words is None else words)
        if name is None:
            Console().print(recipe_table())
            Console().print(f"usage: {USAGE}", markup=False, highlight=False)
            if set(rest) - {"--help", "-h"}:
                raise ValueError("no recipe is named; begin with recipe=NAME")
            return
        run_recipe(RecipeCLI(name, [f"--config={recipe_file(name)}", *rest]).recipe())


if __name__ == "__main__":
    main()
