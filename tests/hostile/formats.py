"""The files that the toolkit reads: a valid one of each kind in a folder, and the function that reads it."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torchmetrics import MeanMetric
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from tests.hostile.mutations import Mutate, in_bytes, in_header, in_json, in_lines
from toolkit.comparison.cells import read_cells, write_cells
from toolkit.comparison.grid import Cell
from toolkit.comparison.results import Failure, Outcome, Results
from toolkit.data.glue import read_tsv
from toolkit.data.tagging import read_conll, read_conllu
from toolkit.data.text_sources import file_texts
from toolkit.evaluation.predictions import Judgement, Predictions
from toolkit.evaluation.report import Report, Row
from toolkit.files.sealed import save_sealed
from toolkit.models import storage
from toolkit.models.neuron_config import NeuronSelectionConfig
from toolkit.models.neuron_model import NeuronSelectionForSequenceClassification
from toolkit.models.pretrained import load_tokenizer
from toolkit.models.sparse_storage import SPARSE_FILE, read_sparse, write_sparse
from toolkit.options.command_line import command_line, resolve
from toolkit.probing.analysis import ClassNeurons, Cut, MinimalSet, RedundancyAnalysis, Windows
from toolkit.runs.folder import DATA, check_data
from toolkit.runs.training_stage import SealedCheckpoints
from toolkit.statistics.features import Features
from toolkit.statistics.profile import LayerProfile
from toolkit.statistics.resume import load_state, save_state
from toolkit.tasks import TASKS


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        name: In the table.
        file: The valid file, which is changed in place.
        read: Reads it; it may be called again and again.
        mutations: How it is changed.
        weight: How often it is tried, beside the others.
    """

    name: str
    file: Path
    read: Callable[[], Any]
    mutations: tuple[Mutate, ...] = (in_bytes, in_lines)
    weight: int = 10


def formats(folder: Path, tokenizer: Path) -> list[Format]:
    """Write a valid file of every kind.

    Args:
        folder: Where to.
        tokenizer: A folder with a network and a small tokenizer.
    """
    return [*rows(folder), *options(folder), *networks(folder, tokenizer), *findings(folder), *states(folder)]


def rows(folder: Path) -> list[Format]:
    """Files of examples."""
    sst2 = folder / "sst2.tsv"
    sst2.write_text("sentence\tlabel\n" + "".join(f"a good film {n}\t{n % 2}\n" for n in range(8)))
    stsb = folder / "stsb.tsv"
    stsb.write_text("sentence1\tsentence2\tscore\n" + "".join(f"a cat {n}\ta dog\t{n / 2}\n" for n in range(8)))
    chunks = folder / "chunks.txt"
    chunks.write_text("the DT B-NP\ncat NN I-NP\nsleeps VBZ B-VP\n\n-DOCSTART- -X- O\n\nit PRP B-NP\n\n")
    entities = folder / "entities.txt"
    entities.write_text("#tag\tO\nMary\tB-person\nSmith\tI-person\n\nhere\tO\n")
    trees = folder / "trees.conllu"
    tail = "\t_\t0\troot\t_\t_"
    trees.write_text(
        f"# text = can not\n1-2\tcannot{8 * chr(9)}_\n1\tcan\tcan\tAUX\tMD{tail}\n2\tnot\tnot\tPART\tRB{tail}\n"
        f"2.1\tgo\tgo\tVERB\tVB{tail}\n\n1\tyes\tyes\tINTJ\tUH{tail}\n\n"
    )
    text = folder / "lines.txt"
    text.write_text("A line.\n\nAnother one.\n")
    return [
        Format("TSV, labels", sst2, lambda: read_tsv(sst2, TASKS["sst2"])),
        Format("TSV, scores", stsb, lambda: read_tsv(stsb, TASKS["stsb"])),
        Format("CoNLL, blanks", chunks, lambda: read_conll(chunks, TASKS["chunking"])),
        Format("CoNLL, tabs", entities, lambda: read_conll(entities, TASKS["ner"])),
        Format("CoNLL-U", trees, lambda: read_conllu(trees, TASKS["upos"])),
        Format("plain text", text, lambda: file_texts(text)),
    ]


