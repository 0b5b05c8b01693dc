"""What a training cost: counted over batches, processes and interruptions."""

import warnings
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from toolkit.evaluation.costs import training_macs
from toolkit.evaluation.metering import Meter, peak_memory

BATCHES = [
    torch.ones(4, 10, dtype=torch.long),
    torch.ones(4, 20, dtype=torch.long),
    torch.ones(2, 30, dtype=torch.long),
]
EXAMPLES, POSITIONS = 10, 4 * 10 + 4 * 20 + 2 * 30


@pytest.fixture
def bert() -> PreTrainedModel:
    config = BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    network: PreTrainedModel = BertForSequenceClassification(config)
    return network


class Module(LightningModule):
    """Trains a network on nothing in particular."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.network(**batch).logits.square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def train(network: PreTrainedModel, meter: Meter, epochs: int = 1, precision: Any = "32-true") -> None:
    trainer = Trainer(
        max_epochs=epochs, precision=precision, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        callbacks=[meter], enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    batches: DataLoader[dict[str, Tensor]] = DataLoader([{"input_ids": ids} for ids in BATCHES], batch_size=None)
    trainer.fit(Module(network), batches)


def test_examples_and_operations_are_counted(bert: PreTrainedModel) -> None:
    meter = Meter()
    train(bert, meter, epochs=2)
    results = meter.results(bert)
    assert results["examples_seen"] == 2 * EXAMPLES
    assert results["training_macs"] == 2 * EXAMPLES * training_macs(bert, length=round(POSITIONS / EXAMPLES))
    weights = sum(weight.numel() * 4 for weight in bert.parameters())
    assert weights < int(results["peak_memory"]) <= peak_memory(torch.device("cpu"))


def test_a_resumed_training_goes_on_counting(bert: PreTrainedModel) -> None:
    first, second = Meter(), Meter()
    train(bert, first)
    second.load_state_dict(first.state_dict())
    train(bert, second)
    assert second.results(bert)["examples_seen"] == 2 * EXAMPLES


def test_a_training_that_goes_on_in_another_precision_says_so(bert: PreTrainedModel) -> None:
    first, second, third = Meter(), Meter(), Meter()
    train(bert, first)
    second.load_state_dict(first.state_dict())
    with pytest.warns(UserWarning, match="began in 32-true and goes on in bf16-mixed"):
        train(bert, second, precision="bf16-mixed")
    assert second.results(bert)["training_precision"] == "32-true, bf16-mixed"
    assert first.results(bert)["training_precision"] == "32-true"
    third.load_state_dict(first.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(bert, third)
    assert third.results(bert)["training_precision"] == "32-true"


def test_operations_are_those_of_the_network_that_was_trained(bert: PreTrainedModel) -> None:
    meter = Meter()
    train(bert, meter)
    before = meter.results(bert)
    for block in bert.base_model.encoder.layer:
        block.requires_grad_(False)
    assert meter.results(bert)["training_macs"] == before["training_macs"]


def test_without_training_there_is_nothing_to_say(bert: PreTrainedModel) -> None:
    assert Meter().results(bert) == {}
