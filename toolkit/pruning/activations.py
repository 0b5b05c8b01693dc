"""Scores from what goes into linear layers (Wanda: Sun, Liu, Bair and Kolter 2023, https://arxiv.org/abs/2306.11695)."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def wanda_scores(weight: Tensor, norms: Tensor) -> Tensor:
    r"""Score of a weight: its magnitude times the norm of its input (equation 1).

    .. math:: S_{ij} = |W_{ij}| \, \lVert X_j \rVert_2

    Args:
        weight: :math:`W`, (outputs, inputs).
        norms: :math:`\lVert X_j \rVert_2` over the calibration tokens, (inputs,).

    Returns:
        (outputs, inputs); the paper compares the scores of each output.
    """
    return weight.abs() * norms.to(weight)


@torch.no_grad()
def input_norms(
    network: PreTrainedModel, layers: Mapping[str, nn.Linear], batches: Iterable[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    r"""Norms of the inputs of linear layers, :math:`\lVert X_j \rVert_2`, over the tokens of some sentences.

    The network runs without dropout, in the precision of its weights; its mode is as before afterwards. Padding is
    left out. Inputs that are no tokens, such as DeBERTa's relative positions, count as they come.

    Args:
        network: Any.
        layers: Name → layer of the network; one that is called more than once sums over its calls.
        batches: Inputs of the network, ``attention_mask`` (B, T) among them.

    Returns:
        Name → (inputs,) in float64.

    Raises:
        ValueError: If a layer is never called.
    """
    squares: dict[str, Tensor] = {}
    valid = torch.empty(0, dtype=torch.bool)

    def add(name: str, layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        states = arguments[0]
        # By shape, not by number: DeBERTa's positions may be as many as the tokens of a batch.
        if states.shape[:-1] in (valid.shape, (valid.numel(),)):
            states = states[valid.view(states.shape[:-1])]
        total = states.double().square().flatten(0, -2).sum(0)
        squares[name] = squares[name] + total if name in squares else total

    handles = [layer.register_forward_pre_hook(partial(add, name)) for name, layer in layers.items()]
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        for batch in batches:
            valid = batch["attention_mask"].bool()
            network(**batch)
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True
    silent = sorted(layers.keys() - squares.keys())
    if silent:
        raise ValueError(f"{silent[0]} read nothing of the calibration sentences; leave it out by model.targets.")
    return {name: squares[name].sqrt() for name in layers}
