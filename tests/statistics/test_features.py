"""Features on disk against single sentences, and what happens to folders that are half-written, damaged or foreign."""

import itertools
import json
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import Tensor
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.statistics.features import Features, extract_features
from toolkit.statistics.hidden_states import Words


@torch.no_grad()
def one_by_one(network: PreTrainedModel, data: TaskData, split: str) -> list[Tensor]:
    """Hidden states of each sentence alone, (T, L, D)."""
    network.eval()
    states = []
    for row in data.split(split):
        inputs = {name: torch.tensor([row[name]]).long() for name in ("input_ids", "token_type_ids")}
        hidden = network.base_model(**inputs, output_hidden_states=True).hidden_states
        states.append(torch.stack(hidden)[:, 0].transpose(0, 1))
    return states


def never(**options: Any) -> Any:
    raise AssertionError("the network ran again")


@pytest.mark.parametrize("task", ["synthetic_sentiment", "synthetic_similarity"])
def test_sentences_stand_in_the_order_of_the_split(task: str, observed: Any, quiet: Any, tmp_path: Path) -> None:
    network, data = observed(task)
    features = extract_features(
        network, data, "train", tmp_path / "a" / "features", dtype="float32", pooling="first", trainer=quiet
    )
    expected = np.stack([states[0].numpy() for states in one_by_one(network, data, "train")])
    np.testing.assert_allclose(features.states, expected, atol=1e-5, rtol=1e-4)
    np.testing.assert_array_equal(features.labels, data.split("train")["labels"])
    assert features.labels.dtype == (np.int64 if task == "synthetic_sentiment" else np.float64)
    np.testing.assert_array_equal(features.sentences, np.arange(54))
    assert features.lost == 0
    files = {"states.npy", "labels.npy", "sentences.npy", "features.json"}
    assert {path.name for path in (tmp_path / "a" / "features").iterdir()} == files
    assert os.listdir(tmp_path / "a") == ["features"]


@pytest.mark.parametrize("max_length", [128, 12])
def test_words_stand_in_the_order_of_the_split(max_length: int, observed: Any, quiet: Any, tmp_path: Path) -> None:
    network, data = observed("synthetic_entities", max_length=max_length)
    features = extract_features(network, data, "dev", tmp_path / "features", dtype="float32", trainer=quiet)
    rows, labels, sentences = [], [], []
    for number, (row, states) in enumerate(zip(data.split("dev"), one_by_one(network, data, "dev"), strict=True)):
        for place, label in enumerate(row["labels"]):
            if label != -100:
                rows.append(states[place].numpy())
                labels.append(label)
                sentences.append(number)
    np.testing.assert_allclose(features.states, np.stack(rows), atol=1e-5, rtol=1e-4)
    assert features.labels.tolist() == labels
    assert features.sentences.tolist() == sentences
    words = sum(len(row["words"]) for row in data.sentences("dev"))
    assert features.lost == words - len(labels)
    assert (features.lost > 0) == (max_length == 12)


