"""Judgements and results of a comparison, made without a network."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from toolkit.comparison.results import Failure, Outcome, Results
from toolkit.evaluation.predictions import Judgement, Predictions
from toolkit.evaluation.row import Row
from toolkit.tasks import TASKS

TIME = {"batch": 1, "length": 128, "threads": 1, "device": "cpu"}
# Method → part of the examples that it gets right, bytes, milliseconds.
METHODS = {
    "fine_tuning": (0.92, 90_900_000, 18.2),
    "proximal [80 %] <i>": (0.90, 57_100_000, 18.3),
    "layer_dropping": (0.86, 69_600_000, 9.3),
    "neuron|selection": (0.60, 7_600_000, 3.1),
}


@pytest.fixture(scope="session")
def judge() -> Callable[..., Judgement]:
    def make(task: str, said: Tensor, right: Tensor) -> Judgement:
        labels = TASKS[task].labels
        sets = {
            name: Predictions(outputs=one_hot(said, len(labels)).float(), targets=right, index=torch.arange(len(right)))
            for name in TASKS[task].judged
        }
        metrics = TASKS[task].metrics
        return Judgement(name=task, kind="classification", metrics=metrics, labels=labels, sets=sets)

    return make


@pytest.fixture(scope="session")
def compared(judge: Callable[..., Judgement]) -> Results:
    """Four methods on five tasks with two seeds; one method fails on QNLI, and once on RTE."""
    random = torch.Generator().manual_seed(0)
    outcomes, failures = [], []
    for task in ("cola", "sst2", "mrpc", "qnli", "rte"):
        right = torch.randint(2, (150,), generator=random)
        hard = torch.rand(150, generator=random)
        for number, (method, (part, size, milliseconds)) in enumerate(METHODS.items()):
            for seed in (0, 1):
                if number == 3 and (task == "qnli" or (task, seed) == ("rte", 1)):
                    failures.append(
                        Failure(method, task, seed, "RuntimeError: <b>no</b> | [red]memory", "cells/log.txt")
                    )
                    continue
                noise = 0.1 * torch.randn(150, generator=random)
                judgement = judge(task, torch.where(hard + noise < part, right, 1 - right), right)
                row = Row(
                    name="its own name",
                    task=task,
                    seed=seed,
                    scores=judgement.scores(),
                    parameters=22_700_000,
                    nonzero_parameters=size // 4,
                    sparsity=0.0,
                    bytes=size,
                    latency_ms={"median": milliseconds, "iqr": 0.2, **TIME},
                    extras={"training_seconds": 100.0 * (1 + number)},
                )
                outcomes.append(Outcome(method, task, seed, row, judgement, key=f"{number}-{task}-{seed}"))
    return Results.gather(outcomes, failures, resamples=200)
