"""How class variability withstands few examples and unequal classes: a table of docs/results.md.

    TOOLKIT_DATA=… python tests/benchmarks/variability_robustness.py runs/robustness [--tasks mrpc sst2]

The hidden states of a task's training sentences (at most 3,000; tagging: 1,000) are extracted once. Then ν is computed
on parts of them: 10 % and 1 % of the rows, and two-class tasks cut to class ratios of 1:10 and 1:100; ten draws each.
Printed are Spearman's correlation of the profile over the layers with the full one, and by how many layers the lowest
one moved.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from toolkit.console import user_errors
from toolkit.data import TaskData
from toolkit.models.loading import load_network
from toolkit.statistics.features import Features, extract_features
from toolkit.statistics.variability import ClassVariability

TASKS = {"cola": 3000, "sst2": 3000, "mrpc": 3000, "rte": 3000, "qnli": 3000, "upos": 1000, "chunking": 1000}
DRAWS = 10


def profile(features: Features, rows: np.ndarray, corrected: bool) -> np.ndarray:
    """ν of every layer on some of the rows."""
    num_layers, size = features.states.shape[1:]
    metric = ClassVariability(num_layers, size, int(features.labels.max()) + 1, corrected=corrected)
    for part in np.array_split(np.sort(rows), max(1, len(rows) // 2000)):
        states = torch.from_numpy(np.ascontiguousarray(features.states[part])).float().transpose(0, 1)
        metric.update(states, torch.from_numpy(features.labels[part]))
    return metric.compute().numpy()


def parts(labels: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Rows of each draw, by what was drawn."""
    draw = np.random.default_rng(0)
    drawn = {f"{share:.0%}": [draw.permutation(len(labels))[: int(share * len(labels))] for _ in range(DRAWS)]
             for share in (0.1, 0.01)}  # fmt: skip
    if labels.max() == 1:
        classes = [np.flatnonzero(labels == label) for label in (0, 1)]
        for ratio in (10, 100):
            drawn[f"1:{ratio}"] = [
                np.concatenate([draw.permutation(classes[rare])[: len(classes[1 - rare]) // ratio], classes[1 - rare]])
                for rare in [number % 2 for number in range(DRAWS)]
            ]
    return drawn


def main() -> None:
    """Extract, draw, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--network", default="minilm")
    options = parser.parse_args()
    print("| task | rows | lowest layer | part | ρ, plain | layers moved | ρ, corrected | layers moved |")
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    for task in options.tasks:
        with user_errors():
            data = TaskData(task, network=options.network, limit_train=TASKS[task])
            network = load_network(options.network, data.task)
            features = extract_features(network, data, "train", options.folder / task)
        labels = features.labels
        everything = np.arange(len(labels))
        full = {corrected: profile(features, everything, corrected) for corrected in (False, True)}
        best = {corrected: int(np.argmin(values[1:])) + 1 for corrected, values in full.items()}
        for name, draws in parts(labels).items():
            cells = []
            for corrected in (False, True):
                profiles = [profile(features, rows, corrected) for rows in draws]
                finite = [values for values in profiles if np.isfinite(values).all()]
                rho = [spearmanr(values, full[corrected]).statistic for values in finite]
                moved = [abs(int(np.argmin(values[1:])) + 1 - best[corrected]) for values in finite]
                lost = f" ({DRAWS - len(finite)} of {DRAWS} not finite)" if len(finite) < DRAWS else ""
                cells += [f"{np.mean(rho):.2f}{lost}", f"{np.mean(moved):.1f}"] if finite else ["–", "–"]
            print(f"| {task} | {len(labels):,} | {best[False]} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
