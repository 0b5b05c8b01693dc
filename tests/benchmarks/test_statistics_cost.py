"""What all statistics together cost beside the bare forward pass over the same batches, on MiniLM, in one run.

Run by ``nox -s bench``; prints the ratios and writes ``runs/benchmarks/statistics.json``.
"""

import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from toolkit.data import TaskData
from toolkit.models.encoder import load_network
from toolkit.statistics.collect import collect
from toolkit.statistics.hidden_states import Statistic
from toolkit.statistics.influence import BlockInfluence
from toolkit.statistics.similarity import LayerSimilarity
from toolkit.statistics.variability import ClassVariability

SENTENCES, ROUNDS = 500, 3
NO_INPUTS = ("labels", "index", "special_tokens_mask")


def peak() -> int:
    """Most memory that this process ever held, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.benchmark
@pytest.mark.parametrize("task", ["sst2", "upos"])
def test_statistics_cost(task: str) -> None:
    """Variability, similarity and influence of all layers take at most a quarter of the forward pass."""
    real = os.environ.get("TOOLKIT_DATA") is not None
    name = task if real else {"sst2": "synthetic_sentiment", "upos": "synthetic_pos"}[task]
    data = TaskData(name, limit_train=SENTENCES)
    network = load_network("minilm", data.task)
    network.train(False)
    batches = list(data.share("train"))

    def forward() -> None:
        for batch in batches:
            network.base_model(**{key: value for key, value in batch.items() if key not in NO_INPUTS})

    def statistics() -> None:
        wanted: Sequence[Statistic] = (
            ClassVariability(7, 384, len(data.task.labels)), BlockInfluence(7), LayerSimilarity(7, 384),
        )  # fmt: skip
        collect(network, data, wanted, trainer=partial(Trainer, accelerator="cpu", enable_progress_bar=False))

    seconds: dict[str, list[float]] = {"forward": [], "statistics": []}

    def measure(what: str, work: Callable[[], object]) -> None:
        started = time.process_time()  # Of the processor: the clock's depends on what else the machine does.
        work()
        seconds[what].append(time.process_time() - started)

    with torch.no_grad():
        forward()
        before = peak()
        for _ in range(ROUNDS):  # One beside the other, so that what else the machine does meets both.
            measure("forward", forward)
            measure("statistics", statistics)
    ratio = min(seconds["statistics"]) / min(seconds["forward"])
    print(f"{name}: forward {min(seconds['forward']):.2f} s, with all statistics {ratio:.3f} times that")
    file = Path("runs/benchmarks/statistics.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found[name] = {
        "sentences": SENTENCES,
        "processor_seconds": seconds,
        "ratio": ratio,
        "peak_bytes_above_forward": peak() - before,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    file.write_text(json.dumps(found, indent=2), encoding="utf-8")
    assert ratio <= 1.25


@pytest.mark.benchmark
def test_memory_does_not_grow_with_the_number_of_sentences() -> None:
    """Four times as many sentences need no more memory; the longest come first, so that the first run meets them."""
    peaks = []
    for size in (400, 1600):
        data = TaskData("synthetic_sentiment", size=size)
        network = load_network("minilm", data.task)
        collect(
            network, data, (ClassVariability(7, 384, 2), BlockInfluence(7), LayerSimilarity(7, 384)),
            trainer=partial(Trainer, accelerator="cpu", enable_progress_bar=False),
        )  # fmt: skip
        peaks.append(peak())
    grown = peaks[1] - peaks[0]
    print(f"peak memory {peaks[0] / 2**20:.0f} MiB, of four times the sentences {grown / 2**20:+.0f} MiB")
    assert grown < 64 * 2**20
