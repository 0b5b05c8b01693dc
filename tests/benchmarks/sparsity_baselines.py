"""RPP and gradual pruning beside what PyTorch and Lightning bring, at equal sparsity and budget: docs/performance.md.

    TOOLKIT_DATA=… python tests/benchmarks/sparsity_baselines.py runs/baselines [--tasks mrpc sst2] [--seeds 0 1 2]

Every cell is a fine-tuning of MiniLM with the same data, order of batches, steps, optimizer and schedule: 4 epochs in
batches of 32, AdamW at 1e-4, bf16-mixed. MRPC is the whole set; of SST-2, whose training file is mostly phrases, 3,000
rows train. Cells are judged on the official development set, not saved, and a file each: what is complete is not run
again. Writes ``sparsity_baselines_TASK.json`` for each task.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer, seed_everything

from tests.benchmarks.pruning_callbacks import TorchPruning, gradually, lightning_pruning, once, targets
from tests.benchmarks.recording import Measure, Table, record
from toolkit.console import user_errors
from toolkit.data import TaskData
from toolkit.evaluation.judging import judge
from toolkit.models.encoder import prunable_weights
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.pruning.masks import sparsity as share_of_zeros

DATA: dict[str, dict[str, Any]] = {"mrpc": {}, "sst2": {"limit_train": 3000}}
Made = tuple[FineTuning, list[Callback]]
METHODS: dict[str, Callable[[TaskData, float], Made]] = {
    "RPP, Adam's metric": lambda data, wanted: (ProximalPruning(data.task, sparsity=wanted), []),
    "gradual curvature": lambda data, wanted: (MagnitudePruning(data.task, sparsity=wanted, score="curvature"), []),
    "gradual magnitude": lambda data, wanted: (MagnitudePruning(data.task, sparsity=wanted), []),
    "ModelPruning, once": lambda data, wanted: _lightning(data, wanted, 1),
    "ModelPruning, two rounds": lambda data, wanted: _lightning(data, wanted, 2),
    "torch.nn.utils.prune, once": lambda data, wanted: _torch(data, once(wanted)),
    "torch.nn.utils.prune, gradually": lambda data, wanted: _torch(data, gradually(wanted)),
}
OURS = ("RPP, Adam's metric", "gradual curvature")
THEIRS = tuple(name for name in METHODS if name.startswith(("ModelPruning", "torch")))


def _lightning(data: TaskData, wanted: float, rounds: int) -> Made:
    module = FineTuning(data.task)
    return module, [lightning_pruning(module, wanted, rounds)]


def _torch(data: TaskData, wanted: Callable[[int, int], float]) -> Made:
    module = FineTuning(data.task)
    return module, [TorchPruning(targets(module), wanted)]


def train(data: TaskData, make: Callable[[], Made], epochs: int) -> dict[str, Any]:
    """Train, prune and judge."""
    module, callbacks = make()
    trainer = Trainer(
        max_epochs=epochs, precision="bf16-mixed", gradient_clip_val=1.0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, use_distributed_sampler=False,
        callbacks=callbacks,
    )  # fmt: skip
    started = time.perf_counter()
    trainer.fit(module, datamodule=data)
    seconds = time.perf_counter() - started
    return {
        "scores": judge(module.network, data).scores(),
        "sparsity": share_of_zeros(prunable_weights(module.network)),
        "steps": trainer.global_step,
        "seconds": seconds,
    }


def check(cell: dict[str, Any], wanted: float, name: str) -> None:
    """Refuse to compare networks of different sparsity.

    Raises:
        RuntimeError: If the sparsity is not the wanted one.
    """
    if abs(cell["sparsity"] - wanted) > 1e-4:
        raise RuntimeError(f"{name} pruned {cell['sparsity']:.4f} of the weights, but {wanted} is compared.")


def main() -> None:
    """Run the grid, print and record the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.8])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--limit", type=int, help="training rows, to try the script")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    scores: dict[str, dict[tuple[str, float], list[float]]] = {task: defaultdict(list) for task in options.tasks}
    for seed in options.seeds:
        for task in options.tasks:
            limits = {"limit_train": options.limit, "limit_eval": options.limit} if options.limit else DATA[task]
            plan: list[tuple[str, float, Callable[[TaskData], Made]]] = [
                ("uncompressed", 0.0, lambda data: (FineTuning(data.task), []))
            ]
            for wanted in options.sparsities:
                for name in options.methods:
                    made = METHODS[name]
                    plan.append((name, wanted, lambda data, made=made, wanted=wanted: made(data, wanted)))  # type: ignore[misc]
            for name, wanted, make in plan:
                letters = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
                file = options.folder / f"{task}-{letters}-{round(1000 * wanted)}-{seed}.json"
                if not file.is_file():
                    seed_everything(seed, verbose=False)
                    with user_errors():
                        data = TaskData(task, **limits)
                        cell = train(data, lambda make=make, data=data: make(data), options.epochs)  # type: ignore[misc]
                    check(cell, wanted, name)
                    file.write_text(json.dumps(cell), encoding="utf-8")
                    print(task, seed, name, wanted, cell, flush=True)
                cell = json.loads(file.read_text(encoding="utf-8"))
                scores[task][name, wanted].append(100 * cell["scores"][TaskData(task).task.metrics[0]])
    for task, own in scores.items():
        write(task, own, len(options.seeds))


def write(task: str, scores: dict[tuple[str, float], list[float]], num_seeds: int) -> None:
    """Record means and spreads, and by how much the better of ours is above the best of theirs."""
    means = {key: statistics.mean(values) for key, values in scores.items()}
    measures = []
    for wanted in dict.fromkeys(wanted for _, wanted in scores if wanted):
        best = {
            who: max((means[name, wanted] for name in names if (name, wanted) in means), default=None)
            for who, names in (("ours", OURS), ("theirs", THEIRS))
        }
        if best["ours"] is not None and best["theirs"] is not None:
            measures.append(
                Measure(
                    what=f"best of ours - best of theirs, {task}, {wanted:.0%} zeros",
                    value=best["ours"] - best["theirs"],
                    unit="points",
                    at_least=0,
                )
            )
    rows: list[list[str | float | None]] = [
        [task, f"{wanted:.0%}", name, means[name, wanted], statistics.stdev(v) if len(v) > 1 else None]
        for (name, wanted), v in sorted(scores.items(), key=lambda item: item[0][1])
    ]
    record(
        f"sparsity_baselines_{task}",
        f"Accuracy at equal sparsity, {task}",
        measures,
        Table(columns=("task", "zeros", "method", "accuracy, %", "standard deviation"), rows=rows),
        note=f"MiniLM, {num_seeds} seeds, the same data, steps, optimizer and schedule for all; official development "
        "set. ModelPruning and torch.nn.utils.prune remove the smallest weights of all layers together.",
    )


if __name__ == "__main__":
    main()
