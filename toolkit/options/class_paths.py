"""Which classes options may name: a file of options may come from anywhere, and importing a module runs its code."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import set_parsing_settings
from jsonargparse._common import parsing_settings

VARIABLE = "TOOLKIT_CLASSES"
"""Environment variable that lists further modules, separated by commas."""

_KINDS = ("accelerators", "callbacks", "loggers", "plugins", "profilers", "strategies")
# jsonargparse finds the toolkit's own dataclasses, such as tasks and methods, by their paths, too.
_ALLOWED = (
    *(f"lightning.pytorch.{kind}" for kind in _KINDS),
    *("lightning.Callback", "lightning.fabric.plugins", "recipes", "toolkit"),
)
# It calls whatever function it is given.
_REFUSED = ("lightning.pytorch.callbacks.LambdaCallback", "lightning.pytorch.callbacks.lambda_function")


@contextmanager
def lightning_classes_only() -> Iterator[None]:
    """Let options name Lightning's own classes alone, by ``class_path`` or in any other form, while they are parsed.

    Nothing else is imported, so that a module in the current folder does not run either. The type of an option decides
    further: a callback is no logger. Modules that the environment variable ``TOOLKIT_CLASSES`` lists are allowed, too.
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
    set_parsing_settings(
        import_path_denylist=["*", *_REFUSED],
        import_path_allowlist=[*_ALLOWED, *own],
        instantiate_subclass_spec_in_any=False,
    )
    try:
        yield
    finally:
        parsing_settings.clear()
        parsing_settings.update(before)


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
