"""Folders of networks from anywhere: read, or refused, and nothing in them is run."""

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from tests.hostile.small_tokenizer import write_tokenizer
from toolkit.evaluation.predictions import Judgement
from toolkit.models import storage
from toolkit.models.loading import load_network
from toolkit.models.neuron_config import NeuronSelectionConfig
from toolkit.models.pretrained import load_config, load_tokenizer
from toolkit.models.sparse_storage import SPARSE_FILE, read_sparse, write_sparse
from toolkit.runs.training_stage import SealedCheckpoints
from toolkit.statistics.features import Features
from toolkit.tasks import TASKS

SMALL = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
         "max_position_embeddings": 16}  # fmt: skip
MARK = "EXECUTED"


class Evil:
    """A pickle that runs a command."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARK}",)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    names = {"id2label": dict(enumerate(TASKS["sst2"].labels)), "label2id": {"negative": 0, "positive": 1}}
    BertForSequenceClassification(BertConfig(**SMALL, **names)).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture
def folder(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, beside which a file appears if code in it is run."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(stored, tmp_path / "network"))


def with_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def refused(folder: Path, message: str) -> None:
    for read in (storage.load, lambda name: load_network(str(name), TASKS["sst2"])):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            read(folder)
        assert str(folder) in str(error.value)
    assert not Path(MARK).exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
@pytest.mark.parametrize("archive", [True, False])
def test_pickles_are_refused(name: str, archive: bool, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    if archive:
        torch.save({"weight": Evil()}, folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(Evil()))
    refused(folder, "header too large" if name == "model.safetensors" else "Pickled weights are refused")


@pytest.mark.parametrize("archive", [True, False])
def test_checkpoints_are_read_without_their_code(
    archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "plain.ckpt", _use_new_zipfile_serialization=archive)
    content = Path("plain.ckpt").read_bytes()
    from toolkit.files.sealed import save_sealed

    save_sealed({}, Path("sealed.ckpt"))  # The checksum says that a file is whole, not whom it is from.
    import hashlib

    mark = Path("sealed.ckpt").read_bytes()[-40:-32]
    Path("sealed.ckpt").write_bytes(content + mark + hashlib.sha256(content).digest())
    with pytest.raises(ValueError, match=r"sealed.ckpt holds no state of a training .*Delete it"):
        SealedCheckpoints().load_checkpoint("sealed.ckpt", weights_only=False)
    assert not Path(MARK).exists()


def test_features_hold_no_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("states", "labels", "sentences"):
        np.save(f"{name}.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    Path("features.json").write_text('{"lost": 0}')
    with pytest.raises(ValueError, match=r"holds damaged features .*delete it"):
        Features.read(tmp_path)
    assert not Path(MARK).exists()


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_of_a_folder_is_not_run(where: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "modeling_evil.py").write_text(f"open({MARK!r}, 'w')\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks.
    names = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer")
    content = json.loads((folder / where).read_text())
    for architecture in ({}, {"model_type": "evil"}):
        code = {"auto_map": dict.fromkeys(names, "modeling_evil.Evil")}
        (folder / where).write_text(json.dumps({**content, **code, **architecture}))
        refused(folder, "has an entry auto_map.*is never run")
        with pytest.raises(ValueError, match="has an entry auto_map"):
            load_tokenizer(str(folder))
    assert not Path(MARK).exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"_attn_implementation": "kernels-community/evil"}, "asks for the attention kernel"),
        ({"attn_implementation": "flash_attention_2"}, "asks for the attention kernel"),
        ({"encoder": {"_attn_implementation": "evil/evil"}}, "asks for the attention kernel"),
        ({"quantization_config": {"quant_method": "evil"}}, "has a quantization_config"),
        ({"hidden_size": 2**31}, "asks for at least 64,424,.* weights, but .* stored"),
        ({"vocab_size": 2**40}, "asks for at least 8,796,.* weights, but .* stored"),
        ({"max_position_embeddings": 2**33}, "asks for at least 68,719,.* weights, but .* stored"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers 1000000, expected at most 1000"),
        ({"num_hidden_layers": -1}, "num_hidden_layers -1"),
        ({"num_labels": 20_000_000}, r"20000000 labels \(num_labels\), expected at most 10000"),
        ({"id2label": dict.fromkeys(range(10_001), "x")}, r"10001 labels \(id2label\), expected at most 10000"),
        ({"encoder": {"num_labels": 10**7}}, "10000000 labels"),
        ({"encoder": [{"n_layer": 10**7}]}, "n_layer 10000000, expected at most 1000"),
        ({"model_type": "albert", "num_hidden_groups": 10**7}, "num_hidden_groups 10000000, expected at most 1000"),
        ({"model_type": "albert", "inner_group_num": 3000}, "inner_group_num 3000, expected at most 1000"),
        ({"model_type": "albert", "num_hidden_groups": 1e9}, "num_hidden_groups 1000000000.0, expected"),
        ({"model_type": "gpt_neo", "attention_types": [[["global"], 10**9]]}, "attention_types 1000000000, expected"),
        (
            {
                "model_type": "albert",
                "architectures": ["AlbertForSequenceClassification"],
                "num_hidden_groups": 1000,
                "inner_group_num": 1000,
            },
            "asks for at least .* modules and tensors, but .* stored",
        ),
        (
            {"model_type": "albert", "architectures": ["AlbertForSequenceClassification"], "num_hidden_groups": -1},
            "has no list of 2 transformer blocks",
        ),
        ({"experts_implementation": "evil/kernel"}, "asks for kernels, experts_implementation"),
        ({"use_kernels": True}, "asks for kernels, use_kernels"),
        ({"configuration_files": ["config.4.0.0.json"]}, "names configuration_files to read in its place"),
        ({"num_attention_heads": 0}, "Cannot load"),
        ({"hidden_size": "x"}, "expected int, got str"),
        ({"hidden_act": "os.system"}, "Cannot load"),
        ({"pad_token_id": 10**9}, "Cannot load"),
        ({"structure": {"heads": [0, 1], "neurons": [12, 12]}}, "structure"),
        ({"structure": {"heads": [1, 1], "neurons": [-1, 2**62]}}, "structure"),
        ({"structure": {"heads": [1] * 300_000, "neurons": [1]}}, "structure"),
        ({"structure": {"heads": [1] * 3_000_000, "neurons": [1]}}, "bytes, expected 4,194,304 at most"),
    ],
)
def test_configs_that_ask_for_something_else(values: dict[str, Any], message: str, folder: Path) -> None:
    with_config(folder, **values)
    refused(folder, message)


def test_names_of_labels_are_no_keys(folder: Path) -> None:
    names = [f"x{number}" for number in range(1200)] + ["num_hidden_layers", "auto_map", "num_labels"]
    with_config(folder, id2label=dict(enumerate(names)), label2id={name: number for number, name in enumerate(names)})
    assert load_config(str(folder)).num_labels == 1203


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the hub has as ``someone/network``, in the way of transformers' own look-up of a file."""

    def cached_file(source: Any, filename: str, **_: Any) -> str | None:
        assert source == "someone/network"
        return str(folder / filename) if (folder / filename).is_file() else None

    for module in ("configuration_utils", "utils.peft_utils", "models.auto.tokenization_auto"):
        monkeypatch.setattr(f"transformers.{module}.cached_file", cached_file)
    for module in ("configuration_utils", "models.auto.tokenization_auto"):
        monkeypatch.setattr(f"transformers.{module}.resolve_revision", lambda *_, **__: None, raising=False)
    return folder


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"_attn_implementation": "evil/kernel"}, "asks for the attention kernel 'evil/kernel'"),
        ({"encoder": {"attn_implementation": "evil/kernel"}}, "asks for the attention kernel"),
        ({"experts_implementation": "evil/kernel"}, "asks for kernels"),
        ({"auto_map": {"AutoConfig": "evil.Evil"}}, "has an entry auto_map"),
        ({"text_config": {"quantization_config": {"quant_method": "evil"}}}, "has a quantization_config"),
        ({"num_labels": 20_000_000}, "20000000 labels"),
        ({"num_hidden_layers": 10**10}, "num_hidden_layers 10000000000"),
    ],
)
def test_configs_of_the_hub_are_judged_before_they_are_built(
    values: dict[str, Any], message: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_config("someone/network").model_type == "bert"
    with_config(hub, **values)
    monkeypatch.setattr(BertConfig, "__init__", lambda *_, **__: pytest.fail("it was built"))
    with pytest.raises(ValueError, match=message):
        load_config("someone/network")


def test_adapters_and_tokenizers_of_the_hub(hub: Path) -> None:
    (hub / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    with pytest.raises(ValueError, match="someone/network holds an adapter"):
        load_config("someone/network")
    (hub / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}}')
    with pytest.raises(ValueError, match="The tokenizer's config of someone/network has an entry auto_map"):
        load_tokenizer("someone/network")


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, '"x"', "{", "\ufeff{}", '{"a": 1' + "0" * 5000 + "}"])
def test_configs_that_are_none(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text, encoding="utf-8")
    refused(folder, "it holds no JSON object|it is no JSON")


