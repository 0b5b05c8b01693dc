"""Checkpoints, networks and caches that were cut or changed: seen by their checksums, then refused or made again."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from tests.faults.recipes import results
from toolkit import run
from toolkit.data import TaskData
from toolkit.models.loading import load_network
from toolkit.modules.fine_tuning import FineTuning
from toolkit.options.words import as_options
from toolkit.recipe import load
from toolkit.statistics.features import extract_features
from toolkit.statistics.variability import ClassVariability


def cut(file: Path) -> None:
    """Leave the first half."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


damaged = pytest.mark.parametrize("damage", [cut, flip])


@damaged
def test_a_damaged_checkpoint_is_refused_and_named(
    damage: Callable[[Path], None],
    small: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    load("magnitude_pruning", **small | {"output": "whole"}).run()
    words = ["recipe=magnitude_pruning", *as_options(small)]
    begin = FineTuning.on_train_batch_start

    def interrupt(module: FineTuning, batch: Any, batch_idx: int) -> None:
        if (type(module).__name__, module.current_epoch, batch_idx) == ("MagnitudePruning", 1, 2):
            raise KeyboardInterrupt
        begin(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuning, "on_train_batch_start", interrupt)
        with pytest.raises(SystemExit):
            run.main(words)
    checkpoint = Path("run/checkpoints/model/last.ckpt")
    damage(checkpoint)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run.main([*words, "resume=true"])
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: The checkpoint {checkpoint} is damaged")
    assert "Delete it" in said
    checkpoint.unlink()
    run.main([*words, "resume=true"])
    assert results(Path("run")) == results(Path("whole"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((f"{folder}/model.safetensors", damage) for folder in ("reference", "model") for damage in (cut, flip)),
        ("model/model.safetensors", Path.unlink),
        ("model/row.json", cut),
    ],
)
def test_a_damaged_network_is_refused_and_made_again_where_it_is_deleted(
    name: str, damage: Callable[[Path], None], small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recipe=magnitude_pruning", *as_options(small)]
    run.main(words)
    before = results(Path("run"))
    file = Path("run", name)
    damage(file)
    capsys.readouterr()
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            run.main([*words, "resume=true"])
        assert ended.value.code == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith(f"error: The network in {file.parent} is damaged: {file.name} is not what was stored")
        assert f"Delete {file.parent}, and" in said
    shutil.rmtree(file.parent)
    run.main([*words, "resume=true"])
    assert results(Path("run")) == before


def test_a_damaged_reference_of_another_run_is_refused_unless_it_has_no_row(
    small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run.main(["recipe=fine_tuning", *as_options(small)])
    flip(Path("run/model/model.safetensors"))
    words = ["recipe=magnitude_pruning", *as_options({**small, "output": "pruned", "reference": "run/model"})]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run.main(words)
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: The network in run/model is damaged: model.safetensors is not what was stored.")
    assert said.endswith("or delete run/model/row.json if the weights were changed on purpose.")
    assert not Path("pruned").exists()
    Path("run/model/row.json").unlink()
    run.main(words)
    assert Path("pruned/report.json").is_file()


def test_a_damaged_report_is_written_again(small: dict[str, Any]) -> None:
    words = ["recipe=fine_tuning", *as_options(small)]
    run.main(words)
    file = Path("run/report.json")
    before = results(Path("run"))
    cut(file)
    with pytest.warns(UserWarning, match=r"report.json is no JSON in UTF-8 .*; it is written again\."):
        run.main([*words, "resume=true"])
    assert results(Path("run")) == before


def test_a_network_without_checksums_is_taken_as_it_is(small: dict[str, Any]) -> None:
    words = ["recipe=fine_tuning", *as_options(small)]
    run.main(words)
    file = Path("run/model/row.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert [*content.pop("sha256")] == ["model.safetensors"]
    file.write_text(json.dumps(content), encoding="utf-8")
    report = Path("run/report.json").read_bytes()
    run.main([*words, "resume=true"])
    assert Path("run/report.json").read_bytes() == report


@damaged
def test_damaged_rows_are_tokenised_again(
    damage: Callable[[Path], None], small: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    load("fine_tuning", **small | {"output": "whole"}).run()
    files = sorted(Path("cache").glob("*-train-*/*.arrow"))
    assert files
    for file in files:
        damage(file)
    load("fine_tuning", **small).run()
    assert "the cached entry is damaged; it is built again" in caplog.text
    assert results(Path("run")) == results(Path("whole"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, damage) for name in ("states.npy", "labels.npy", "statistics.ckpt") for damage in (cut, flip)),
        ("features.json", cut),  # A changed bit that leaves JSON is another plan, or another checksum.
    ],
)
def test_damaged_features_are_extracted_again(
    name: str, damage: Callable[[Path], None], tiny_network: Path, tmp_path: Path
) -> None:
    data = TaskData("synthetic_sentiment", network=str(tiny_network), size=40, max_length=32)
    network = load_network(str(tiny_network), data.task)
    trainer = partial(Trainer, accelerator="cpu", enable_progress_bar=False)
    first, again = ClassVariability(3, 32, 2), ClassVariability(3, 32, 2)
    written = extract_features(network, data, "train", tmp_path / "f", trainer=trainer, statistics=[first])
    expected = written.matrix(), written.labels.copy(), written.sentences.copy()
    damage(tmp_path / "f" / name)
    with pytest.warns(UserWarning, match=r"is damaged; its (features|statistics) are (extracted|collected) again"):
        found = extract_features(network, data, "train", tmp_path / "f", trainer=trainer, statistics=[again])
    assert torch.equal(found.matrix(), expected[0])
    assert (found.labels == expected[1]).all()
    assert (found.sentences == expected[2]).all()
    for name_of_sum, value in first.metric_state.items():
        assert torch.equal(value, again.metric_state[name_of_sum])
    silent = ClassVariability(3, 32, 2)
    extract_features(network, data, "train", tmp_path / "f", trainer=never, statistics=[silent])


def never(**options: Any) -> Any:
    raise AssertionError("the network ran again")
