"""What extracting features costs beside the bare forward pass over the same batches, on MiniLM, in one run.

Run by ``nox -s bench``; prints the ratio and writes ``runs/benchmarks/extraction.json``. Beside NeuroX 1.0.9, which
goes sentence by sentence and writes JSON, where the environment variable NEUROX_PATH names the folder that
``pip install --target FOLDER --no-deps NeuroX==1.0.9 imbalanced-learn sklearn-compat h5py svgwrite`` made.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from toolkit.data import TaskData
from toolkit.models.encoder import load_network
from toolkit.models.pretrained import resolve_network
from toolkit.statistics.features import extract_features

SENTENCES, ROUNDS = 500, 3
NO_INPUTS = ("labels", "index", "special_tokens_mask")


@pytest.mark.benchmark
def test_extraction_cost(tmp_path: Path) -> None:
    """Forward pass, gathering, checks, hashes and writing take at most 10 % more than the forward pass."""
    data = TaskData("sst2" if os.environ.get("TOOLKIT_DATA") else "synthetic_paraphrase", limit_train=SENTENCES)
    network = load_network("minilm", data.task)
    network.train(False)
    trainer = partial(Trainer, accelerator="cpu", enable_progress_bar=False)
    batches = list(data.share("train"))

    def forward() -> None:
        for batch in batches:
            network.base_model(**{name: value for name, value in batch.items() if name not in NO_INPUTS})

    seconds: dict[str, list[float]] = {"forward": [], "extraction": []}
    processor: dict[str, list[float]] = {"forward": [], "extraction": []}

    def measure(name: str, work: Callable[[], object]) -> None:
        started, ticks = time.perf_counter(), time.process_time()
        work()
        seconds[name].append(time.perf_counter() - started)
        processor[name].append(time.process_time() - ticks)

    with torch.no_grad():
        forward()
        for number in range(ROUNDS):  # One beside the other, so that what else the machine does meets both.
            measure("forward", forward)
            folder = tmp_path / str(number)
            measure("extraction", lambda: extract_features(network, data, "train", folder, trainer=trainer))  # noqa: B023
    # Of processor time: that of the clock depends on what else the machine does.
    ratio = min(processor["extraction"]) / min(processor["forward"])
    rates = {name: SENTENCES / min(times) for name, times in seconds.items()}
    print(f"forward {rates['forward']:.1f}, extraction {rates['extraction']:.1f} sentences/s: ratio {ratio:.3f}")
    found = {
        "sentences": SENTENCES,
        "sentences_per_second": rates,
        "seconds": seconds,
        "processor_seconds": processor,
        "ratio": ratio,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    Path("runs/benchmarks").mkdir(parents=True, exist_ok=True)
    Path("runs/benchmarks/extraction.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    assert ratio <= 1.1


@pytest.mark.benchmark
@pytest.mark.filterwarnings("default")  # NeuroX's own
def test_extraction_beside_neurox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of the same sentences, both to disk; what is left here is hardly more than the forward pass."""
    if "NEUROX_PATH" not in os.environ:
        pytest.skip("NEUROX_PATH names no folder with NeuroX 1.0.9")
    monkeypatch.setattr(sys, "path", [*sys.path, os.environ["NEUROX_PATH"]])
    from neurox.data.extraction.transformers_extractor import extract_representations

    data = TaskData("upos" if os.environ.get("TOOLKIT_DATA") else "synthetic_pos", limit_train=200)
    network = load_network("minilm", data.task)
    sentences = [" ".join(row["words"]) for row in data.sentences("train")]
    (tmp_path / "sentences.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    started = time.process_time()
    extract_representations(
        resolve_network("minilm"), str(tmp_path / "sentences.txt"), str(tmp_path / "neurox.json"), device="cpu"
    )
    theirs = time.process_time() - started
    len(data.split("train"))  # Tokenised by both once; NeuroX does it within.
    started = time.process_time()
    trainer = partial(Trainer, accelerator="cpu", enable_progress_bar=False)
    features = extract_features(network, data, "train", tmp_path / "features", trainer=trainer)
    ours = time.process_time() - started
    sizes = {
        "neurox": (tmp_path / "neurox.json").stat().st_size,
        "toolkit": sum(file.stat().st_size for file in (tmp_path / "features").iterdir()),
    }
    print(f"{len(sentences)} sentences: NeuroX {theirs:.1f} s, here {ours:.2f} s, ratio {theirs / ours:.0f}; {sizes}")
    Path("runs/benchmarks").mkdir(parents=True, exist_ok=True)
    found = {"sentences": len(sentences), "rows": len(features.labels), "processor_seconds": [theirs, ours]}
    found |= {"ratio": theirs / ours, "bytes": sizes}
    Path("runs/benchmarks/extraction-neurox.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    assert theirs / ours >= 3
