"""Cells and outcomes for tests."""

import torch

from toolkit.comparison.grid import Cell
from toolkit.comparison.outcomes import Outcome
from toolkit.evaluation.predictions import Judgement, Predictions
from toolkit.evaluation.row import Row


def cell(method: str, seed: int = 0, dense: Cell | None = None) -> Cell:
    """A cell on a task called ``own``."""
    config = f"recipe: {method}\nmodel: {{network: here}}\noutput: null\n"
    key = dense.key if dense else None
    return Cell(method=method, task="own", seed=seed, recipe=method, config=config, key=f"{method}-{seed}", dense=key)


def row(score: float = 0.5) -> Row:
    """The row of a network."""
    return Row(
        name="it", task="own", seed=0, scores={"accuracy": score}, parameters=1, nonzero_parameters=1, sparsity=0.0
    )


def judgement() -> Judgement:
    """Predictions of two sentences, of which one is right."""
    test = Predictions(outputs=torch.eye(2), targets=torch.tensor([0, 0]), index=torch.arange(2))
    return Judgement(name="own", kind="classification", metrics=("accuracy",), labels=("a", "b"), sets={"test": test})


def outcome(of: Cell, score: float) -> Outcome:
    """What came out of a cell."""
    return Outcome(method=of.method, task=of.task, seed=of.seed, row=row(score), judgement=judgement(), key=of.key)
