"""JSON: what it holds of Python's values, and files of it that are there as a whole or not at all."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.files.writing import write_text


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers that are not finite become ``None``, tuples lists, paths and keys text.

    Args:
        value: Of numbers, strings, paths, mappings, lists, tuples, and scalars of torch and NumPy.

    Raises:
        TypeError: If a part is of another type, which the message names.

    Example:
        >>> plain({"score": float("nan"), "sizes": (1, 2.5)})
        {'score': None, 'sizes': [1, 2.5]}
    """
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return plain(value.item())
    raise TypeError(type(value).__name__)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file that ends with a line break; numbers that are not finite become null.

    Args:
        file: Where; the folders above it are made.
        content: What `plain` takes.
    """
    write_text(file, json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
