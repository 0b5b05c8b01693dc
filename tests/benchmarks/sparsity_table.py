"""Methods x sparsities on SST-2 and MRPC, over seeds: the table of docs/results.md.

    TOOLKIT_DATA=… python tests/benchmarks/sparsity_table.py runs/sparsity [--tasks mrpc sst2] [--seeds 0 1 2]

Every run is one recipe with its defaults; what is complete is not run again. The uncompressed network of a task
and seed is trained once. MRPC is the whole set; of SST-2, whose training file is mostly phrases, 3,000 rows train.
"""

import argparse
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from toolkit.console import user_errors
from toolkit.evaluation.report import Report, Row
from toolkit.recipe import load

DATA: dict[str, dict[str, Any]] = {"mrpc": {}, "sst2": {"limit_train": 3000}}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "gradual magnitude": ("magnitude_pruning", {"model.score": "magnitude"}),
    "gradual curvature": ("magnitude_pruning", {"model.score": "curvature"}),
    "RPP, Adam's metric": ("proximal_pruning", {}),
    "RPP, Euclidean (paper)": ("proximal_pruning", {"model.metric": "euclidean", "model.interval": 1}),
}
WITHOUT_TEACHER = list(METHODS)
for name in WITHOUT_TEACHER[:3]:  # The uncompressed network is the teacher.
    recipe, overrides = METHODS[name]
    METHODS[f"{name}, with teacher"] = (recipe, overrides | {"model.distillation.teacher": "reference"})


def last_row(recipe: str, output: Path, overrides: dict[str, Any]) -> Row:
    """The last row of a run's report, from its folder if it is complete."""
    if (output / "report.json").is_file():
        return Report.read(output).rows[-1]
    with user_errors():
        row: Row = load(recipe, output=output, resume=True, **overrides).run().rows[-1]
        return row


def main() -> None:
    """Run the grid and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.8, 0.9, 0.6])
    parser.add_argument("--methods", nargs="+", default=WITHOUT_TEACHER, choices=list(METHODS))
    options = parser.parse_args()
    scores: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    for seed in options.seeds:
        for task in options.tasks:
            shared = {"data": {"task": task, **DATA[task]}, "seed_everything": seed}
            dense = options.folder / f"{task}-dense-{seed}"
            metric = "accuracy"
            scores[task, "dense", 0.0].append(last_row("fine_tuning", dense, shared).scores[metric])
            for sparsity in options.sparsities:
                for method in options.methods:
                    recipe, overrides = METHODS[method]
                    name = "".join(letter if letter.isalnum() else "-" for letter in method.lower())
                    row = last_row(
                        recipe,
                        options.folder / f"{task}-{name}-{round(100 * sparsity)}-{seed}",
                        shared | overrides | {"model.sparsity": sparsity, "reference": dense / "model"},
                    )
                    scores[task, method, sparsity].append(row.scores[metric])
                    print(
                        task,
                        seed,
                        sparsity,
                        method,
                        {key: round(value, 4) for key, value in row.scores.items()},
                        row.extras,
                        flush=True,
                    )
    print("| task | method | sparsity | accuracy |\n| --- | --- | ---: | ---: |")
    for (task, method, sparsity), values in scores.items():
        spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
        print(f"| {task} | {method} | {sparsity:.0%} | {100 * statistics.mean(values):.1f}{spread} |")


if __name__ == "__main__":
    main()
