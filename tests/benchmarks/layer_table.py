"""Blocks chosen by class variability beside the same number of top, bottom and random ones: a table of docs/results.md.

    TOOLKIT_DATA=… python tests/benchmarks/layer_table.py runs/layers [--tasks mrpc rte] [--seeds 0 1 2]

All tasks have the same budget: 800 sentences of at most 64 tokens, 3 epochs in batches of 16, 500 sentences of the
official set. The layers are looked at once for each task; every cell is the module ``LayerDropping`` with the recipe's
training options, evaluated but not saved, and a file of its own: what is complete is not run again.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from lightning import Trainer, seed_everything

from toolkit.console import user_errors
from toolkit.data import TaskData
from toolkit.evaluation.judging import judge
from toolkit.models.loading import load_network
from toolkit.modules.layer_dropping import LayerDropping
from toolkit.statistics.profile import LayerProfile, profile_layers

TASKS = ("cola", "sst2", "mrpc", "rte", "qnli", "upos", "chunking")
METHODS: dict[str, dict[str, Any]] = {
    "uncompressed": {"strategy": "all"},
    "variability": {},
    "influence": {"score": "influence"},
    "similarity": {"score": "similarity"},
    "top": {"strategy": "top"},
    "bottom": {"strategy": "bottom"},
    "random": {"strategy": "random"},
    "window at the best layer": {"strategy": "window"},
    "train top": {"strategy": "train_top"},
    "train random": {"strategy": "train_random"},
}


def profile_of(data: TaskData, folder: Path) -> LayerProfile:
    """The layers of the pretrained network on the training set."""
    file = folder / f"{data.task.name}.json"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        profile_layers(load_network("minilm", data.task), data, name="minilm", folder=folder).write(file)
        (folder / "statistics.ckpt").unlink()
    return LayerProfile.read(file)


def train(data: TaskData, profile: LayerProfile, options: dict[str, Any]) -> dict[str, Any]:
    """Drop, train and judge."""
    module = LayerDropping(data.task, **options)
    plan = module.choose(profile if module.needs_profile else None)
    module.adopt(plan)
    trainer = Trainer(
        max_epochs=3, precision="bf16-mixed", gradient_clip_val=1.0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    cost = module.training_macs["chosen"] / module.training_macs["full"]
    return {"scores": judge(module.network, data).scores(), "kept": plan.kept, "trained": plan.trained, "cost": cost}


def main() -> None:
    """Run the grid and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--keep", type=int, default=3, help="blocks that stay, or that are trained")
    options = parser.parse_args()
    cells: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for seed in options.seeds:
        for task in options.tasks:
            with user_errors():
                data = TaskData(task, limit_train=800, limit_eval=500, max_length=64, batch_size=16)
                profile = profile_of(data, options.folder / "profiles")
                for method in options.methods:
                    file = options.folder / f"{task}-{method.replace(' ', '-')}-{options.keep}-{seed}.json"
                    if not file.is_file():
                        seed_everything(seed, verbose=False)
                        cell = train(data, profile, {"keep": options.keep, **METHODS[method]})
                        file.write_text(json.dumps(cell), encoding="utf-8")
                        print(task, seed, method, cell, flush=True)
                    cells[task, method].append(json.loads(file.read_text(encoding="utf-8")))
    print(f"| | {' | '.join(options.tasks)} | mean |\n| --- |{' ---: |' * (len(options.tasks) + 1)}")
    for method in options.methods:
        means, line = [], []
        for task in options.tasks:
            metric = TaskData(task).task.metrics[0]
            scores = [100 * cell["scores"][metric] for cell in cells[task, method]]
            means.append(statistics.mean(scores))
            spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
            chosen = {"".join(map(str, cell["kept"])) for cell in cells[task, method]}
            line.append(f"{means[-1]:.1f}{spread}" + (f" ({min(chosen)})" if len(chosen) == 1 else ""))
        print(f"| {method} | {' | '.join(line)} | {statistics.mean(means):.1f} |")


if __name__ == "__main__":
    main()
