"""Options in YAML: what plain readers give, and the limits."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.catalogue import recipe_file, recipe_names
from toolkit.options.yaml_options import check_yaml, load_options, read_options

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(categories=("L", "N")), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdef", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text("abcdef", min_size=1), VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read(content: object) -> None:
    assert load_options(f"x: 1\ny: {yaml.safe_dump(content, default_flow_style=True, width=10**6)}") == {
        "x": 1,
        "y": content,
    }


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_are_within_the_limits(name: str) -> None:
    assert isinstance(read_options(Path(recipe_file(name))), dict)


def test_aliases_may_be_used() -> None:
    assert load_options("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}] * 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("[" * 50 + "]" * 50, True),
        ("[" * 51 + "]" * 51, False),
        ("[" + "1," * 99_999 + "]", True),
        ("[" + "1," * 100_000 + "]", False),
        ("[" + "{}," * 399 + "]", True),
        ("[" + "{}," * 400 + "]", False),
        ("[" + "lightning.x," * 99 + "]", True),
        ("[" + "lightning.x," * 100 + "]", False),
        ("[&a {}, " + "*a," * 398 + "]", True),
        ("[&a {}, " + "*a," * 399 + "]", False),
        ("{a: 1, b: {a: 1}, c: {a: 1}}", True),
        ("{a: 1, 'a': 1}", False),
        ("[{? [a] : 1, b: 2}, {? &k a : 1, ? *k : 2}]", True),
        ("# " + "x" * (2**20 - 2), True),
        ("# " + "x" * (2**20 - 1), False),
    ],
)
def test_limits(text: str, within: bool) -> None:
    if within:
        check_yaml(text)
    else:
        with pytest.raises(yaml.YAMLError):
            check_yaml(text)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file of options"):
        read_options(tmp_path / "x.yaml")
