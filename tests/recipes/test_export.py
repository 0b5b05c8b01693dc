"""Export from the command line: a stored network becomes an ONNX file, whose figures a program can read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from toolkit import cli, run
from toolkit.catalogue import recipe_file
from toolkit.models import onnx_network
from toolkit.models.onnx_network import OnnxNetwork
from toolkit.models.storage import load as load_network_of
from toolkit.options.words import as_options
from toolkit.recipe import load


@pytest.fixture
def options(small: dict[str, Any]) -> dict[str, Any]:
    """Of a network that was fine-tuned before."""
    load("fine_tuning", **small | {"output": "dense", "timing.seconds": 0}).run()
    kept = {key: value for key, value in small.items() if key.startswith(("data.", "timing", "output", "seed"))}
    return kept | {"model.network": "dense/model"}


def test_every_door_exports_the_same(options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run.main(["recipe=export", *as_options(options)])
    assert "onnxruntime" in capsys.readouterr().out
    written = json.loads(Path("run/export.json").read_text())
    assert OnnxNetwork("run/onnx")(torch.tensor([[2, 7, 3]])).logits.shape == (1, 2)
    load("export", **options | {"output": "code"}).run()
    cli.main(["fit", "--config", recipe_file("export"), *as_options(options | {"output": "cli"})])
    for folder in ("code", "cli"):
        again = json.loads(Path(folder, "export.json").read_text())
        assert again.keys() == written.keys()
        assert Path(folder, "onnx/model.onnx").stat().st_size == Path("run/onnx/model.onnx").stat().st_size


def test_a_program_is_one_choice_and_needs_no_extra(
    options: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        run.main(["recipe=export", "format=program", "opset=17", *as_options(options)])
    assert "opset=17 is ONNX's, which format=program does not write" in capsys.readouterr().err
    monkeypatch.setattr(onnx_network, "find_spec", lambda name: None)
    run.main(["recipe=export", "format=program", *as_options(options)])
    assert "program of torch.export" in capsys.readouterr().out
    report = json.loads(Path("run/export.json").read_text())
    assert report["exported"]["max_difference"] < 5e-6
    assert report["onnxruntime"] is report["exported"]["opset"] is None
    computed = torch.export.load("run/program/model.pt2").module()
    network = load_network_of("dense/model")
    tokenizer = AutoTokenizer.from_pretrained("run/program")
    inputs = dict(tokenizer(["a good film", "no"], padding=True, return_tensors="pt"))
    ordered = [inputs[name] for name in report["exported"]["inputs"]]
    torch.testing.assert_close(computed(*ordered), network(**inputs).logits, atol=1e-4, rtol=0)
    assert not Path("run/onnx").exists()


def test_a_missing_package_is_named_with_its_extra(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx_network, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        run.main(["recipe=export", *as_options(options)])
    assert "[onnx]" in capsys.readouterr().err


def test_what_is_refused_is_said_in_a_line_and_leaves_the_folder_free(
    options: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [
        ({"tolerance": 1e-12}, "Set a larger tolerance"),
        ({"tolerance": 0}, "tolerance is 0.0, but must be positive"),
        ({"opset": 0}, "opset is 0; give one from 14 to 20"),
    ]
    for words, message in refused:
        for _ in range(2):  # The same command says the same, not that its folder holds a run.
            with pytest.raises(SystemExit) as ended:
                run.main(["recipe=export", *as_options(options | words)])
            assert ended.value.code == 1
            said = capsys.readouterr().err.strip().splitlines()[-1]
            assert said.startswith("error: ")
            assert message in said
            assert not Path("run").exists()
    with pytest.raises(ValueError, match="opset is 21"):  # Before any work.
        load("export", **options | {"opset": 21})
    monkeypatch.setattr(onnx_network, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"\[onnx\]"):
        load("export", **options)
