"""Numbers that are not finite, in weights, activations or losses: the error names where, and what to do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from toolkit import run
from toolkit.options.words import as_options
from toolkit.recipe import load

WEIGHT = "bert.encoder.layer.1.output.dense.weight"


def fails(recipe: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a recipe that ends with an error, and return what it says."""
    with pytest.raises(SystemExit) as ended:
        run.main([f"recipe={recipe}", *as_options(options)])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


def spoil(folder: Path, name: str, value: float) -> None:
    """Put a number among the weights of a stored network."""
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[5] = value
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("recipe", ["fine_tuning", "proximal_pruning"])
def test_a_training_that_diverges_names_step_and_weight(
    recipe: str, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(recipe, small | {"model.training.learning_rate": 1e30}, capsys)
    assert said.startswith("error: The loss is ")
    assert "at optimizer step" in said
    assert "is not finite" in said or "are not finite" in said
    assert "Lower model.training.learning_rate" in said
    assert not Path("run").exists()


def test_activations_that_overflow_name_the_layer(
    small: dict[str, Any], tiny_network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights are finite, and the sums of the first block's feed-forward layer are not."""
    folder = overflowing(tiny_network, tmp_path / "huge")
    said = fails("fine_tuning", small | {"model.network": str(folder)}, capsys)
    assert "The loss is nan at optimizer step 0" in said
    assert "the hidden states of layer 1 are not finite" in said
    assert "trainer.precision=32-true" in said


@pytest.mark.parametrize("recipe", ["layer_analysis", "redundancy_analysis"])
def test_hidden_states_that_are_not_finite_name_the_layer(
    recipe: str, small: dict[str, Any], tiny_network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = overflowing(tiny_network, tmp_path / "huge")
    options = {key: value for key, value in small.items() if key != "timing.seconds"}
    said = fails(recipe, options | {"model.network": str(folder)}, capsys)
    assert "The hidden states of layer 1 have NaN or infinite entries, in batch 0 of train" in said
    assert "check the network's weights" in said
    assert not Path("run").exists()


def test_a_stored_network_with_a_number_that_is_none_is_not_judged(
    small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    load("fine_tuning", **small | {"output": "dense"}).run()
    spoil(Path("dense/model"), WEIGHT, torch.nan)
    Path("dense/model/row.json").unlink()  # The checksum would tell that the file was changed.
    said = fails("magnitude_pruning", small | {"reference": "dense/model"}, capsys)
    assert f"the weight {WEIGHT} has NaN or infinite entries" in said
    assert "fine_tuning" in said


def overflowing(network: Path, folder: Path) -> Path:
    """A network whose first block multiplies by numbers near the largest of float32."""
    folder.mkdir()
    for file in network.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    tensors[next(name for name in tensors if name.endswith("layer.0.output.dense.weight"))].fill_(3e38)
    tensors[next(name for name in tensors if name.endswith("layer.0.intermediate.dense.bias"))].fill_(9.0)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder
