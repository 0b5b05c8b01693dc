"""What a parser says of a wrong option, in a line that names the right one."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from toolkit.options.class_paths import refused_class
from toolkit.options.values import flatten

# How jsonargparse says that an option is unknown: on the command line, in a file, in a subcommand's file.
UNKNOWN = r"unrecognized arguments: -*([\w.]+)|[Kk]ey \"?([\w.]+)\"? is not expected|not accept option '([\w.]+)'"

# How it says that a value is none of those that an option takes.
CHOICE = r"Parser key \"([\w.]+)\":\s+Expected a (?:typing\.)?Literal\[([^\]]+)\]\. Got value: (.+?)\s*$"


# How it says that a value is of another type than an option takes, or of none of several.
TYPE = r"Parser key \"([\w.]+)\": Expected a (<class '\w+'>)\. Got value: (.+)$"
TYPES = r"Parser key \"([\w.]+)\": Does not validate .*? Subtypes: \[(.+)\] Errors: .* Given value: (.+)$"
KINDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null",
    "list": "a list such as [a,b]", "tuple": "a list such as [a,b]", "dict": "a mapping such as {a: b}",
}  # fmt: skip


def explain(name: str, message: str, parser: Any) -> str:
    """Shorten a parser's message and name the nearest valid option.

    Args:
        name: Of the recipe.
        message: Of the parser.
        parser: Knows the options.
    """
    if refused := refused_class(message):
        return refused
    if empty := re.search(r'Key "([\w.]+)\.\w+" not found in namespace', message):
        return f"{empty[1]} is empty; give options of it, or leave it out"
    if (choice := re.search(CHOICE, message)) and "Union" not in choice[2]:
        possible = re.findall(r"'([^']+)'", choice[2])
        close = difflib.get_close_matches(choice[3], possible, 1, cutoff=0.6)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{choice[1]} is {choice[3]!r}, but must be one of {', '.join(possible)}{hint}"
    unknown = re.search(UNKNOWN, message)
    if unknown is None and (wrong := _wrong_type(" ".join(message.split()))):
        return wrong
    if unknown is None:
        return " ".join(message.split())
    key = next(filter(None, unknown.groups()))
    near = nearest(key, flatten(parser.get_defaults().as_dict()))
    hint = f"; did you mean {near}?" if near else f"; see python -m toolkit.run recipe={name} --help"
    return f"recipe {name} has no option {key}{hint}"


def _wrong_type(message: str) -> str | None:
    """Say what an option takes, if the message is about that and names nothing but plain types and choices."""
    found = re.search(TYPE, message) or re.search(TYPES, message)
    if found is None:
        return None
    key, types, value = found.groups()
    classes = re.findall(r"<class '([^']+)'>", types)
    choices = [choice for listed in re.findall(r"Literal\[([^\]]+)\]", types) for choice in listed.split(", ")]
    rest = re.sub(r"<class '[^']+'>|(typing\.)?Literal\[[^\]]+\]", "", types).strip(" ,")
    if rest or not set(classes) <= KINDS.keys():
        return None
    wanted = list(dict.fromkeys([*(choice.strip("'") for choice in choices), *(KINDS[name] for name in classes)]))
    return f"{key} is {value!r}, but must be {', '.join(wanted[:-1])}{' or ' if len(wanted) > 1 else ''}{wanted[-1]}"


def nearest(key: str, options: Mapping[str, Any]) -> str | None:
    """The valid option that a misspelt one is nearest to.

    Example:
        >>> nearest("model.sparsty", {"model.sparsity": 0.8, "model.scope": "global"})
        'model.sparsity'
        >>> nearest("model.learning_rate", {"model.training.learning_rate": 1e-4, "model.sparsity": 0.8})
        'model.training.learning_rate'
    """
    last = key.rsplit(".", 1)[-1]
    for option in options:
        if option.rsplit(".", 1)[-1] == last:
            return option
    return next(iter(difflib.get_close_matches(key, options, 1, cutoff=0.6)), None)
