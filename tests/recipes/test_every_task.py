"""Every task trains for a few steps through a recipe and is judged by its metrics, on real data where there is some."""

import math
from pathlib import Path
from typing import Any

import pytest

from toolkit.recipe import load
from toolkit.tasks import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_task_trains_is_pruned_and_judged(task: str, small: dict[str, Any], data_root: Path) -> None:
    options = small | {
        "data.task": task,
        "data.root": None if task.startswith("synthetic") else str(data_root),
        "data.limit_train": 32,
        "data.limit_eval": 16,
        "trainer.max_epochs": 2,
    }
    report = load("proximal_pruning", **options).run()
    metrics = set(TASKS[task].metrics)
    expected = metrics | ({f"{metric}_mismatched" for metric in metrics} if task == "mnli" else set())
    for row in report.rows:
        assert set(row.scores) == expected
        assert all(math.isfinite(value) and -1 <= value <= 1 for value in row.scores.values())
    assert report.rows[1].sparsity == pytest.approx(0.8, abs=1e-3)