def test_adapters_lead_elsewhere(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    refused(folder, "holds an adapter")


@pytest.mark.parametrize("target", ["../outside.safetensors", "{folder}/../outside.safetensors", "weights.bin", 3, ""])
def test_an_index_names_files_of_the_folder(target: Any, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    torch.save({"weight": Evil()}, folder / "weights.bin")
    named = target.format(folder=folder) if isinstance(target, str) else target
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(weights, named)}))
    refused(folder, "give names of safetensors files in the folder itself")


def header(**tensors: Any) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        text = json.dumps(tensors).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(12))

    return write


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(struct.pack("<Q", 2**63) + b"{}"),
        lambda file: file.write_bytes(struct.pack("<Q", 90_000_000) + b"{}"),
        header(**{k: {"dtype": "F32", "shape": [2], "data_offsets": [n, n + 8]} for k, n in {"a": 0, "b": 4}.items()}),
        header(a={"dtype": "F32", "shape": [3], "data_offsets": [0, 800]}),
        header(a={"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 12]}),
        header(a={"dtype": "F32", "shape": [-3], "data_offsets": [0, 12]}),
        header(a={"dtype": "F32", "shape": [3], "data_offsets": [12, 0]}),
    ],
)  # fmt: skip
def test_headers_of_safetensors(write: Callable[[Path], None], folder: Path) -> None:
    write(folder / "model.safetensors")
    refused(folder, "Error while deserializing header")
    write(folder / "predictions.safetensors")
    with pytest.raises(ValueError, match="holds no predictions"):
        Judgement.read(folder / "predictions.safetensors")
    write(folder / SPARSE_FILE)
    with pytest.raises(ValueError, match="cannot be read"):
        read_sparse(folder / SPARSE_FILE)


