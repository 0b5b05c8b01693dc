"""What is written beside a stored network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from toolkit.evaluation.report import Row
from toolkit.models import storage
from toolkit.models.structure import Structure, block_groups, keep_structure
from toolkit.runs.stored_networks import model_card


@pytest.mark.parametrize("irregular", [False, True])
def test_the_card_tells_how_to_load_the_network(irregular: bool, tiny_network: Path, tmp_path: Path) -> None:
    network = AutoModelForSequenceClassification.from_pretrained(tiny_network).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    if irregular:
        blocks = block_groups(network)
        neurons = tuple(tuple(range(4 + 4 * number)) for number in range(len(blocks)))
        keep_structure(network, Structure(heads=tuple((0,) for _ in blocks), neurons=neurons))
    row = Row(
        name="small", task="sst2", seed=0, scores={"accuracy": 0.5}, parameters=2, nonzero_parameters=1, sparsity=0.5,
        total_sparsity=0.5, macs=1,
    )  # fmt: skip
    folder = tmp_path / "this folder"
    card = model_card(row, network)
    example = tokenizer("a good film", return_tensors="pt")
    storage.save(network, tokenizer, folder, config_yaml=None, card=card, example=example)
    text = (folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("library_name: lightning-compression-toolkit" in text) is irregular
