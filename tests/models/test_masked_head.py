"""Logits of the masked tokens alone are those among the logits of all."""

from collections.abc import Callable

import pytest
import torch
from transformers import AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel

from toolkit.models.masked_head import masked_positions


@pytest.mark.parametrize("kind", ["albert", "bert", "deberta-v2", "distilbert", "electra", "modernbert", "roberta"])
def test_masked_tokens_alone(kind: str, make_config: Callable[..., PreTrainedConfig]) -> None:
    torch.manual_seed(0)
    network = AutoModelForMaskedLM.from_config(make_config(kind)).eval()
    ids = torch.randint(5, 28, (3, 7))
    masked = torch.rand(3, 7) < 0.3
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    every = network(**inputs).logits
    with masked_positions(network, masked):
        alone = network(**inputs).logits
    assert alone.shape == (int(masked.sum()), every.shape[-1])
    torch.testing.assert_close(alone, every[masked])
    torch.testing.assert_close(network(**inputs).logits, every)  # Nothing is left behind.
    grads = [torch.autograd.grad(found.square().sum(), network.get_input_embeddings().weight)[0]
             for found in (every[masked], run_alone(network, inputs, masked))]  # fmt: skip
    torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-4)


def run_alone(network: PreTrainedModel, inputs: dict[str, torch.Tensor], masked: torch.Tensor) -> torch.Tensor:
    with masked_positions(network, masked):
        logits: torch.Tensor = network(**inputs).logits
    return logits
