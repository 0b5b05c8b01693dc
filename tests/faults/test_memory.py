"""Memory that is not enough: the error says of what, and which options take less."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from toolkit.modules.fine_tuning import FineTuning
from toolkit.recipe import load


def too_much_for_the_cpu() -> Any:
    return torch.empty(2**52)  # The allocator's own error.


def too_much_for_numpy() -> Any:
    return np.empty(2**52)


def too_much_for_the_gpu() -> Any:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB of which 1.00 GiB is "
        "free.\nIf reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF."
    )


@pytest.mark.parametrize(
    ("allocate", "whose"),
    [
        (too_much_for_the_cpu, "The machine's memory"),
        (too_much_for_numpy, "The machine's memory"),
        (too_much_for_the_gpu, "The GPU's memory"),
    ],
)
def test_a_batch_that_does_not_fit_the_memory(
    allocate: Callable[[], Any], whose: str, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(module: FineTuning, batch: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = allocate()
        return found

    monkeypatch.setattr(FineTuning, "loss", loss)
    with pytest.raises(MemoryError) as raised:
        load("fine_tuning", **small).run()
    said = str(raised.value)
    assert said.startswith(f"{whose} is not enough (")
    assert "\n" not in said
    for option in ("data.batch_size", "trainer.accumulate_grad_batches", "data.max_length"):
        assert option in said
    assert ("bf16-mixed" in said) == ("GPU" in whose)
    assert not Path("run").exists()


def test_another_error_stays_what_it_is(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(module: FineTuning, batch: Mapping[str, Tensor]) -> Tensor:
        return torch.ones(2) @ torch.ones(3)

    monkeypatch.setattr(FineTuning, "loss", loss)
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        load("fine_tuning", **small).run()
