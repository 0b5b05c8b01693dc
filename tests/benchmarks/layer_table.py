"""Blocks chosen by class variability beside the same number of top, bottom and random ones: a table of docs/results.md.

    TOOLKIT_DATA=… python tests/benchmarks/layer_table.py runs/layers [--tasks mrpc rte] [--seeds 0 1 2]

Every run is the recipe ``layer_dropping``; what is complete is not run again. The uncompressed network of a task and
seed is trained once. All tasks are cut to the same budget: 2,000 sentences for training, 1,000 of the official set.
"""

import argparse
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from running import folder_name, last_row

TASKS = ("cola", "sst2", "mrpc", "rte", "qnli", "upos", "chunking")
BUDGET: dict[str, Any] = {"data.limit_train": 2000, "data.limit_eval": 1000, "trainer.max_epochs": 3}
DROPPED: dict[str, dict[str, Any]] = {
    "variability": {},
    "influence": {"model.score": "influence"},
    "similarity": {"model.score": "similarity"},
    "top": {"model.strategy": "top"},
    "bottom": {"model.strategy": "bottom"},
    "random": {"model.strategy": "random"},
}
TRAINED: dict[str, dict[str, Any]] = {
    "variability, window": {"model.strategy": "window"},
    "train top": {"model.strategy": "train_top"},
    "train bottom": {"model.strategy": "train_bottom"},
    "train random": {"model.strategy": "train_random"},
}


def main() -> None:
    """Run the grid and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=[*DROPPED, *TRAINED], choices=[*DROPPED, *TRAINED])
    parser.add_argument("--keep", type=int, default=3, help="blocks that stay")
    parser.add_argument("--train", type=int, default=2, help="blocks that are trained where nothing else is")
    options = parser.parse_args()
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    blocks: dict[tuple[str, str], set[str]] = defaultdict(set)
    for seed in options.seeds:
        for task in options.tasks:
            shared = {"data.task": task, "seed_everything": seed, **BUDGET}
            dense = options.folder / f"{task}-dense-{seed}"
            row = last_row("fine_tuning", dense, shared)
            metric = next(iter(row.scores))
            scores[task, "uncompressed"].append(row.scores[metric])
            for method in options.methods:
                number = options.keep if method in DROPPED else options.train
                row = last_row(
                    "layer_dropping",
                    options.folder / f"{task}-{folder_name(method)}-{number}-{seed}",
                    shared | (DROPPED | TRAINED)[method] | {"model.keep": number, "reference": dense / "model"},
                )
                scores[task, method].append(row.scores[metric])
                layers = row.extras["layers"]
                blocks[task, method].add("".join(map(str, layers["kept" if method in DROPPED else "trained"])))
                print(task, seed, method, round(row.scores[metric], 4), layers, flush=True)
    methods = ["uncompressed", *options.methods]
    print(f"| | {' | '.join(options.tasks)} | mean |\n| --- |{' ---: |' * (len(options.tasks) + 1)}")
    for method in methods:
        cells = [_cell(scores[task, method], blocks[task, method]) for task in options.tasks]
        mean = statistics.mean(statistics.mean(scores[task, method]) for task in options.tasks)
        print(f"| {method} | {' | '.join(cells)} | {100 * mean:.1f} |")


def _cell(values: list[float], blocks: set[str]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    chosen = f" ({next(iter(blocks))})" if len(blocks) == 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}{chosen}"


if __name__ == "__main__":
    main()
