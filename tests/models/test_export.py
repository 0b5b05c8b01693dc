"""What onnxruntime and `torch.export` compute is what PyTorch computes, for any number and length of sentences."""

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from rich.console import Console
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from toolkit.evaluation.costs import Timing
from toolkit.evaluation.export_report import ExportReport, onnx_latencies
from toolkit.models import export, onnx_network
from toolkit.models.deployment import neuron_network
from toolkit.models.export import export_onnx, export_program
from toolkit.models.exportable import SUPPORTED
from toolkit.models.onnx_network import OnnxNetwork
from toolkit.models.structure import Structure, keep_structure
from toolkit.tasks import TASKS

Make = Callable[..., PreTrainedConfig]
Store = Callable[..., Path]
CLASSIFIER, TAGGER = "AutoModelForSequenceClassification", "AutoModelForTokenClassification"
SENTENCES = ["w1 w2 w3", "w4 w5 w6 w7 w8 w9", "w9", "w3 w22 w1 w1", "w2 w2"]
QUICK = ("bert", "distilbert", "roberta")  # The others are as thorough, but for every change too slow together.
every_architecture = pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in SUPPORTED]
)


def random_network(config: PreTrainedConfig, head: str) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network: PreTrainedModel = getattr(transformers, head).from_config(config)
        for parameter in network.parameters():  # biases and norms as if they had been trained
            parameter.data += 0.1 * torch.randn(parameter.shape)
    network.train(False)
    return network


