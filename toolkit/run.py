"""The first door: ``python -m toolkit.run recipe=NAME [key=value ...]`` runs a whole recipe."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from toolkit.catalogue import check_name, recipe_names, summary

USAGE = "python -m toolkit.run recipe=NAME [key=value ...] [--help | --print_config]"


def recipe_table() -> Table:
    """The recipes, one line each."""
    table = Table("recipe", "what it does", title="Recipes", title_justify="left")
    for name in recipe_names():
        table.add_row(name, summary(name))
    return table


def parse(words: Sequence[str]) -> tuple[str, list[str]]:
    """Split the command line into the recipe's name and its options.

    Example:
        >>> parse(["recipe=quickstart", "model.sparsity=0.9", "--help"])
        ('quickstart', ['--model.sparsity=0.9', '--help'])

    Raises:
        ValueError: If a word is neither ``key=value`` nor a flag, or no recipe is named, or one that there is none of.
    """
    name, options = None, []
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        if key == "recipe" and equals:
            name = value
        elif equals or word.startswith("-"):
            options.append(word if word.startswith("-") else f"--{word}")
        else:
            hint = f"did you mean recipe={word}?" if word in recipe_names() else f"usage: {USAGE}"
            raise ValueError(f"{word!r} is no option; options are key=value. {hint}")
    if name is None:
        raise ValueError(f"no recipe is named; begin with recipe=NAME. usage: {USAGE}")
    check_name(name)
    return name, options


def main(words: Sequence[str] | None = None) -> None:
    """Run the recipe that the command line describes, and print its report.

    Args:
        words: Of the command line, those of this process by default.

    Raises:
        SystemExit: With 1 after an error, which is printed; with 130 after Ctrl-C, 143 after SIGTERM.
    """
    words = sys.argv[1:] if words is None else words
    if not set(words) - {"-h", "--help"}:
        console = Console()
        console.print(recipe_table())
        console.print(f"usage: {USAGE}", markup=False, highlight=False)
        return

    try:
        name, options = parse(words)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error

    try:
        from toolkit.console import run_recipe, user_errors  # Seconds of imports, not for the list.
        from toolkit.options.command_line import command_line  # Seconds of imports, not for the list.
    except KeyboardInterrupt:
        print("interrupted before anything was begun", file=sys.stderr)
        raise SystemExit(130) from None
    with user_errors():
        run_recipe(command_line(name, options).recipe())


if __name__ == "__main__":
    main()
