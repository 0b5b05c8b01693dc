"""Accuracy of probes on equally many neurons, ordered here and by NeuroX 1.0.9: a table of docs/performance.md.

    TOOLKIT_DATA=… NEUROX_PATH=… python tests/benchmarks/ordering_table.py runs/orderings [--tasks upos sst2]

The features of pretrained MiniLM for at most 1,500 training sentences are extracted once for each task and seed,
which draws the dev set. All orderings are made of the training rows alone: NeuroX's by its probe (10 epochs of Adam)
and by class means, ours as the recipes do, with the penalty of the probe on all neurons that is best on dev. The
probes that judge them are the same: to convergence, with the penalty that is best on dev, judged on the official
development or test set. What is complete is not run again. Writes ``ordering_table.json``.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import seed_everything
from torch import Tensor

from tests.benchmarks.neurox_selection import PROBE
from tests.benchmarks.recording import Measure, Table, record
from toolkit.console import user_errors
from toolkit.data import TaskData
from toolkit.models.loading import load_network
from toolkit.probing.linear import named_score, probe_score, search_penalty
from toolkit.probing.registry import rank
from toolkit.probing.stages import PENALTIES
from toolkit.statistics.features import extract_features

TASKS = ("upos", "chunking", "sst2")
SHARES = (0.01, 0.02, 0.05, 0.1)
NEUROX = ("NeuroX, probe's weights", "NeuroX, probeless")
OURS = ("surgeon", "group_proximal", "correlation_analysis", "probeless")
STRIDE = 1000


def neurox_orderings(features: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Both orderings of NeuroX, best first."""
    linear = importlib.import_module("neurox.interpretation.linear_probe")
    probeless = importlib.import_module("neurox.interpretation.probeless")
    # It counts the classes that it sees, so that their numbers must leave none out, as those of rare tags do.
    present, labels = np.unique(targets.numpy(), return_inverse=True)
    array = features.numpy()
    probe = linear.train_logistic_regression_probe(array, labels, **PROBE)
    names = {str(number): number for number in range(len(present))}
    order, _ = linear.get_neuron_ordering(probe, names, STRIDE)
    return {
        NEUROX[0]: torch.tensor(order),
        NEUROX[1]: torch.tensor(probeless.get_neuron_ordering(array, labels)),
    }


def compare(task: str, seed: int, folder: Path, limit: int) -> dict[str, Any]:
    """Extract, order, and judge the first neurons of every ordering."""
    seed_everything(seed, verbose=False)
    data = TaskData(task, limit_train=limit, limit_eval=limit, max_length=64, split_seed=seed)
    network = load_network("minilm", data.task)
    network.train(False)
    splits = [
        extract_features(network, data, split, folder / f"{task}-{seed}-{split}")
        for split in ("train", "dev", data.splits[0])
    ]
    (train, targets), (dev, dev_targets), (judged, judged_targets) = (
        (split.matrix(), torch.as_tensor(split.labels)) for split in splits
    )
    num_classes = len(data.task.labels)
    score = named_score("accuracy")

    def judge(neurons: Tensor) -> float:
        probe, _, _ = search_penalty(
            train[:, neurons], targets, dev[:, neurons], dev_targets,
            num_classes=num_classes, score=score, penalties=PENALTIES,
        )  # fmt: skip
        return probe_score(probe, judged[:, neurons], judged_targets, score)

    everything = torch.arange(train.shape[1])
    _, l2, _ = search_penalty(
        train, targets, dev, dev_targets, num_classes=num_classes, score=score, penalties=PENALTIES
    )
    started = time.perf_counter()
    orderings = neurox_orderings(train, targets)
    seconds = {"NeuroX, both": time.perf_counter() - started}
    for name in OURS:
        started = time.perf_counter()
        orderings[name] = rank(name, train, targets, num_classes, l2=l2)
        seconds[name] = time.perf_counter() - started
    numbers = [int(share * len(everything)) for share in SHARES]
    return {
        "rows": [len(targets), len(dev_targets), len(judged_targets)],
        "neurons": len(everything),
        "oracle": judge(everything),
        "seconds": seconds,
        "scores": {name: {str(k): judge(order[:k]) for k in numbers} for name, order in orderings.items()},
    }


def main() -> None:
    """Run the grid, print and record the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=1500, help="sentences of each set")
    options = parser.parse_args()
    if "NEUROX_PATH" not in os.environ:
        parser.error("NEUROX_PATH names no folder with NeuroX 1.0.9; see the command in tests/benchmarks/conftest.py")
    sys.path.append(os.environ["NEUROX_PATH"])
    options.folder.mkdir(parents=True, exist_ok=True)
    cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for seed in options.seeds:
        for task in options.tasks:
            file = options.folder / f"{task}-{seed}.json"
            if not file.is_file():
                with user_errors():
                    cell = compare(task, seed, options.folder / "features", options.limit)
                file.write_text(json.dumps(cell), encoding="utf-8")
                print(task, seed, cell["scores"], flush=True)
            cells[task].append(json.loads(file.read_text(encoding="utf-8")))
    write(cells, len(options.seeds))


def write(cells: dict[str, list[dict[str, Any]]], num_seeds: int) -> None:
    """Record means over seeds, and by how much our default is above the better of NeuroX's."""
    measures: list[Measure] = []
    rows: list[list[str | float | None]] = []
    for task, found in cells.items():
        oracle = 100 * statistics.mean(cell["oracle"] for cell in found)
        numbers = list(found[0]["scores"][OURS[0]])
        means = {
            name: {k: 100 * statistics.mean(cell["scores"][name][k] for cell in found) for k in numbers}
            for name in (*OURS, *NEUROX)
        }
        for name, scores in means.items():
            rows.append([task, name.replace("_", " "), *scores.values(), oracle])
        measures += [
            Measure(
                what=f"surgeon - better of NeuroX's, {task}, {share:.0%} of the neurons",
                value=means["surgeon"][k] - max(means[name][k] for name in NEUROX),
                unit="points",
                at_least=0,
            )
            for share, k in zip(SHARES, numbers, strict=True)
        ]
    record(
        "ordering_table",
        "Accuracy at equal numbers of neurons",
        measures,
        Table(columns=("task", "ordering", *(f"{share:.0%}" for share in SHARES), "all neurons"), rows=rows),
        note=f"Pretrained MiniLM, {num_seeds} seeds; accuracy in per cent of probes on the first neurons of each "
        "ordering, on the official development or test set.",
    )


if __name__ == "__main__":
    main()