@pytest.mark.parametrize("change", [
    {"shape": [2**62, 4]}, {"shape": [-8, -8]}, {"shape": [2**31, 2**31]}, {"shape": []}, {"shape": "88"},
    {"dtype": "nn"}, {"dtype": "__class__"}, {"scheme": "8:4"}, {"scheme": "../"}, {"shape": [64, 2]},
])  # fmt: skip
def test_sparse_files_whose_manifest_lies(change: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write_sparse({"w": torch.eye(64)}, file)
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        manifest = json.loads(opened.metadata()["sparse_storage"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  no mapping
    assert manifest["tensors"]["w"]["scheme"] == "bitmask"
    manifest["tensors"]["w"] |= change
    save_file(tensors, file, {"sparse_storage": json.dumps(manifest)})
    with pytest.raises(ValueError, match=r"x\.safetensors"):
        read_sparse(file)
    name = next(name for name in tensors if tensors[name].dtype == torch.uint8)
    manifest["tensors"]["w"] |= {"shape": [64, 64], "dtype": "float32", "scheme": "bitmask"}
    tensors[name] = tensors[name] | 1  # More bits than values.
    save_file(tensors, file, {"sparse_storage": json.dumps(manifest)})
    with pytest.raises(ValueError, match="a value for each bit of the mask"):
        read_sparse(file)


@pytest.mark.parametrize("kept", [
    [[-1], [], []], [[8], [], []], [[0, 0], [], []], [[2, 1], [], []], [[0]] * 4, [list(range(100_000)), [], []],
    [[2**62], [], []], [[True], [], []], [[0.5], [], []], "abc", [None, [0], []],
])  # fmt: skip
def test_neurons_that_the_encoder_does_not_have(kept: Any) -> None:
    with pytest.raises(ValueError, match="kept") as error:
        NeuronSelectionConfig(encoder={"model_type": "bert", **SMALL}, kept=kept)
    assert len(str(error.value)) < 400


def test_links_out_of_a_folder_are_not_copied(folder: Path) -> None:
    (folder.parent / "secret.json").write_text("a key")
    (folder / "notes.json").symlink_to(folder.parent / "secret.json")
    with pytest.raises(ValueError, match=r"notes.json is a link to .*secret.json, outside the folder"):
        storage.sparsify(folder, folder.parent / "sparse")
    assert not (folder.parent / "sparse").exists()
