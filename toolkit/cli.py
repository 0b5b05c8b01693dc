"""The second door, Lightning's own: ``python -m toolkit.cli fit|validate|test|predict --config recipes/NAME.yaml``.

``fit`` runs the whole recipe that the file names; the others work on its module and data as Lightning does.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from toolkit.console import user_errors
from toolkit.options.command_line import RecipeCLI, has_module
from toolkit.options.words import given
from toolkit.options.yaml_options import read_options


def named_recipe(args: Sequence[str]) -> str:
    """The recipe that is given with ``--recipe`` or that the last ``--config`` file names.

    Raises:
        ValueError: If none is, or the file holds no options.
        FileNotFoundError: If there is no such file.
    """
    named = dict(given(args, "--recipe", "--config"))
    if "--recipe" in named:
        return named["--recipe"]
    if "--config" not in named:
        raise ValueError("no recipe is named; give --config recipes/NAME.yaml or --recipe=NAME")
    path = Path(named["--config"])
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration {path}; give --config recipes/NAME.yaml or --recipe=NAME")
    options = read_options(path)
    if not isinstance(options, dict) or not isinstance(options.get("recipe"), str):
        raise ValueError(f"{path} names no recipe; add a line such as `recipe: fine_tuning`, or give --recipe=NAME")
    name: str = options["recipe"]
    return name


def main(args: Sequence[str] | None = None) -> None:
    """Run a subcommand of Lightning's command line.

    Args:
        args: Words of the command line, those of this process by default.

    Raises:
        SystemExit: With 1 after an error, which is printed; with 130 after Ctrl-C, 143 after SIGTERM.
    """
    args = sys.argv[1:] if args is None else args
    with user_errors():
        name = named_recipe(args)
        if not has_module(name):
            raise ValueError(f"{name} runs other recipes and trains nothing; run it with toolkit.run recipe={name}")
        RecipeCLI(name, args, run=True)


if __name__ == "__main__":
    main()
