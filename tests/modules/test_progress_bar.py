"""What the bar of a training says."""

from collections.abc import Callable
from pathlib import Path

import pytest
from lightning import Trainer

from toolkit.console import ProgressBar
from toolkit.data import TaskData
from toolkit.modules.magnitude_pruning import MagnitudePruning


@pytest.mark.parametrize(("length", "last"), [({"max_epochs": 2}, "Epoch 2/2 "), ({"max_steps": 5}, "Epoch 1 ")])
def test_the_bar_counts_from_one_and_ends_with_what_was_reached(
    length: dict[str, int], last: str, data: TaskData, tiny_network: Path, make_trainer: Callable[..., Trainer],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    module = MagnitudePruning(data.task, str(tiny_network), sparsity=0.6)
    options = {"max_epochs": -1, "enable_progress_bar": True, "callbacks": [ProgressBar()]} | length
    make_trainer(**options).fit(module, datamodule=data)
    shown = capsys.readouterr().out
    assert last in shown
    assert "sparsity: 0.600" in " ".join(shown.split())
