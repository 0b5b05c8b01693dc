"""What is wrong with options as a whole, which a parser does not see: files of no options, groups that are empty."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from toolkit.options.words import given
from toolkit.options.yaml_options import read_options


def check_files(args: Sequence[str]) -> None:
    """Read the files of options that a command line names, as the parser says neither file nor line of a mistake.

    Raises:
        ValueError: If one holds no plain values; the message names the file and the line.
    """
    for _, name in given(args, "--config"):
        if Path(name).is_file():
            read_options(Path(name))


def check_groups(options: Namespace, defaults: Namespace, prefix: str = "") -> None:
    """Refuse a group of options that is empty, such as ``budget:`` without a line below it.

    Args:
        options: As they were parsed.
        defaults: Of the parser.
        prefix: Of the keys.

    Raises:
        ValueError: If one is; the message names it.
    """
    for key, default in vars(defaults).items():
        if isinstance(default, Namespace):
            given = options.get(key)
            if given is None:
                raise ValueError(f"{prefix}{key} is empty; give options of it, or leave it out")
            if isinstance(given, Namespace):
                check_groups(given, default, f"{prefix}{key}.")
