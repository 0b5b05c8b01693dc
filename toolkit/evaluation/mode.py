"""Evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Switch dropout and the like off, and put every submodule back into its own mode afterwards.

    Args:
        network: Any network.
    """
    modes = {module: module.training for module in network.modules()}
    network.train(False)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
