"""What of a batch a network reads."""

from collections.abc import Mapping

from torch import Tensor

_NO_INPUTS = ("labels", "index", "special_tokens_mask")


def network_inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a batch the network reads: everything but labels, row numbers and the mask of special tokens."""
    return {name: value for name, value in batch.items() if name not in _NO_INPUTS}
