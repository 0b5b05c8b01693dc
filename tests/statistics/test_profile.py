"""The profile of layers: written, read, shown, and collected from a task of any kind."""

import io
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from lightning import Trainer
from rich.console import Console

from toolkit.data import TaskData
from toolkit.models.loading import load_network
from toolkit.statistics.profile import LayerProfile, Profiling, profile_layers

QUIET = partial(Trainer, accelerator="cpu", enable_progress_bar=False, logger=False)


@pytest.mark.parametrize("task", ["synthetic_sentiment", "synthetic_similarity", "synthetic_pos"])
def test_every_kind_of_task_has_a_profile(task: str, tiny_network: Path, tmp_path: Path) -> None:
    data = TaskData(task, network=str(tiny_network), size=120, limit_eval=40)
    network = load_network(str(tiny_network), data.task)
    found = profile_layers(network, data, name="tiny", folder=tmp_path, probe=True, trainer=QUIET)
    assert found.num_blocks == 2
    words = sum(len(row["words"]) for row in data.sentences("train")) if "pos" in task else len(data.sentences("train"))
    assert found.rows == words
    np.testing.assert_allclose(np.diagonal(found.similarity), 1)
    np.testing.assert_allclose(np.diagonal(found.angular), 0, atol=1e-6)
    assert found.probe is not None
    assert found.cumulative_probe is not None
    assert found.cumulative_probe[0] == found.probe[0]
    found.write(tmp_path / "layers.json")
    assert LayerProfile.read(tmp_path / "layers.json") == found


def test_probes_read_hidden_states_in_the_precision_that_is_asked_for(tiny_network: Path, tmp_path: Path) -> None:
    data = TaskData("synthetic_sentiment", network=str(tiny_network), size=120, limit_eval=40)
    network = load_network(str(tiny_network), data.task)
    network.base_model.embeddings.LayerNorm.weight.data *= 1e6  # more than half precision can tell
    with pytest.raises(FloatingPointError, match=r"features_dtype=float32 of model, model\.statistics"):
        profile_layers(network, data, name="huge", folder=tmp_path / "half", probe=True, trainer=QUIET)
    options = Profiling(features_dtype="float32")
    assert profile_layers(network, data, name="huge", folder=tmp_path, probe=True, options=options, trainer=QUIET).probe


def made_up(**changes: object) -> LayerProfile:
    values: dict[str, object] = {
        "network": "[bold]x", "task": "none", "rows": 3, "variability": (math.inf, 2.0, 1.0), "influence": (0.1, 0.2),
        "angular": ((0.0, 0.1, 0.2),) * 3, "similarity": ((1.0, 0.5, 0.2),) * 3,
    }  # fmt: skip
    return LayerProfile(**values | changes)  # type: ignore[arg-type]


def test_layers_that_tell_no_classes_apart_are_written_and_read(tmp_path: Path) -> None:
    made_up().write(tmp_path / "layers.json")
    assert "Infinity" not in (tmp_path / "layers.json").read_text()
    assert LayerProfile.read(tmp_path / "layers.json").variability == (math.inf, 2.0, 1.0)


def test_table_fits_eighty_columns_and_names_the_lowest_layer() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(made_up(probe=(0.5, 0.6, 0.7), cumulative_probe=(0.5, 0.6, 0.7), probe_metric="accuracy"))
    shown = console.export_text()
    assert "lowest at layer 2" in " ".join(shown.split())
    assert "[bold]x" in shown, "names are no markup"
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_files_that_are_no_profile(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    for text in ("", "[]", "{}", '{"schema": 2}', '{"schema": 1, "network": "x"}'):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"layers\.json is no profile"):
            LayerProfile.read(file)


def test_statistics_of_different_depths_are_refused() -> None:
    with pytest.raises(ValueError, match="not all of 3 layers"):
        made_up(influence=(0.1,))
    with pytest.raises(ValueError, match="bins"):
        Profiling(bins=1)
