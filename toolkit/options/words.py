"""Options as words of a command line: values in Python as words, and values that words give."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


def as_options(overrides: Mapping[str, Any]) -> list[str]:
    """Python values as options of the command line.

    Args:
        overrides: Values by their dotted keys, or nested.

    Raises:
        ValueError: If a value is an object that no option can say.

    Example:
        >>> as_options({"model": {"sparsity": 0.9}, "data.task": "mrpc", "reference": None})
        ['--model.sparsity=0.9', '--data.task=mrpc', '--reference=null']
    """
    options = []
    for key, value in overrides.items():
        if is_dataclass(value) and not isinstance(value, type):
            options.append(f"--{key}={json.dumps(asdict(value))}")
        elif isinstance(value, Mapping):
            options += as_options({f"{key}.{name}": part for name, part in value.items()})
        else:
            try:
                options.append(f"--{key}={value if isinstance(value, str | Path) else json.dumps(value)}")
            except TypeError as error:
                raise ValueError(
                    f"{key} takes values, not objects; give {{'class_path': ..., 'init_args': {{...}}}}, "
                    f"but got {value!r}."
                ) from error
    return options


def given(args: Sequence[str], *keys: str) -> Iterator[tuple[str, str]]:
    """The values that a command line gives for some keys, in its order.

    Example:
        >>> list(given(["fit", "--config", "mine.yaml", "--recipe=quickstart"], "--config", "--recipe"))
        [('--config', 'mine.yaml'), ('--recipe', 'quickstart')]
    """
    for word, following in zip(args, [*args, ""][1:], strict=True):
        key, equals, value = word.partition("=")
        if key in keys:
            yield key, value if equals else following
