"""The option that a misspelt one is nearest to."""

from toolkit.options.messages import nearest


def test_nearest_option() -> None:
    assert nearest("data.tsk", {"data.task": 1, "data.root": 2}) == "data.task"
    assert nearest("zebra", {"data.task": 1}) is None
