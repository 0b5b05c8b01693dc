"""Rows say what is wrong with them, and survive JSON."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toolkit.evaluation.costs import Latency
from toolkit.evaluation.row import Row

VALUES: dict[str, Any] = {
    "name": "dense",
    "task": "sst2",
    "seed": 0,
    "scores": {"accuracy": 0.9},
    "parameters": 100,
    "nonzero_parameters": 80,
    "sparsity": 0.25,
}
LATENCY = Latency(median=3.5, iqr=0.2, batch=1, length=128, threads=2, device="cpu", dtype="float32")


def test_row_survives_json() -> None:
    row = Row(
        **VALUES, total_sparsity=0.2, bytes=400, macs=7, latency_ms=LATENCY, extras={"steps": 12, "method": {"p": 2}}
    )
    text = json.dumps(row.to_dict(), allow_nan=False)
    assert Row.from_dict(json.loads(text)) == row
    assert json.loads(text)["steps"] == 12
    assert json.loads(text)["latency_ms"]["threads"] == 2
    assert {
        "name",
        "task",
        "seed",
        "scores",
        "parameters",
        "nonzero_parameters",
        "sparsity",
        "bytes",
        "macs",
    } < row.to_dict().keys()


def test_what_is_not_finite_becomes_null() -> None:
    row = Row(**{**VALUES, "scores": {"pearson": math.nan, "spearman": 0.5}}, extras={"loss": math.inf})
    content = json.loads(json.dumps(row.to_dict(), allow_nan=False))
    assert content["scores"] == {"pearson": None, "spearman": 0.5}
    assert content["loss"] is None
    read = Row.from_dict(content)
    assert math.isnan(read.scores["pearson"])
    assert read.scores["spearman"] == 0.5


def test_scalars_of_libraries_are_plain() -> None:
    extras = {"loss": torch.tensor(0.5), "steps": np.int64(3), "folder": Path("runs/x"), "sizes": (1, np.float32(2))}
    content = Row(**VALUES, extras=extras).to_dict()
    assert json.loads(json.dumps(content))["sizes"] == [1, 2.0]
    assert (content["loss"], content["steps"], content["folder"]) == (0.5, 3, "runs/x")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("name", 3, "a string"),
        ("seed", "0", "a whole number or null"),
        ("seed", True, "a whole number or null"),
        ("scores", [0.9], "a number for each metric"),
        ("scores", {"accuracy": "0.9"}, "a number for each metric"),
        ("parameters", 1.5, "a whole number"),
        ("nonzero_parameters", -1, "a whole number"),
        ("sparsity", 80, r"a number in \[0, 1\]"),
        ("sparsity", math.nan, r"a number in \[0, 1\]"),
        ("total_sparsity", "0", r"a number in \[0, 1\] or null"),
        ("bytes", 1e6, "a whole number or null"),
        ("macs", "many", "a whole number or null"),
        ("latency_ms", {"median": 3.0}, "a mapping with the numbers median and iqr"),
        ("latency_ms", 3.0, "a mapping with the numbers median and iqr"),
    ],
)
def test_wrong_values_are_named(key: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=f"Row .*: {key} is .*, expected {expected}"):
        Row(**{**VALUES, key: value})


def test_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match="Row 'dense': parameters, seed missing"):
        Row.from_dict({key: value for key, value in VALUES.items() if key not in ("parameters", "seed")})


@pytest.mark.parametrize(
    ("extras", "problem"),
    [
        ({"macs": 3}, "extra 'macs' has the name of a field"),
        ({"extras": 3}, "extra 'extras' has the name of a field"),
        ({"weights": torch.zeros(3)}, "extra 'weights' holds a Tensor, expected numbers"),
        ({"deep": [{"set": {1}}]}, "extra 'deep' holds a set"),
    ],
)
def test_extras_that_json_cannot_hold(extras: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Row(**VALUES, extras=extras)
