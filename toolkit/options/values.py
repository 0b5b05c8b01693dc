"""Options as plain values by their dotted keys: flattened, compared, and told apart by a fingerprint."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

VOLATILE = ("output", "resume")  # Options that say nothing of what a run computes.


def changed_options(stored: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """Options that differ between two configurations, as ``key: old there, new here``.

    Example:
        >>> changed_options({"model": {"sparsity": 0.8}}, {"model": {"sparsity": 0.9}, "resume": True})
        ['model.sparsity: 0.8 there, 0.9 here']
    """
    there, here = lasting(stored), lasting(options)
    return [
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]


def fingerprint(config: str) -> str:
    """Eight letters that stand for everything a run computes.

    Example:
        >>> fingerprint("resume: true") == fingerprint("{resume: false, output: here}") != fingerprint("model: {}")
        True
    """
    return digest(options_of(config))[:8]


def digest(content: Any) -> str:
    """Hash of plain values, 64 hexadecimal digits.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def options_of(config: str) -> dict[str, Any]:
    """The options of a configuration in YAML that say what a run computes, by their dotted keys.

    Example:
        >>> options_of("{model: {sparsity: 0.8}, output: here}")
        {'model.sparsity': 0.8}
    """
    return lasting(yaml.safe_load(config) or {})


def lasting_yaml(config: str) -> str:
    r"""A configuration in YAML without the lines that say nothing of what a run computes.

    Example:
        >>> lasting_yaml("output: here\nresume: true\nmodel:\n  sparsity: 0.8\n")
        'model:\n  sparsity: 0.8\n'
    """
    return re.sub(rf"^({'|'.join(VOLATILE)}):.*\n(?:[ ].*\n)*", "", config, flags=re.MULTILINE)


def lasting(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say what a run computes, by their dotted keys.

    Args:
        options: All of them.
    """
    return {key: value for key, value in flatten(options).items() if key not in VOLATILE}


def flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by their dotted keys.

    Example:
        >>> flatten({"model": {"sparsity": 0.8}, "resume": True})
        {'model.sparsity': 0.8, 'resume': True}
    """
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
