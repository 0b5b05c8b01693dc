"""How few neurons keep 97 % of what a probe on all neurons knows: a table of docs/results.md.

    TOOLKIT_DATA=… python tests/benchmarks/neuron_table.py runs/neurons [--tasks upos sst2] [--seeds 0 1 2]

Sentence tasks: MiniLM is fine-tuned first on at most 2,000 sentences of at most 64 tokens, 3 epochs in batches of 16
(``--limit``, ``--length`` and ``--epochs`` change that); at most 1,000 sentences decide, and as many are judged.
Tagging tasks: pretrained MiniLM, 1,500 sentences for training (``--limit``); fine-tuned on them with ``--tune``. Every
cell is the module ``NeuronSelection`` with its defaults, judged but not saved, and a file of its own: what is complete
is not run again.
"""

import argparse
import json
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning import Trainer, seed_everything

from toolkit.console import user_errors
from toolkit.data import TaskData
from toolkit.evaluation import costs
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.neuron_selection import NeuronSelection, Selection

TASKS = ("upos", "chunking", "ner", "sst2", "mrpc", "cola", "rte", "qnli", "stsb")
TAGGING = ("upos", "xpos", "chunking", "ner")


@dataclass(frozen=True)
class Budget:
    """What a network and its probes may learn from."""

    limit: int | None = None
    length: int = 64
    epochs: int = 3
    tune: bool = False

    def name(self, task: str, kind: str, seed: int) -> str:
        """Of what is stored of a cell; the budget's name is in it unless it is the usual one."""
        usual = replace(self, tune=False) == Budget()
        changed = [] if usual else [f"{self.limit or 'usual'}x{self.length}x{self.epochs}"]
        return "-".join([task, kind, *(["tuned"] if self.tune else []), *changed, str(seed)])


def select(task: str, seed: int, folder: Path, selection: Selection, budget: Budget) -> dict[str, Any]:
    """Fine-tune if it is a sentence task, select, judge."""
    seed_everything(seed, verbose=False)
    limits: dict[str, Any] = (
        {"limit_train": budget.limit or 1500}
        if task in TAGGING
        else {"limit_train": budget.limit or 2000, "limit_eval": 1000, "max_length": budget.length}
    )
    data = TaskData(task, batch_size=16, split_seed=seed, **limits)
    reference = folder / budget.name(task, "reference", seed)
    tuned = budget.tune or task not in TAGGING
    if tuned and not (reference / "config.json").is_file():
        module = FineTuning(data.task)
        trainer = Trainer(
            max_epochs=budget.epochs, precision="bf16-mixed", gradient_clip_val=1.0, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
            use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
        module.network.save_pretrained(reference)
        data.tokenizer.save_pretrained(reference)
    started = time.perf_counter()
    module = NeuronSelection(data.task, selection=selection, fine_tune=tuned)
    network, extras = module.select(data, folder / f"{task}-{seed}", reference)
    shutil.rmtree(folder / f"{task}-{seed}")
    return extras["neurons"] | {
        "seconds": time.perf_counter() - started,
        "parameters": costs.num_parameters(network),
        "macs": costs.macs(network),
        "full_macs": costs.macs(module.network),
    }


def main() -> None:
    """Run the grid and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, help="training sentences; 2,000 (1,500 for tags) if not given")
    parser.add_argument("--length", type=int, default=Budget.length, help="tokens of a sentence")
    parser.add_argument("--epochs", type=int, default=Budget.epochs, help="of fine-tuning on a sentence task")
    parser.add_argument("--tune", action="store_true", help="fine-tune for tagging tasks, too")
    parser.add_argument("--faithful", action="store_true", help="the authors' procedure in place of ours")
    options = parser.parse_args()
    budget = Budget(options.limit, options.length, options.epochs, options.tune)
    options.folder.mkdir(parents=True, exist_ok=True)
    cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for seed in options.seeds:
        for task in options.tasks:
            kind = "faithful" if options.faithful else "neurons"
            file = options.folder / f"{budget.name(task, kind, seed)}.json"
            if not file.is_file():
                with user_errors():
                    cell = select(task, seed, options.folder, Selection(faithful=options.faithful), budget)
                file.write_text(json.dumps(cell), encoding="utf-8")
                print(task, seed, {key: cell[key] for key in ("kept", "share", "oracle", "retention")}, flush=True)
            cells[task].append(json.loads(file.read_text(encoding="utf-8")))
    print("\n".join(table(cells)))


def table(cells: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The lines of the table in Markdown.

    Args:
        cells: Task → what was found with each seed.
    """
    lines = [
        "| task | metric | oracle | neurons | share | layers | kept | MACs |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    means: dict[str, list[float]] = defaultdict(list)
    for task, found in cells.items():
        values = {key: [100 * cell[key] for cell in found] for key in ("oracle", "share", "retention")}
        for key, own in values.items():
            means[key].append(statistics.mean(own))
        numbers = [
            spread(values["oracle"]),
            ", ".join(str(cell["kept"]) for cell in found),
            f"{means['share'][-1]:.1f} %",
            ", ".join(dict.fromkeys(f"0-{max(cell['layers'])}" for cell in found)),
            f"{spread(values['retention'])} %",
            f"{statistics.mean(cell['macs'] / cell['full_macs'] for cell in found) - 1:+.0%}".replace("%", " %"),
        ]
        lines.append(f"| {task} | {found[0]['metric'].replace('_', ' ')} | {' | '.join(numbers)} |")
    share, kept = (statistics.mean(means[key]) for key in ("share", "retention"))
    return [*lines, f"| mean | | | | {share:.1f} % | | {kept:.1f} % | |"]


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation, of one value itself."""
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
