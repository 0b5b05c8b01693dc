"""The second door, Lightning's own: ``python -m toolkit.cli fit|validate|test|predict --config recipes/NAME.yaml``.

``fit`` runs the whole recipe that the file names; the others work on its module and data as Lightning does.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from toolkit.configuration import RecipeCLI, has_module, user_errors


def named_recipe(args: Sequence[str]) -> str:
    """The recipe that is given with ``--recipe`` or that the last ``--config`` file names.

    Raises:
        ValueError: If none is.
        FileNotFoundError: If there is no such file.
    """
    pairs = list(zip(args, [*args[1:], ""], strict=True))
    given: dict[str, str] = {}
    for word, following in pairs:
        for key in ("--recipe", "--config"):
            if word == key:
                given[key] = following
            elif word.startswith(f"{key}="):
                given[key] = word.split("=", 1)[1]
    if "--recipe" in given:
        return given["--recipe"]
    if "--config" not in given:
        raise ValueError("no recipe is named; give --config recipes/NAME.yaml or --recipe=NAME")
    path = Path(given["--config"])
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration {path}; give --config recipes/NAME.yaml or --recipe=NAME")
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(options, dict) or not isinstance(options.get("recipe"), str):
        raise ValueError(f"{path} names no recipe; add a line such as `recipe: fine_tuning`, or give --recipe=NAME")
    name: str = options["recipe"]
    return name


def main(args: Sequence[str] | None = None) -> None:
    """Run a subcommand of Lightning's command line."""
    args = sys.argv[1:] if args is None else args
    with user_errors():
        name = named_recipe(args)
        if not has_module(name):
            raise ValueError(f"{name} runs other recipes and trains nothing; run it with toolkit.run recipe={name}")
        RecipeCLI(name, args, run=True)


if __name__ == "__main__":
    main()