def options(folder: Path) -> list[Format]:
    """Files of options."""
    recipe = folder / "options.yaml"
    recipe.write_text(
        "recipe: proximal_pruning\nseed_everything: 1\noutput: run\ndata:\n  task: sst2\n  batch_size: 16\n"
        "model:\n  sparsity: 0.8\n  training: {learning_rate: 1.0e-4}\ntrainer:\n  max_epochs: 1\n  callbacks:\n"
        "  - class_path: lightning.pytorch.callbacks.EarlyStopping\n    init_args: {monitor: loss}\n"
    )
    compare = folder / "compare.yaml"
    compare.write_text(
        "recipe: compare\nmethods:\n- layer_dropping\n- {name: rpp-60, recipe: proximal_pruning, "
        "options: {model.sparsity: 0.6}}\ntasks: [synthetic_sentiment]\nseeds: [0, 1]\nbudget: {steps: 3}\n"
        "data: {size: 20}\ntrainer: {accelerator: cpu}\n"
    )
    return [
        Format("YAML, recipe", recipe, lambda: resolve("proximal_pruning", config=recipe), weight=3),
        Format("YAML, compare", compare, lambda: command_line("compare", [f"--config={compare}"]).recipe(), weight=3),
    ]


def networks(folder: Path, tokenizer: Path) -> list[Format]:
    """Folders of networks."""
    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=16,
    )  # fmt: skip
    dense, parted, sparse, neurons, shared = (
        folder / name for name in ("dense", "parted", "sparse", "neurons", "shared")
    )
    network = BertForSequenceClassification(config)
    network.save_pretrained(dense)
    network.save_pretrained(parted, max_shard_size="4KB")
    network.config.save_pretrained(sparse)
    weights = load_file(dense / "model.safetensors")
    for number, name in enumerate(weights):
        if weights[name].ndim == 2:  # A mask, or two of four entries.
            weights[name].view(-1, 4)[:, number % 3 :] = 0
    write_sparse(weights, sparse / SPARSE_FILE, metadata={"format": "pt"})
    NeuronSelectionForSequenceClassification(
        NeuronSelectionConfig(
            encoder=config.to_dict(), kept=[[0, 3], [], [1, 2, 7]], pooling="mean", special_ids=[1, 2]
        )
    ).save_pretrained(neurons)
    groups = AlbertConfig(
        vocab_size=30, embedding_size=4, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=12, max_position_embeddings=16,
    )  # fmt: skip
    AlbertForSequenceClassification(groups).save_pretrained(shared)
    words = folder / "words"
    PreTrainedTokenizerFast.from_pretrained(tokenizer).save_pretrained(words)  # type: ignore[no-untyped-call]
    config.save_pretrained(words)
    text = (in_json, in_json, in_bytes)
    return [
        Format("network, config.json", dense / "config.json", lambda: storage.load(dense), text, 4),
        Format(
            "network, safetensors", dense / "model.safetensors", lambda: storage.load(dense), (in_header, in_bytes), 4
        ),
        Format("network, index", parted / "model.safetensors.index.json", lambda: storage.load(parted), text, 4),
        Format("ALBERT, config.json", shared / "config.json", lambda: storage.load(shared), text, 4),
        Format("neurons, config.json", neurons / "config.json", lambda: storage.load(neurons), text, 4),
        Format("sparse file", sparse / SPARSE_FILE, lambda: read_sparse(sparse / SPARSE_FILE), (in_header, in_bytes)),
        Format("sparse network", sparse / SPARSE_FILE, lambda: storage.load(sparse), (in_header, in_bytes), 3),
        Format("tokenizer.json", words / "tokenizer.json", lambda: load_tokenizer(str(words)), text, 4),
        Format("tokenizer_config.json", words / "tokenizer_config.json", lambda: load_tokenizer(str(words)), text, 4),
    ]


