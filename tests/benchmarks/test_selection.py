"""Selection of neurons beside NeuroX 1.0.9 on the same 25,000 x 2,688 features, in one run.

    pip install --target FOLDER --no-deps NeuroX==1.0.9 imbalanced-learn sklearn-compat h5py svgwrite
    NEUROX_PATH=FOLDER pytest -m benchmark -s tests/benchmarks/test_selection.py

Prints seconds and ratios and writes ``runs/benchmarks/selection.json``.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from toolkit.probing.clustering import ClusterTree
from toolkit.probing.layers import ArrayStates
from toolkit.probing.linear import fit_probe, named_score
from toolkit.probing.rankings import rank_by_correlation_analysis
from toolkit.probing.selection import select_neurons

Result = TypeVar("Result")

ROWS, LAYERS, SIZE, CLASSES = 25_000, 7, 384, 17
THRESHOLD = 0.3
STRIDE = 1000  # of the paper's sweep
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.filterwarnings("default"),  # NeuroX's own
]


def states(num_rows: int, seed: int) -> ArrayStates:
    """Layers that add to what is below them, as residual streams do; the classes are seen best in the middle."""
    shape, draw = np.random.default_rng(0), np.random.default_rng(1 + seed)  # of the network, and of the rows
    labels = draw.integers(CLASSES, size=num_rows)
    causes = shape.normal(size=(CLASSES, 24))[labels] + 1.5 * draw.normal(size=(num_rows, 24))
    stream = np.zeros((num_rows, SIZE))
    layers = []
    for layer in range(LAYERS):
        clear = 1 - abs(layer - LAYERS // 2) / LAYERS
        mixing = shape.normal(size=(24, SIZE)) * (shape.random(size=(24, SIZE)) < 0.1)
        stream = 0.9 * stream + clear * causes @ mixing + 0.8 * draw.normal(size=stream.shape)
        layers.append((stream + 0.3 * draw.normal(size=stream.shape)).astype(np.float32))
    return ArrayStates(np.stack(layers, 1), labels)


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    started = time.perf_counter()
    return call(), time.perf_counter() - started


@pytest.fixture(scope="module")
def neurox() -> dict[str, Any]:
    """NeuroX's modules, from the folder that NEUROX_PATH names."""
    folder = os.environ.get("NEUROX_PATH")
    if not folder:
        pytest.skip("NEUROX_PATH names no folder with NeuroX 1.0.9; see the head of this file")
    sys.path.append(folder)
    try:
        return {
            name: importlib.import_module(f"neurox.interpretation.{name}") for name in ("linear_probe", "clustering")
        }
    except ImportError as error:
        pytest.skip(f"NeuroX in {folder} cannot be imported: {error}")
    finally:
        sys.path.remove(folder)


def write(found: dict[str, Any]) -> None:
    file = Path("runs/benchmarks/selection.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(file.read_text()) if file.is_file() else {}
    hardware = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    file.write_text(json.dumps(before | found | hardware, indent=2))


def test_against_neurox(neurox: dict[str, Any]) -> None:
    train = states(ROWS, 0)
    matrix, targets = train.matrix(), torch.as_tensor(train.labels)
    array, labels = matrix.numpy(), train.labels
    found: dict[str, dict[str, float]] = {}

    def report(name: str, theirs: float, ours: float) -> None:
        found[name] = {"neurox_seconds": theirs, "seconds": ours, "ratio": theirs / ours}
        print(f"\n{name:28} NeuroX {theirs:7.2f} s, here {ours:7.2f} s: {theirs / ours:.1f} x")

    probe, theirs = timed(
        lambda: neurox["linear_probe"].train_logistic_regression_probe(
            array, labels, lambda_l1=1e-5, lambda_l2=1e-5, num_epochs=10, batch_size=128
        )
    )
    paper: dict[str, Any] = {"solver": "adam", "l1": 1e-5, "l2": 1e-5, "norm": "frobenius"}
    paper |= {"standardize": False, "shuffle": False}
    same, ours = timed(lambda: fit_probe(matrix, targets, num_classes=CLASSES, **paper))
    report("probe: 10 epochs of Adam", theirs, ours)
    converged, ours = timed(lambda: fit_probe(matrix, targets, num_classes=CLASSES))
    report("probe: converged", theirs, ours)
    dev = states(5000, 1)
    with torch.no_grad():
        logits = probe(dev.matrix())
    score, dev_targets = named_score("accuracy"), torch.as_tensor(dev.labels)
    scores = [score(outputs, dev_targets) for outputs in (logits, same.logits(dev.matrix()))]
    print(f"accuracy {scores}, converged {score(converged.logits(dev.matrix()), dev_targets):.4f}")
    assert scores[0] == pytest.approx(scores[1], abs=0.01)  # the same training from other first weights

    classes = {str(number): number for number in range(CLASSES)}
    (order, cutoffs), theirs = timed(lambda: neurox["linear_probe"].get_neuron_ordering(probe, classes, STRIDE))
    mine, ours = timed(lambda: rank_by_correlation_analysis(probe.linear.weight.detach()))
    report("ordering, 2,688 x 17", theirs, ours)
    assert prefixes_agree(order, cutoffs, mine) > 0.9999

    assignment, theirs = timed(lambda: neurox["clustering"].create_correlation_clusters(array, True, THRESHOLD))
    tree, ours = timed(lambda: ClusterTree(matrix))
    clusters, cut = timed(lambda: tree.cut(THRESHOLD))
    report("clustering, one threshold", theirs, ours + cut)
    report("clustering, nine thresholds", 9 * theirs, ours + 9 * cut)
    assert clusters.num_constant == 0
    numbers = np.unique(np.stack([assignment, clusters.assignment.numpy()]), axis=1)
    assert numbers.shape[1] == len(np.unique(assignment)) == len(clusters.representatives)  # one to one
    write(found)


def test_ordering_and_selection_meet_their_limits() -> None:
    """The ordering of 9,984 neurons for 50 labels in a second, a whole selection in two minutes."""
    weight = torch.randn(50, 9984, generator=torch.Generator().manual_seed(0)) ** 3
    rank_by_correlation_analysis(weight)
    _, ordering = timed(lambda: rank_by_correlation_analysis(weight))
    splits = [states(num_rows, seed) for seed, num_rows in enumerate((ROWS, 5000, 5000))]
    accuracy = named_score("accuracy")
    selected, selection = timed(lambda: select_neurons(*splits, num_classes=CLASSES, score=accuracy))
    print(f"\nordering, 9,984 x 50: {ordering:.3f} s; selection: {selection:.1f} s, {len(selected.neurons)} neurons")
    for stage in selected.stages:
        print(f"{stage.name:10} {stage.neurons:5} neurons: dev {stage.dev:.4f}, test {stage.test:.4f}")
    write({"ordering_9984x50_seconds": ordering, "selection_25000x2688_seconds": selection})
    assert ordering < 1
    assert selection < 120
    assert selected.retention > 0.96


def prefixes_agree(order: list[int], cutoffs: list[int], mine: Tensor) -> float:
    """Share of the neurons before each of NeuroX's cutoffs, between which its order is arbitrary, that are equal."""
    shares = [len({*order[:cut]} & {*mine[:cut].tolist()}) / cut for cut in sorted(set(cutoffs))]
    return sum(shares) / len(shares)