def rows(count: int, length: int) -> dict[str, Tensor]:
    """Random sentences of falling lengths, padded on the right."""
    ids = torch.randint(5, 28, (count, length), generator=torch.Generator().manual_seed(count + length))
    mask = torch.arange(length)[None] < torch.arange(length, length - count, -1).clamp(min=1)[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def check(network: PreTrainedModel, folder: Path, *, tags: bool) -> None:
    """Call onnxruntime itself, with shapes that no export saw."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    for count, length in ((1, 1), (1, 13), (4, 9), (7, 21)):
        inputs = rows(count, length)
        arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
        (found,) = session.run(["logits"], {entry.name: arrays[entry.name] for entry in session.get_inputs()})
        with torch.no_grad():
            expected = network(**inputs).logits.numpy()
        assert found.shape == expected.shape
        if tags:
            present = inputs["attention_mask"].bool().numpy()
            found, expected = found[present], expected[present]
        np.testing.assert_allclose(found, expected, atol=5e-6)


@pytest.mark.parametrize("head", [CLASSIFIER, TAGGER])
@every_architecture
def test_onnx_is_the_network_at_any_shape(
    kind: str, head: str, make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    network = random_network(make_config(kind), head)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    config = copy.deepcopy(network.config)
    network.train()
    exported = export_onnx(network, tmp_path / "onnx", batches(tokenizer), tokenizer=tokenizer)
    assert all(module.training for module in network.modules())
    assert network.config.to_dict() == config.to_dict()
    assert network.config._attn_implementation == config._attn_implementation
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
    network.train(False)
    check(network, tmp_path / "onnx", tags=head == TAGGER)
    assert json.loads((tmp_path / "onnx" / "tokenizer.json").read_text())["padding"] is None  # As it last was used.
    assert 0 < exported.max_difference < 5e-6
    assert exported.sentences == len(SENTENCES)
    assert exported.size == (tmp_path / "onnx" / "model.onnx").stat().st_size


def batches(tokenizer: PreTrainedTokenizerFast) -> list[dict[str, Tensor]]:
    """Batches as a loader gives them, with what is no input of a network."""
    found = []
    for chosen in (SENTENCES[:3], SENTENCES[3:]):
        batch = dict(tokenizer(chosen, padding=True, return_tensors="pt", return_token_type_ids=False))
        found.append(batch | {"labels": torch.zeros(len(chosen), dtype=torch.long), "index": torch.arange(len(chosen))})
    return found


@pytest.mark.parametrize("pooling", ["mean", "first", "last", None])
@pytest.mark.parametrize("kind", ["bert", pytest.param("deberta-v2", marks=pytest.mark.slow)])
def test_networks_of_selected_neurons(
    kind: str, pooling: Any, make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    encoder = random_network(make_config(kind), "AutoModel")
    task = TASKS["mnli"] if pooling else replace(TASKS["synthetic_entities"], labels=("O", "B-X", "I-X"))
    weight, bias = torch.randn(3, 4), torch.randn(3)
    network = neuron_network(encoder, [3, 40, 18, 37], weight, bias, task=task, tokenizer=tokenizer, pooling=pooling)
    for number, special in enumerate(([], [5, 9]) if pooling == "mean" else ([],)):
        network.config.special_ids = special
        folder = tmp_path / f"onnx-{number}"
        export_onnx(network, folder, SENTENCES, tokenizer=tokenizer)
        check(network, folder, tags=pooling is None)


@pytest.mark.parametrize(
    "kind", ["bert", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("albert", "deberta-v2", "distilbert"))]
)
def test_networks_of_irregular_widths(
    kind: str, make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    network = random_network(make_config(kind), CLASSIFIER)
    blocks = 1 if kind == "albert" else 3
    structure = Structure(heads=((1,), (0, 1), (0,))[:blocks], neurons=((1, 4, 6), (0,), (2, 3, 5, 7, 9))[:blocks])
    keep_structure(network, structure)
    export_onnx(network, tmp_path / "onnx", SENTENCES, tokenizer=tokenizer)
    check(network, tmp_path / "onnx", tags=False)
    assert json.loads((tmp_path / "onnx" / "config.json").read_text())["structure"] == network.config.structure


def test_folder_is_enough_to_predict(store: Store, tmp_path: Path) -> None:
    folder = store("bert", TAGGER, id2label={0: "O", 1: "B-X", 2: "I-X"}, label2id={"O": 0, "B-X": 1, "I-X": 2})
    export_onnx(folder, tmp_path / "onnx", SENTENCES)
    network, tokens = OnnxNetwork(tmp_path / "onnx", threads=2), AutoTokenizer.from_pretrained(tmp_path / "onnx")
    assert network.config.id2label == {0: "O", 1: "B-X", 2: "I-X"}
    inputs = tokens(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = transformers.AutoModelForTokenClassification.from_pretrained(folder)(**inputs).logits
    present = inputs["attention_mask"].bool()
    torch.testing.assert_close(network(**inputs).logits[present], expected[present], atol=1e-5, rtol=1e-4)
    alone = tokens(SENTENCES[:1], return_tensors="pt")
    torch.testing.assert_close(network(alone["input_ids"]).logits, network(**alone).logits)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tolerance": 1e-12}, ValueError, r"differ from PyTorch's by up to .*tolerance of 1e-12"),
        ({"tolerance": 0.0}, ValueError, "tolerance is 0.0"),
        ({"opset": 13}, ValueError, "opset is 13; give one from 14 to 20"),
        ({"examples": []}, ValueError, "no examples"),
        ({"tokenizer": None}, ValueError, "tokenizer is None"),
    ],
)
def test_what_is_wrong_is_refused_and_leaves_nothing(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    make_config: Make,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    network = random_network(make_config("bert"), CLASSIFIER)
    given: dict[str, Any] = {"examples": SENTENCES, "tokenizer": tokenizer} | options
    with pytest.raises(error, match=message):
        export_onnx(network, tmp_path / "onnx", **given)
    assert not list(tmp_path.iterdir())


def test_network_that_computes_something_else_is_refused(
    make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """A value that tracing makes a constant: the length of the batch that was traced."""
    network = random_network(make_config("bert"), CLASSIFIER)
    network.base_model.register_forward_hook(_scaled_by_length)
    with pytest.raises(ValueError, match="differ from PyTorch's"):
        export_onnx(network, tmp_path / "onnx", SENTENCES, tokenizer=tokenizer)
    assert not list(tmp_path.iterdir())


def _scaled_by_length(module: Any, inputs: Any, output: Any) -> Any:
    output.pooler_output = output.pooler_output * float(output.last_hidden_state.shape[1])
    return output


def test_folder_in_use_is_left_alone(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "onnx"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        export_onnx(store("bert", CLASSIFIER), target, SENTENCES)
    assert [file.name for file in target.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("kind", "head", "message"),
    [
        ("opt", CLASSIFIER, "export of opt was not tested.*albert, bert"),
        ("bert", "AutoModel", "network is BertModel; give one with a head"),
    ],
)
def test_networks_that_were_not_tested_are_refused_by_name(
    kind: str, head: str, message: str, make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    network = random_network(make_config(kind), head)
    for act, target in ((export_onnx, tmp_path / "onnx"), (export_program, tmp_path / "program")):
        with pytest.raises(ValueError, match=message):
            act(network, target, SENTENCES, tokenizer=tokenizer)


def test_folder_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        export_onnx(tmp_path / "nothing", tmp_path / "onnx", SENTENCES)
    with pytest.raises(FileNotFoundError, match=r"holds no model\.onnx"):
        OnnxNetwork(tmp_path)


def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_network, "find_spec", lambda name: None if name == "onnxruntime" else sys)
    for act in (lambda: export_onnx("any", tmp_path / "onnx", SENTENCES), lambda: OnnxNetwork(tmp_path)):
        with pytest.raises(ModuleNotFoundError, match=r"needs onnxruntime; .*toolkit\[onnx\]"):
            act()


def test_network_larger_than_the_format_is_refused(
    make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_LARGEST", 1000)
    with pytest.raises(ValueError, match="2 GiB"):
        export_onnx(random_network(make_config("bert"), CLASSIFIER), tmp_path / "onnx", SENTENCES, tokenizer=tokenizer)


def check_program(network: PreTrainedModel, folder: Path, inputs: tuple[str, ...]) -> None:
    """Load the program, and call it with shapes that no export saw."""
    program = torch.export.load(folder / "model.pt2").module()
    assert inputs == ("input_ids", "attention_mask")
    shortest = 2 if network.config.model_type == "xlnet" else 1
    for count, length in ((1, shortest), (4, 9), (7, 21)):
        given = rows(count, length)
        with torch.no_grad():
            found, expected = program(*given.values()), network(**given).logits
        if expected.ndim == 3:
            present = given["attention_mask"].bool()
            found, expected = found[present], expected[present]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("bert", CLASSIFIER),
        *(pytest.param(kind, CLASSIFIER, marks=pytest.mark.slow) for kind in SUPPORTED if kind != "bert"),
        *(pytest.param(kind, TAGGER, marks=pytest.mark.slow) for kind in QUICK),
    ],
)
def test_program_is_the_network_at_any_shape(
    kind: str, head: str, make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    network = random_network(make_config(kind), head)
    folder = tmp_path / "program"
    _, exported = export_program(network, folder, batches(tokenizer), tokenizer=tokenizer)
    assert exported.max_difference < 5e-6
    check_program(network, folder, exported.inputs)
    assert json.loads((folder / "config.json").read_text())["model_type"] == kind
    with pytest.raises(FileExistsError, match="choose another folder"):
        export_program(network, folder, SENTENCES, tokenizer=tokenizer)
    assert [entry.name for entry in tmp_path.iterdir()] == ["program"]


def test_program_that_differs_is_refused_and_leaves_nothing(
    make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    network = random_network(make_config("bert"), CLASSIFIER)
    network.base_model.register_forward_hook(_scaled_by_length)
    with pytest.raises(ValueError, match=r"program was not stored|cannot export"):
        export_program(network, tmp_path / "program", SENTENCES, tokenizer=tokenizer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pooling", ["mean", pytest.param("last", marks=pytest.mark.slow)])
def test_program_of_selected_neurons(
    pooling: Any, make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    encoder = random_network(make_config("bert"), "AutoModel")
    network = neuron_network(
        encoder, [3, 40, 18, 37], torch.randn(3, 4), torch.randn(3), task=TASKS["mnli"], tokenizer=tokenizer,
        pooling=pooling,
    )  # fmt: skip
    _, exported = export_program(network, tmp_path / "program", SENTENCES, tokenizer=tokenizer)
    check_program(network, tmp_path / "program", exported.inputs)


def test_program_of_irregular_widths(make_config: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    network = random_network(make_config("bert"), CLASSIFIER)
    keep_structure(network, Structure(heads=((1,), (0, 1), (0,)), neurons=((1, 4, 6), (0,), (2, 3, 5, 7, 9))))
    _, exported = export_program(network, tmp_path / "program", SENTENCES, tokenizer=tokenizer)
    check_program(network, tmp_path / "program", exported.inputs)


def test_latencies_are_measured_and_reported_beside_each_other(store: Store, tmp_path: Path) -> None:
    folder = store("bert", CLASSIFIER)
    exported = export_onnx(folder, tmp_path / "onnx", SENTENCES)
    network = AutoModel.from_pretrained(folder)
    timing = Timing(batch=2, length=16, seconds=0.01)
    plain, ours = onnx_latencies(network, tmp_path / "onnx", timing)
    for latency in (plain, ours):
        assert (latency.batch, latency.length, latency.threads, latency.device) == (2, 16, 1, "cpu")
        assert latency.median > 0
    report = ExportReport(exported=exported, parameter_bytes=1234567, pytorch=plain, onnxruntime=ours)
    report.write(tmp_path / "export.json")
    stored = json.loads((tmp_path / "export.json").read_text())
    assert stored["exported"]["max_difference"] == exported.max_difference
    assert stored["onnxruntime"]["median"] == ours.median
    console = Console(width=200)
    with console.capture() as printed:
        console.print(report)
    assert "1,234,567" in printed.get()
    assert f"{ours.median:.2f}" in printed.get()
    with pytest.raises(ValueError, match="float32 on the CPU"):
        onnx_latencies(network.to(torch.bfloat16), tmp_path / "onnx", timing)
