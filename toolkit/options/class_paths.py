"""Which classes options may name: a file of options may come from anywhere, and importing a module runs its code."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from enum import Enum

from jsonargparse import set_parsing_settings
from jsonargparse._common import parsing_settings

VARIABLE = "TOOLKIT_CLASSES"
"""Environment variable that lists further modules, separated by commas."""

_KINDS = ("accelerators", "callbacks", "loggers", "plugins", "profilers", "strategies")
_ALLOWED = (*(f"lightning.pytorch.{kind}" for kind in _KINDS), "lightning.Callback", "lightning.fabric.plugins")
# It calls whatever function it is given.
_REFUSED = ("lightning.pytorch.callbacks.LambdaCallback", "lightning.pytorch.callbacks.lambda_function")


@contextmanager
def lightning_classes_only() -> Iterator[None]:
    """Let options name Lightning's own classes alone, by ``class_path`` or in any other form, while they are parsed.

    Nothing else is imported, so that a module in the current folder does not run either. The type of an option decides
    further: a callback is no logger. Modules that the environment variable ``TOOLKIT_CLASSES`` lists are allowed, too.
    jsonargparse finds the toolkit's own option types, such as tasks and methods, by their paths: frozen dataclasses
    and enums of ``toolkit`` and ``recipes`` are allowed, but neither what they hold nor any function beside them.
    Values of options that take anything stay values: a mapping with a ``class_path`` in them builds nothing.

    The settings of jsonargparse are those of the process; afterwards they are what they were.

    Raises:
        ValueError: If ``TOOLKIT_CLASSES`` lists no modules.
    """
    own = [name for part in os.environ.get(VARIABLE, "").split(",") if (name := part.strip())]
    for name in own:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"{VARIABLE} lists {name!r}; give names of modules, separated by commas: mine,yours.parts")
    before = dict(parsing_settings)
    types, inside = _option_types()
    set_parsing_settings(
        import_path_denylist=["*", *_REFUSED, *inside],
        import_path_allowlist=[*_ALLOWED, *types, *own],
        instantiate_subclass_spec_in_any=False,
    )
    try:
        yield
    finally:
        parsing_settings.clear()
        parsing_settings.update(before)


def _option_types() -> tuple[list[str], list[str]]:
    """Paths of the option types in what is loaded of ``toolkit`` and ``recipes``, and of what those hold."""
    types: list[str] = []
    inside: list[str] = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in ("toolkit", "recipes"):
            continue
        for key, value in list(vars(module).items()):
            if not isinstance(value, type) or value.__module__ != name or value.__qualname__ != key:
                continue
            if issubclass(value, Enum) or (is_dataclass(value) and value.__dataclass_params__.frozen):  # type: ignore[attr-defined]
                types.append(f"{name}.{key}")
                inside += (f"{name}.{key}.{part}" for part in dir(value) if not part.startswith("__"))
    return types, inside


def refused_class(message: str) -> str | None:
    """Say in a line which class was refused, and what to do; ``None`` if a parser's message is about something else.

    Args:
        message: Of the parser.
    """
    found = re.search(r"Importing '([^']*)' is not allowed", message)
    if found is None:
        return None
    return (
        f"{found[1]} is not imported: options name only Lightning's own {', '.join(_KINDS[:-1])} and {_KINDS[-1]}; for "
        f"a class of your own, list its module in the environment variable {VARIABLE}"
    )
