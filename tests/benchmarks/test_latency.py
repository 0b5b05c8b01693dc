"""Latency of every kind of deployed network against its multiply-accumulates, in PyTorch and in onnxruntime.

Run by ``nox -s bench``; prints the ratios and writes ``latency.json``. What a network costs depends on its shape, not
on the values of its weights: MiniLM is cut without training.
"""

import itertools
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import PreTrainedModel

from tests.benchmarks.recording import QUICK, Measure, Table, record
from toolkit.data import TaskData
from toolkit.evaluation.costs import Latency, latencies, macs
from toolkit.models.deployment import neuron_network
from toolkit.models.encoder import prunable_weights
from toolkit.models.export import export_onnx
from toolkit.models.layers import keep_layers
from toolkit.models.loading import load_network
from toolkit.models.onnx_network import OnnxNetwork
from toolkit.models.structure import Structure, keep_structure, whole_structure
from toolkit.pruning.masks import prune_smallest

BATCHES, LENGTHS, SECONDS = ((1,), (16,), 0.05) if QUICK else ((1, 32), (16, 64, 128), 6.0)
NEURONS = 90  # As many as UPOS needs (docs/results.md), of the layers 0 to 2.
ENGINES = ("PyTorch", "onnxruntime")
DENSE = "uncompressed"


def networks(data: TaskData) -> dict[str, PreTrainedModel]:
    """One of each kind that the recipes leave, of MiniLM."""
    found = {
        name: load_network("minilm", data.task)
        for name in (
            DENSE, "80 % zeros", "three of six blocks", "half of the neurons", "half, blocks of other widths",
            "three quarters of channels, heads and neurons",
        )
    }  # fmt: skip
    weights = prunable_weights(found["80 % zeros"])
    for name, pruned in prune_smallest({name: w.detach().abs() for name, w in weights.items()}, 0.8).items():
        weights[name].data[pruned] = 0
    keep_layers(found["three of six blocks"], (0, 2, 5))
    uniform = whole_structure(found["half of the neurons"])
    keep_structure(
        found["half of the neurons"],
        Structure(heads=uniform.heads, neurons=tuple(tuple(range(768)) for _ in uniform.neurons)),
    )
    widths, heads = (1152, 1024, 768, 704, 576, 384), (9, 8, 6, 6, 4, 3)  # Half of each in all blocks together.
    keep_structure(
        found["half, blocks of other widths"],
        Structure(
            heads=tuple(tuple(range(count)) for count in heads), neurons=tuple(tuple(range(count)) for count in widths)
        ),
    )
    keep_structure(
        found["three quarters of channels, heads and neurons"],
        Structure(
            heads=tuple(tuple(range(9)) for _ in uniform.heads),
            neurons=tuple(tuple(range(1152)) for _ in uniform.neurons),
            hidden=tuple(range(288)),
        ),
    )
    classes = len(data.task.labels)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(3 * 384, generator=generator)[:NEURONS]
    found["selected neurons of three layers"] = neuron_network(
        found[DENSE],
        chosen,
        torch.randn(classes, NEURONS, generator=generator),
        torch.zeros(classes),
        task=data.task,
        tokenizer=data.tokenizer,
        pooling="mean",
    )
    for network in found.values():
        network.train(False)
    return found


@pytest.mark.benchmark
def test_latency(tmp_path: Path) -> None:
    """Whatever has fewer multiply-accumulates is faster than the uncompressed network, in every setting."""
    data = TaskData("synthetic_sentiment", size=64)
    plain = networks(data)
    sentences = ["a good film", "a long and dull one that does not end"]
    exported = {}
    for number, (name, network) in enumerate(plain.items()):
        export_onnx(network, tmp_path / str(number), sentences, tokenizer=data.tokenizer)
        exported[name] = cast(PreTrainedModel, OnnxNetwork(tmp_path / str(number)))  # As far as it is called here.
    engines = dict(zip(ENGINES, (plain, exported), strict=True))
    rows: list[list[str | float | None]] = []
    excess: dict[tuple[str, str], list[float]] = {}
    slower = []
    for batch, length in itertools.product(BATCHES, LENGTHS):
        counts = {name: macs(network, batch, length) for name, network in plain.items()}
        # All engines and networks in turns: what disturbs one disturbs all.
        both: list[Any] = [*plain.values(), *exported.values()]
        measured: list[Latency] = latencies(both, batch, length, threads=1, min_seconds=SECONDS)
        for engine, own in zip(ENGINES, (measured[: len(plain)], measured[len(plain) :]), strict=True):
            times = dict(zip(engines[engine], own, strict=True))
            for name, time in times.items():
                share, part = counts[name] / counts[DENSE], time.median / times[DENSE].median
                rows.append([batch, length, engine, name, counts[name] / 1e6, share, time.median, time.iqr, part])
                if name != DENSE:
                    excess.setdefault((engine, name), []).append(part / share)
                if share < 1 and part >= 1:
                    slower.append((batch, length, engine, name))
    record(
        "latency",
        "Latency against multiply-accumulates",
        [
            Measure(what=f"time / MACs, both as parts of the uncompressed network's, worst setting: {name}, {engine}",
                    value=max(values), at_most=1.15)
            for (engine, name), values in excess.items()
        ],
        Table(
            columns=("batch", "tokens", "engine", "network", "MACs, M", "part of MACs", "median, ms", "IQR, ms",
                     "part of time"),
            rows=rows,
        ),
        note="MiniLM in float32; sentences without padding; all networks and both engines measured in turns, "
        f"{SECONDS:g} s each. Zeros are counted and computed like other numbers.",
    )  # fmt: skip
    if not QUICK:
        assert not slower
