"""Options with which a recipe runs in a second."""

import string
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import RobertaConfig, RobertaModel, RobertaTokenizer


@pytest.fixture
def small(tiny_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Overrides for any recipe: tiny network, few sentences, one epoch, float32, no latency to speak of."""
    monkeypatch.chdir(tmp_path)
    return {
        "seed_everything": 1,
        "data.task": "synthetic_sentiment",
        "data.size": 120,
        "data.limit_eval": 20,
        "data.batch_size": 16,
        "data.max_length": 32,
        "model.network": str(tiny_network),
        "trainer.max_epochs": 1,
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        "trainer.enable_progress_bar": False,
        "timing.seconds": 0.01,
        "output": "run",
    }


@pytest.fixture
def byte_level(tmp_path: Path) -> Path:
    """A folder with a random RoBERTa of two layers and a byte-level tokenizer of letters."""
    folder = tmp_path / "byte-level"
    letters = [*string.ascii_letters, *string.digits, *string.punctuation]
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces = [*special, *letters, "Ġ", *(f"Ġ{letter}" for letter in letters)]
    merges = [("Ġ", letter) for letter in letters]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=64).save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=66, pad_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def words(small: dict[str, Any]) -> list[str]:
    """The same on the command line of the first door."""
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in small.items()]
