"""Options that another option makes meaningless."""

import inspect
from collections.abc import Mapping
from typing import Any


def refuse_idle(of: type, given: Mapping[str, Any], because: str) -> None:
    """Refuse options that have no effect, unless they have their defaults: whoever gave one expects something of it.

    Args:
        of: The class whose options they are.
        given: Values by their names.
        because: The other option, such as ``model.strategy=top``.

    Raises:
        ValueError: If one differs from its default; the message names it.

    Example:
        >>> class Pruning:
        ...     def __init__(self, mode: str = "hard", penalty: float = 1.0) -> None:
        ...         if mode == "hard":
        ...             refuse_idle(Pruning, {"penalty": penalty}, "model.mode=hard")
        >>> Pruning(penalty=2.0)
        Traceback (most recent call last):
        ValueError: model.penalty=2.0 has no effect with model.mode=hard; leave one of the two out.
    """
    parameters = inspect.signature(of).parameters
    for name, value in given.items():
        if value != parameters[name].default:
            raise ValueError(f"model.{name}={value} has no effect with {because}; leave one of the two out.")
