"""Compare a network with what was loaded of it: every bit of the weights, the outputs, and the tokenizer's ids."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolkit.models.inputs import network_inputs
from toolkit.models.sparse_storage import Precision


def rounded(network: PreTrainedModel, dtype: Precision) -> PreTrainedModel:
    """A copy of a network with its weights rounded, in the types that they had: what is loaded again.

    Args:
        network: It is left as it is; with ``float32`` it is given back itself.
        dtype: Type that the weights are rounded to.
    """
    if dtype == "float32":
        return network
    network = copy.deepcopy(network)
    half = getattr(torch, dtype)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.to(half))
    return network


def compare_weights(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse weights that are others, if only in a bit: the sign of a zero counts.

    Args:
        expected: By name.
        found: By name.

    Raises:
        RuntimeError: If they differ.
    """
    differing = [
        name
        for name in sorted(expected.keys() | found.keys())
        if name not in expected or name not in found or not _same_bits(expected[name], found[name])
    ]
    if differing:
        raise RuntimeError(
            f"{len(differing)} weights differ after loading, among them {differing[0]}; nothing was stored. "
            "The network has a form that its config.json cannot express."
        )


def _same_bits(expected: Tensor, found: Tensor) -> bool:
    if expected.dtype != found.dtype or expected.shape != found.shape:
        return False
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (expected, found)))


def verify(
    network: PreTrainedModel,
    loaded: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tokens: PreTrainedTokenizerBase,
    example: Mapping[str, Tensor],
    dtype: Precision,
) -> float:
    """Compare what was loaded with what was stored: weights, outputs on the example, and the tokenizer's ids.

    Args:
        network: What was stored.
        loaded: What came back.
        tokenizer: What was stored with it.
        tokens: What came back of that.
        example: A real tokenised batch; labels and index are ignored.
        dtype: Type that the weights were rounded to.

    Returns:
        The largest difference that rounding makes to the outputs on the example.

    Raises:
        RuntimeError: If anything else differs.
    """
    judged = rounded(network, dtype)
    compare_weights(judged.state_dict(), loaded.state_dict())
    inputs = {name: tensor.to(network.device) for name, tensor in network_inputs(example).items()}
    outputs = _outputs(loaded, inputs)
    difference = (_outputs(judged, inputs) - outputs).abs().max().item()
    if difference != 0.0:
        raise RuntimeError(
            f"Outputs differ by up to {difference:.3g} after loading; nothing was stored. "
            "The network computes something that its config.json does not express."
        )
    text = tokenizer.decode(example["input_ids"][0], skip_special_tokens=True)
    # Cut, as text that was put together again may have more tokens than before, and too many for the network.
    cut: dict[str, Any] = {"truncation": True, "max_length": example["input_ids"].shape[1]}
    if tokens(text, **cut)["input_ids"] != tokenizer(text, **cut)["input_ids"] or len(tokens) != len(tokenizer):
        raise RuntimeError(
            "AutoTokenizer gives other ids than the tokenizer; nothing was stored. "
            "Take the tokenizer from toolkit.models.pretrained.load_tokenizer."
        )
    return (_outputs(network, inputs) - outputs).abs().max().item() if judged is not network else 0.0


@torch.inference_mode()
def _outputs(network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    # A copy, as the kernels' choice may depend on how memory is aligned: weights from a file are not.
    network = copy.deepcopy(network)
    network.train(False)
    with torch.autocast(network.device.type, enabled=False):
        outputs: Tensor = network(**inputs)[0]
    return outputs