def test_matrix(observed: Any, quiet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = observed()
    exact = extract_features(network, data, "train", tmp_path / "32", dtype="float32", trainer=quiet)
    half = extract_features(network, data, "train", tmp_path / "16", trainer=quiet)
    assert half.states.dtype == np.float16
    np.testing.assert_array_equal(half.states, exact.states.astype(np.float16))
    monkeypatch.setattr("toolkit.statistics.features._CHUNK", 7)
    states = np.array(half.states, dtype=np.float32)
    for layers in (None, [2], [2, 0], [-1]):
        for rows in (None, [5, 50, 5], torch.arange(20, 3, -1)):
            chosen = states if rows is None else states[np.asarray(rows)]
            chosen = chosen if layers is None else chosen[:, layers]
            matrix = half.matrix(layers, rows)
            assert matrix.dtype == torch.float32
            np.testing.assert_array_equal(matrix.numpy(), chosen.reshape(len(chosen), -1))
    assert exact.matrix([1]).shape == (54, 32)
    with pytest.raises(IndexError):
        half.matrix([3])


def test_statistics_share_the_pass_and_are_found_again(
    observed: Any, token_sum: Any, seen: Any, quiet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, data = observed()
    forward, runs = network.base_model.forward, []

    def counted(*arguments: Any, **options: Any) -> Any:
        runs.append(1)
        return forward(*arguments, **options)

    monkeypatch.setattr(network.base_model, "forward", counted)
    first, rows = token_sum(), seen()
    written = extract_features(network, data, "train", tmp_path / "f", trainer=quiet, statistics=[first, rows])
    assert len(runs) == len(rows.batches) == 7
    again, same = token_sum(), seen()
    found = extract_features(network, data, "train", tmp_path / "f", trainer=never, statistics=[again, same])
    np.testing.assert_array_equal(found.states, written.states)
    assert torch.equal(again.compute(), first.compute())
    assert same.state_dict() == rows.state_dict()
    alone = token_sum()  # was not collected alone before: one more pass, which leaves the features as they are
    with pytest.raises(AssertionError, match="ran again"):
        extract_features(network, data, "train", tmp_path / "f", trainer=never, statistics=[alone])
    extract_features(network, data, "train", tmp_path / "f", trainer=quiet, statistics=[alone])
    assert torch.equal(alone.compute(), first.compute())
    extract_features(network, data, "train", tmp_path / "f", trainer=never, statistics=[token_sum()])


@pytest.mark.parametrize("fail_at", [1, 5])
def test_interrupted_extraction_continues(
    fail_at: int,
    observed: Any,
    token_sum: Any,
    seen: Any,
    quiet: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, data = observed()
    metric, rows = token_sum(), seen()
    whole = extract_features(network, data, "train", tmp_path / "w", trainer=quiet, statistics=[metric, rows])
    options: dict[str, Any] = {"trainer": quiet, "save_every": timedelta(0)}
    interrupted = seen(fail_at)
    clock = SimpleNamespace(monotonic=itertools.count(step=10).__next__)  # Ticks when it is read: at every saving.
    monkeypatch.setattr("toolkit.statistics.features.time", clock)
    with pytest.raises(RuntimeError, match="interrupted"):
        extract_features(network, data, "train", tmp_path / "f", statistics=[token_sum(), interrupted], **options)
    assert not (tmp_path / "f").exists()
    resumed, rest = token_sum(), seen()
    clock.monotonic = itertools.count(10**6, step=10).__next__  # The time between two attempts does not count.
    features = extract_features(network, data, "train", tmp_path / "f", statistics=[resumed, rest], **options)
    assert interrupted.batches + rest.batches == rows.batches
    assert 10 * len(rows.batches) <= features.seconds < 1000
    np.testing.assert_array_equal(features.states, whole.states)
    assert torch.equal(resumed.total, metric.total)
    assert {path.name for path in tmp_path.iterdir()} == {"f", "w"}


def test_half_written_folder_of_something_else_is_begun_anew(
    observed: Any, seen: Any, quiet: Any, tmp_path: Path
) -> None:
    network, data = observed()
    options: dict[str, Any] = {"trainer": quiet, "save_every": timedelta(0)}
    for pooling in ("mean", "last"):
        with pytest.raises(RuntimeError, match="interrupted"):
            extract_features(network, data, "train", tmp_path / "f", pooling=pooling, statistics=[seen(2)], **options)
    rows = seen()
    features = extract_features(network, data, "train", tmp_path / "f", pooling="first", statistics=[rows], **options)
    assert len(rows.batches) == 7
    expected = extract_features(network, data, "train", tmp_path / "w", pooling="first", trainer=quiet)
    np.testing.assert_array_equal(features.states, expected.states)


def test_words_are_their_labelled_pieces_or_their_means(observed: Any, quiet: Any, tmp_path: Path) -> None:
    network, data = observed("synthetic_entities")
    folders: dict[Words, Path] = {"labelled": tmp_path / "labelled", "mean": tmp_path / "mean"}
    found = {
        words: extract_features(network, data, "dev", folder, dtype="float32", words=words, trainer=quiet).states
        for words, folder in folders.items()
    }
    expected: dict[Words, list[Tensor]] = {"labelled": [], "mean": []}
    for row, states in zip(data.split("dev"), one_by_one(network, data, "dev"), strict=True):
        first = 1  # behind [CLS]; the label is on the last piece of each word
        for place, label in enumerate(row["labels"]):
            if label != -100:
                expected["labelled"].append(states[place])
                expected["mean"].append(states[first : place + 1].mean(0))
                first = place + 1
    for words, rows in expected.items():
        np.testing.assert_allclose(found[words], torch.stack(rows), atol=1e-5, rtol=1e-4)
    assert np.abs(np.array(found["mean"]) - np.array(found["labelled"])).max() > 0.1  # Some words have pieces.
    with pytest.raises(FileExistsError, match=r"holds other features \(words differ\)"):
        extract_features(network, data, "dev", folders["mean"], dtype="float32", trainer=never)


def test_folder_is_found_refused_or_rebuilt(observed: Any, quiet: Any, tmp_path: Path) -> None:
    network, data = observed()
    folder = tmp_path / "f"
    first = extract_features(network, data, "dev", folder, trainer=quiet)
    written = np.array(first.states)
    again = extract_features(network, data, "dev", folder, trainer=never)
    np.testing.assert_array_equal(again.states, written)
    assert again.seconds == first.seconds > 0  # What they cost then.
    with pytest.raises(FileExistsError, match=r"holds other features \(pooling differ\)"):
        extract_features(network, data, "dev", folder, pooling="first", trainer=never)
    with pytest.raises(FileExistsError, match=r"holds other features \(data, split, shape differ\)"):
        extract_features(network, data, "train", folder, trainer=never)
    with (folder / "states.npy").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\xff")
    with pytest.warns(UserWarning, match="is damaged; its features are extracted again"):
        features = extract_features(network, data, "dev", folder, trainer=quiet)
    np.testing.assert_array_equal(features.states, written)
    network.base_model.embeddings.word_embeddings.weight.data[5] += 1
    with pytest.raises(FileExistsError, match=r"holds other features \(network differ\)"):
        extract_features(network, data, "dev", folder, trainer=never)
    (folder / "features.json").write_text(json.dumps([]))
    (folder / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="is not empty and holds no features"):
        extract_features(network, data, "dev", folder, trainer=never)
    with pytest.raises(FileNotFoundError, match="holds no features; write them with extract_features"):
        Features.read(tmp_path)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1e6, "does not fit float16; give dtype='float32'"),
        (np.nan, "hidden states of layer 0 have NaN .* check the network's weights"),
    ],
)
def test_numbers_that_do_not_fit(factor: float, message: str, observed: Any, quiet: Any, tmp_path: Path) -> None:
    network, data = observed()
    network.base_model.embeddings.LayerNorm.weight.data *= factor
    with pytest.raises(FloatingPointError, match=message):
        extract_features(network, data, "dev", tmp_path / "f", trainer=quiet)
    if np.isfinite(factor):
        features = extract_features(network, data, "dev", tmp_path / "g", dtype="float32", trainer=quiet)
        assert np.abs(features.states).max() > 65504


def test_a_second_run_does_not_write_to_the_same_folder(observed: Any, quiet: Any, tmp_path: Path) -> None:
    network, data = observed("synthetic_sentiment")
    with FileLock(tmp_path / ".features.lock"), pytest.raises(FileExistsError, match="Another run is extracting"):
        extract_features(network, data, "train", tmp_path / "features", trainer=quiet)
    assert not (tmp_path / "features").exists()
    extract_features(network, data, "train", tmp_path / "features", trainer=quiet)
    assert os.listdir(tmp_path) == ["features"]
