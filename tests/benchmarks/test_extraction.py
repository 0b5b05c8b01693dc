"""What extracting features costs beside the bare forward pass over the same batches, on MiniLM, in one run.

Run by ``nox -s bench``; prints the ratios and writes ``extraction.json`` and ``extraction_neurox.json``: beside NeuroX
1.0.9, which goes sentence by sentence and writes JSON.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from tests.benchmarks.recording import QUICK, Measure, Table, record
from toolkit.data import TaskData
from toolkit.models.inputs import network_inputs
from toolkit.models.loading import load_network
from toolkit.models.pretrained import resolve_network
from toolkit.statistics.features import extract_features

SENTENCES, ROUNDS = (50, 1) if QUICK else (500, 8)
BESIDE_NEUROX = 20 if QUICK else 200


def rounds(data: TaskData, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Seconds of the processor and of the clock of each round, of the bare forward pass and of the extraction."""
    network = load_network("minilm", data.task)
    network.train(False)
    trainer = partial(Trainer, accelerator="cpu", enable_progress_bar=False)
    batches = list(data.share("train"))

    def forward() -> None:
        for batch in batches:
            network.base_model(**network_inputs(batch))

    seconds: dict[str, list[tuple[float, float]]] = {"forward": [], "extraction": []}

    def measure(name: str, work: Callable[[], object]) -> None:
        started, ticks = time.perf_counter(), time.process_time()
        work()
        seconds[name].append((time.process_time() - ticks, time.perf_counter() - started))

    with torch.no_grad():
        forward()
        for number in range(ROUNDS):  # One beside the other, so that what else the machine does meets both.
            measure("forward", forward)
            target = folder / str(number)
            measure("extraction", lambda: extract_features(network, data, "train", target, trainer=trainer))  # noqa: B023
    return seconds


@pytest.mark.benchmark
def test_extraction_cost(tmp_path: Path) -> None:
    """Forward pass, gathering, checks, hashes and writing take at most 10 % more than the forward pass."""
    tasks = ("sst2", "upos") if os.environ.get("TOOLKIT_DATA") else ("synthetic_paraphrase", "synthetic_pos")
    measures, rows = [], []
    for task in tasks:
        data = TaskData(task, limit_train=SENTENCES)
        found = {name: list(map(min, zip(*own, strict=True))) for name, own in rounds(data, tmp_path / task).items()}
        # Of processor time: that of the clock depends on what else the machine does.
        ratio = found["extraction"][0] / found["forward"][0]
        kind = "words" if data.task.kind == "tagging" else "sentences"
        measures.append(Measure(what=f"extraction / bare forward pass, {kind} of {task}", value=ratio, at_most=1.1))
        rows += [(task, name, SENTENCES / clock, processor, clock) for name, (processor, clock) in found.items()]
    record(
        "extraction",
        "Extracting hidden states to disk",
        measures,
        Table(
            columns=("task", "what", "sentences per second", "seconds of the processor", "seconds of the clock"),
            rows=rows,
        ),
        note=f"All layers of MiniLM for {SENTENCES} sentences of each task, with pooling, checks, hashes and writing, "
        f"beside the same batches through the network alone; the fastest of {ROUNDS} rounds in turns. The ratio is "
        "that of processor time.",
    )
    if not QUICK:
        assert measures[0].value <= 1.1


@pytest.mark.benchmark
@pytest.mark.filterwarnings("default")  # NeuroX's own
def test_extraction_beside_neurox(tmp_path: Path, neurox_path: str) -> None:
    """The words of the same sentences, both to disk; what is left here is hardly more than the forward pass."""
    from neurox.data.extraction.transformers_extractor import extract_representations

    data = TaskData("upos" if os.environ.get("TOOLKIT_DATA") else "synthetic_pos", limit_train=BESIDE_NEUROX)
    network = load_network("minilm", data.task)
    sentences = [" ".join(row["words"]) for row in data.sentences("train")]
    (tmp_path / "sentences.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    started = time.process_time()
    extract_representations(
        resolve_network("minilm"), str(tmp_path / "sentences.txt"), str(tmp_path / "neurox.json"), device="cpu"
    )
    theirs = time.process_time() - started
    len(data.split("train"))  # Tokenised by both once; NeuroX does it within.
    trainer = partial(Trainer, accelerator="cpu", enable_progress_bar=False)
    started = time.process_time()
    features = extract_features(network, data, "train", tmp_path / "features", trainer=trainer)
    ours = time.process_time() - started
    started = time.process_time()
    extract_features(network, data, "train", tmp_path / "half", trainer=trainer, precision="bf16-mixed")
    half = time.process_time() - started
    sizes = {
        "neurox": (tmp_path / "neurox.json").stat().st_size,
        "toolkit": sum(file.stat().st_size for file in (tmp_path / "features").iterdir()),
    }
    # The floor: no extraction can do without the passes over the same batches.
    batches = list(data.share("train"))
    network.train(False)
    started = time.process_time()
    with torch.no_grad():
        for batch in batches:
            network.base_model(**network_inputs(batch))
    bare = time.process_time() - started
    record(
        "extraction_neurox",
        "Extracting hidden states beside NeuroX 1.0.9",
        [
            Measure(what="NeuroX / here, both to disk", value=theirs / ours, at_least=30),
            Measure(what="NeuroX in float32 / here in bf16-mixed", value=theirs / half),
            Measure(what="NeuroX / bare forward pass, the most that can be had", value=theirs / bare),
            Measure(what="bytes of NeuroX / bytes here", value=sizes["neurox"] / sizes["toolkit"]),
        ],
        Table(
            columns=("what", "seconds", "bytes"),
            rows=[
                ("NeuroX 1.0.9, sentence by sentence into JSON", theirs, sizes["neurox"]),
                ("here, in batches of similar length into arrays", ours, sizes["toolkit"]),
                ("the same in bf16-mixed", half, None),
                ("bare forward pass over the same batches", bare, None),
            ],
        ),
        note=f"All layers of MiniLM for the {len(features.labels):,} words of {len(sentences)} sentences of "
        f"{data.task.name}; processor time, one run.",
    )
    if not QUICK:
        assert theirs / ours >= 3
