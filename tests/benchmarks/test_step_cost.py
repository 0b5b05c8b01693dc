"""What a pruning step costs beside the plain AdamW step of fine-tuning, on MiniLM, in one run.

Run by ``nox -s bench``; prints the ratios and writes ``runs/step_cost.json``.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

from toolkit.data import TaskData
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.modules.weight_pruning import WeightPruning

STEPS, WARM_UP = 45, 4
WHOLE: dict[str, Any] = {"prune_start": 0.0, "prune_fraction": 1.0}  # So that every step measured is in the window.
METHODS: dict[str, tuple[type[WeightPruning], dict[str, Any]]] = {
    "RPP, Adam's metric": (ProximalPruning, WHOLE),
    "RPP, Adam's metric, every step": (ProximalPruning, WHOLE | {"interval": 1}),
    "RPP, Euclidean, every step (paper)": (ProximalPruning, WHOLE | {"metric": "euclidean", "interval": 1}),
    "gradual magnitude": (MagnitudePruning, WHOLE),
    "gradual curvature": (MagnitudePruning, WHOLE | {"score": "curvature"}),
    "recovery": (MagnitudePruning, {"schedule": "one_shot", "prune_start": 0.0, "prune_fraction": 0.01}),
}


class Clock(Callback):
    """Seconds of every training step, and the part of them that pruning adds."""

    def __init__(self) -> None:
        self.whole: list[float] = []
        self.added: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.added.append(0.0)
        self.started = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.whole.append(time.perf_counter() - self.started)


def timed(kind: type[WeightPruning], clock: Clock) -> type[WeightPruning]:
    """The module with its two hooks timed: everything that it does and fine-tuning doesn't."""

    class Timed(kind):  # type: ignore[misc, valid-type]
        def on_before_optimizer_step(self, *arguments: Any) -> None:
            started = time.perf_counter()
            super().on_before_optimizer_step(*arguments)
            clock.added[-1] += time.perf_counter() - started

        def _after_step(self, *arguments: Any) -> None:
            started = time.perf_counter()
            super()._after_step(*arguments)
            clock.added[-1] += time.perf_counter() - started

    return Timed


@pytest.mark.benchmark
def test_step_cost(tmp_path: Path) -> None:
    """A step of RPP costs at most 5 % more than the step it is added to; the goal is 3 %."""
    data = TaskData("synthetic_paraphrase", size=1600, batch_size=32)
    found: dict[str, dict[str, float]] = {}
    for name, (kind, options) in METHODS.items():
        clock = Clock()
        trainer = Trainer(
            max_steps=STEPS,
            accelerator="cpu",
            precision="bf16-mixed",
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            default_root_dir=tmp_path,
            callbacks=[clock],
        )
        trainer.fit(timed(kind, clock)(data.task, **options), datamodule=data)
        # Means, not medians: some methods work at every tenth step only. The last step, which fixes the pattern, is
        # left out: it comes once in a run.
        added = statistics.mean(clock.added[WARM_UP:-1])
        plain = statistics.mean(clock.whole[WARM_UP:-1]) - added
        found[name] = {"step_ms": 1e3 * plain, "added_ms": 1e3 * added, "ratio": 1 + added / plain}
        print(f"{name:40} {1e3 * plain:8.1f} ms + {1e3 * added:6.1f} ms: {1 + added / plain:.3f}")
    Path("runs").mkdir(exist_ok=True)
    hardware = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    Path("runs/step_cost.json").write_text(json.dumps({"methods": found, **hardware}, indent=2))
    for name in ("RPP, Adam's metric", "RPP, Euclidean, every step (paper)", "recovery"):
        assert found[name]["ratio"] <= 1.05, name
