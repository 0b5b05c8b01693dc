"""Nothing is downloaded that was not asked for: with the sockets closed, everything local works."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import huggingface_hub.constants
import pytest

from toolkit import run
from toolkit.data.text_sources import TextSet, hub_texts
from toolkit.models import storage
from toolkit.models.loading import load_masked_lm
from toolkit.models.pretrained import load_config, load_tokenizer

tried: list[Any] = []


@pytest.fixture(autouse=True)
def closed_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every connection and every look-up of a name is an error; the hub is not offline by its own settings."""

    def refuse(*address: Any, **_: Any) -> NoReturn:
        tried.append(address)
        raise OSError(f"a connection to {address} was tried")

    tried.clear()
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert not tried


@pytest.mark.parametrize("task", ["synthetic_sentiment", "synthetic_pos"])
def test_a_recipe_on_synthetic_data_makes_no_connection(
    task: str, tiny_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {
        "data.task": task, "data.size": 60, "data.limit_eval": 10, "data.max_length": 32, "model.network": tiny_network,
        "trainer.max_epochs": 1, "trainer.accelerator": "cpu", "trainer.precision": "32-true",
        "trainer.enable_progress_bar": "false", "timing.seconds": 0, "output": "run",
    }  # fmt: skip
    run.main(["recipe=magnitude_pruning", *(f"{key}={value}" for key, value in options.items())])
    assert storage.load("run/model")


def test_a_folder_is_never_looked_for_on_the_hub(tiny_network: Path, tmp_path: Path) -> None:
    assert load_config(str(tiny_network)).model_type == "bert"
    assert load_masked_lm(str(tiny_network))
    assert load_tokenizer(str(tiny_network)).is_fast
    for name in (str(tmp_path), str(tmp_path / "missing"), "./missing", "a/b/c"):
        with pytest.raises((FileNotFoundError, ValueError)):
            load_config(name)


def test_a_damaged_folder_is_not_mended_from_the_hub(tiny_network: Path, tmp_path: Path) -> None:
    named = {"_name_or_path": "bert-base-uncased", "architectures": ["BertForMaskedLM"]}
    config = json.loads((tiny_network / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **named}))
    with pytest.raises(FileNotFoundError, match=r"it has no model\.safetensors"):
        storage.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        load_tokenizer(str(tmp_path))


def test_scripts_and_pickles_of_a_data_set_are_not_run(tmp_path: Path) -> None:
    script = tmp_path / "texts"
    script.mkdir()
    (script / "texts.py").write_text(f"open({str(tmp_path / 'EXECUTED')!r}, 'w')\n")
    with pytest.raises(ValueError, match=r"cannot be read.*give text, CSV, JSON or Parquet files"):
        hub_texts(TextSet(path=str(script)))
    assert not (tmp_path / "EXECUTED").exists()
