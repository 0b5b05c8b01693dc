"""What all statistics together cost beside the bare forward pass over the same batches, on MiniLM, in one run.

Run by ``nox -s bench``; prints the ratios and writes ``statistics_sentences.json``, ``statistics_words.json`` and
``statistics_memory.json``.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from tests.benchmarks.recording import QUICK, Measure, Table, record
from toolkit.data import TaskData
from toolkit.models.inputs import network_inputs
from toolkit.models.loading import load_network
from toolkit.statistics.collect import collect
from toolkit.statistics.hidden_states import Statistic
from toolkit.statistics.influence import BlockInfluence
from toolkit.statistics.similarity import LayerSimilarity
from toolkit.statistics.variability import ClassVariability

SENTENCES, ROUNDS = (50, 1) if QUICK else (500, 5)
SIZES = (100, 200) if QUICK else (400, 1600, 6400)  # Of the training set whose memory is looked at.


def peak() -> float:
    """Most memory that this process ever held, in MiB.

    Not ``ru_maxrss``: that of a new process begins with what its parent held.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def peaks_of(size: int) -> tuple[float, float]:
    """Peaks after the forward passes over so many sentences, and after the statistics. Run in a process of its own."""
    torch.set_num_threads(1)
    data = TaskData("synthetic_sentiment", size=size)
    network = load_network("minilm", data.task)
    network.train(False)
    with torch.no_grad():
        for batch in data.share("train"):
            network.base_model(**network_inputs(batch))
    forward = peak()
    collect(
        network, data, (ClassVariability(7, 384, 2), BlockInfluence(7), LayerSimilarity(7, 384)),
        trainer=partial(Trainer, accelerator="cpu", enable_progress_bar=False),
    )  # fmt: skip
    return forward, peak()


@pytest.mark.benchmark
@pytest.mark.parametrize("task", ["sst2", "upos"])
def test_statistics_cost(task: str) -> None:
    """Variability, similarity and influence of all layers take at most a quarter of the forward pass; goal: a tenth."""
    real = os.environ.get("TOOLKIT_DATA") is not None
    name = task if real else {"sst2": "synthetic_sentiment", "upos": "synthetic_pos"}[task]
    data = TaskData(name, limit_train=SENTENCES)
    network = load_network("minilm", data.task)
    network.train(False)
    batches = list(data.share("train"))

    def forward() -> None:
        for batch in batches:
            network.base_model(**network_inputs(batch))

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
        for _ in range(ROUNDS):  # One beside the other, so that what else the machine does meets both.
            measure("forward", forward)
            measure("statistics", statistics)
    fastest = {what: min(times) for what, times in seconds.items()}
    ratio = fastest["statistics"] / fastest["forward"]
    kind = "words" if data.task.kind == "tagging" else "sentences"
    record(
        f"statistics_{kind}",
        f"Statistics of all layers, over {kind}",
        [Measure(what=f"statistics / bare forward pass, {name}", value=ratio, at_most=1.1)],
        Table(
            columns=("what", "seconds of each round"),
            rows=[(what, ", ".join(f"{value:.2f}" for value in times)) for what, times in seconds.items()],
        ),
        note=f"Class variability, CKA and influence of all layers of MiniLM in one pass over {SENTENCES} sentences, "
        f"beside the same batches through the network alone; processor time, the fastest of {ROUNDS} rounds in turns.",
    )
    if not QUICK:
        assert ratio <= 1.25


@pytest.mark.benchmark
def test_memory_does_not_grow_with_the_number_of_sentences() -> None:
    """More sentences need no more memory; each number in a process of its own."""
    peaks: dict[int, tuple[float, float]] = {}
    for size in SIZES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            peaks[size] = alone.submit(peaks_of, size).result()
    grown = peaks[SIZES[-1]][1] - peaks[SIZES[0]][1]
    record(
        "statistics_memory",
        "Memory of the statistics against the number of examples",
        [
            Measure(
                what=f"growth of the peak from {SIZES[0]:,} to {SIZES[-1]:,} sentences",
                value=grown,
                unit="MiB",
                at_most=64,
            )
        ],
        Table(
            columns=("sentences", "peak after the forward passes, MiB", "peak after the statistics, MiB"),
            rows=[(size, *both) for size, both in peaks.items()],
        ),
        note="Class variability, CKA and influence of all layers of MiniLM over synthetic sentences; each number of "
        "them in a process of its own.",
    )
    assert grown < 64
