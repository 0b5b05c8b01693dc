"""Values in Python as words of a command line."""

import pytest

from toolkit.options.words import as_options


def test_objects_are_no_options() -> None:
    with pytest.raises(ValueError, match=r"trainer.callbacks takes values.*class_path"):
        as_options({"trainer.callbacks": [object()]})