def findings(folder: Path) -> list[Format]:
    """What runs have found."""
    row = Row(
        name="dense", task="sst2", seed=0, scores={"accuracy": 0.9, "f1": math.nan}, parameters=10,
        nonzero_parameters=9, sparsity=0.1, bytes=40, extras={"steps": 3},
    )  # fmt: skip
    Report((row,)).write(folder)
    said = Judgement(
        name="sst2", kind="classification", metrics=("accuracy",), labels=("negative", "positive"),
        sets={"test": Predictions(outputs=torch.eye(2), targets=torch.tensor([0, 1]), index=torch.arange(2))},
    )  # fmt: skip
    predictions = folder / "predictions.safetensors"
    said.write(predictions)
    outcome = Outcome(method="fine_tuning", task="sst2", seed=0, row=row, judgement=said)
    failure = Failure(method="other", task="sst2", seed=0, reason="no memory", log=None)
    compared = folder / "compare"
    Results.gather([outcome], [failure], resamples=10).write(compared)
    layers = folder / "layers.json"
    LayerProfile(
        network="x", task="sst2", rows=3, variability=(math.inf, 2.0, 1.0), influence=(0.1, 0.2),
        angular=((0.0, 0.1, 0.2),) * 3, similarity=((1.0, 0.5, 0.2),) * 3,
    ).write(layers)  # fmt: skip
    analysis = folder / "analysis.json"
    RedundancyAnalysis(
        network="x", task="sst2", metric="accuracy", rows=9, dev_rows=5, sampled_rows=4, num_layers=2, hidden_size=2,
        penalty=1e-3, oracle=0.8, independent=(0.1, 0.5), cumulative=(0.1, 0.5), similarity=((1.0, 0.9),) * 2,
        constant=0, cuts=(Cut(threshold=0.1, kept=2, score=0.8),),
        windows=Windows(threshold=0.3, single=2, clusters=(1, 0), neurons=(2, 0), aligned=1),
        minimal=MinimalSet(ranking="norm", delta=0.01, neurons=(3, 2), score=0.7, path=((1, 0.5), (2, 0.7))),
        classes=(ClassNeurons(label="a", neurons=(3, 2), weights=(0.5, -0.25)),), sizes=(1, 2),
        scores={"norm": (0.5, 0.7)}, overlap_size=1, overlap=((1.0,),),
    ).write(analysis)  # fmt: skip
    text = (in_json, in_json, in_bytes)
    cells = folder / "cells.json"
    cell = Cell(method="m", task="sst2", seed=0, recipe="fine_tuning", config="{}", key="0123456789abcdef")
    write_cells(cells, [cell, replace(cell, seed=1, dense=cell.key)])
    check_data(folder, {"train": "a"})
    report = folder / "report.json"
    return [
        Format("report.json", report, lambda: Report.read(report).to_markdown(), text),
        Format("predictions", predictions, lambda: Judgement.read(predictions).scores(), (in_header, in_bytes)),
        Format("compare.json", compared / "compare.json", lambda: Results.read(compared), text),
        Format("cells.json", cells, lambda: read_cells(cells), text),
        Format("fingerprints of data", folder / DATA, lambda: check_data(folder, {"train": "a"}), text),
        Format("layers.json", layers, lambda: LayerProfile.read(layers), text),
        Format("analysis.json", analysis, lambda: RedundancyAnalysis.read(analysis), text),
    ]


def states(folder: Path) -> list[Format]:
    """Features, and what interrupted passes and trainings continue from."""
    features = folder / "features"
    features.mkdir()
    np.save(features / "states.npy", np.ones((4, 3, 2), dtype=np.float16))
    np.save(features / "labels.npy", np.arange(4))
    np.save(features / "sentences.npy", np.arange(4))
    (features / "features.json").write_text(
        '{"version": 1, "shape": [4, 3, 2], "dtype": "float16", "lost": 0, "seconds": 1.5}'
    )
    metric = MeanMetric()
    metric.update(torch.ones(3))
    passed, key = folder / "pass.ckpt", {"data": "x"}
    save_state(passed, key, 3, [metric])
    last = folder / "last.ckpt"
    stored = {"epoch": 1, "state_dict": {"w": torch.ones(3)}, "loops": {"a": [1, 2]}}
    torch.save(stored, last)

    def resealed() -> Any:
        """As a forger would: the checksum is right."""
        sealed = folder / "sealed.ckpt"
        save_sealed(stored, sealed)
        content, end = last.read_bytes(), sealed.read_bytes()[-40:]
        import hashlib

        sealed.write_bytes(content + end[:-32] + hashlib.sha256(content).digest())
        try:
            return SealedCheckpoints().load_checkpoint(sealed)
        except ValueError as error:
            raise ValueError(str(error).replace(sealed.name, last.name)) from error

    return [
        Format("features, states", features / "states.npy", lambda: Features.read(features).matrix(), (in_bytes,)),
        Format("features, labels", features / "labels.npy", lambda: Features.read(features).matrix(), (in_bytes,)),
        Format("features.json", features / "features.json", lambda: Features.read(features), (in_json, in_bytes)),
        Format("state of a pass", passed, lambda: load_state(passed, key, [MeanMetric()]), (in_bytes,)),
        Format("checkpoint", last, resealed, (in_bytes,)),
    ]


def mutated(kind: Format, valid: bytes, draw: random.Random) -> bytes:
    """The valid content of a file with some changes."""
    content = draw.choice(kind.mutations)(valid, draw)
    return in_bytes(content, draw) if draw.random() < 0.1 else content
