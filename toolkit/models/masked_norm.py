r"""LayerNorm over some of its channels, as it is when the others have been removed.

Zeros do not remove a channel from a LayerNorm: mean and variance are over all channels, zeros among them. A network
whose hidden channels are masked computes what the narrow one computes only where its norms leave the removed channels
out:

.. math:: y_c = g_c \frac{x_c - \mu_K}{\sqrt{\sigma_K^2 + \epsilon}} + b_c \text{ for } c \in K, \qquad
          y_c = 0 \text{ for } c \notin K

with mean :math:`\mu_K` and variance :math:`\sigma_K^2` over the kept channels K.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter


class MaskedLayerNorm(nn.LayerNorm):
    """A LayerNorm whose mean and variance are over the kept channels; the others it gives zeros for.

    Args:
        norm: The LayerNorm that it takes the place of; the parameters are the same objects.
        kept: Numbers of the kept channels.

    Example:
        >>> norm = MaskedLayerNorm(nn.LayerNorm(4), [0, 2])
        >>> norm(torch.tensor([[1.0, 50.0, 3.0, 70.0]])).round(decimals=3).tolist()
        [[-1.0, 0.0, 1.0, 0.0]]
    """

    kept: Tensor

    def __init__(self, norm: nn.LayerNorm, kept: Sequence[int]) -> None:
        super().__init__(norm.normalized_shape, norm.eps, elementwise_affine=False)
        self.elementwise_affine = norm.elementwise_affine
        self.weight, self.bias = norm.weight, norm.bias
        self.training = norm.training
        # Not persistent: weights are stored under the same names with it and without it.
        self.register_buffer("kept", torch.tensor(kept, device=norm.weight.device), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(…, D)``."""
        # Numbers that differ are selected several times faster by index_select, backwards most of all.
        rows = input.reshape(-1, input.shape[-1])
        weight = self.weight.index_select(0, self.kept)
        bias = None if self.bias is None else self.bias.index_select(0, self.kept)
        narrow = F.layer_norm(rows.index_select(1, self.kept), self.kept.shape, weight, bias, self.eps)
        return narrow.new_zeros(rows.shape).index_copy(1, self.kept, narrow).view(input.shape)


def mask_norms(network: nn.Module, paths: Iterable[str], kept: Sequence[int]) -> None:
    """Put a `MaskedLayerNorm` in the place of some LayerNorms of a network.

    Args:
        network: The network.
        paths: Where they are.
        kept: Numbers of the channels that they keep.
    """
    for path in paths:
        norm = network.get_submodule(path)
        assert isinstance(norm, nn.LayerNorm)
        network.set_submodule(path, MaskedLayerNorm(norm, kept))


def slice_norm(norm: nn.LayerNorm, kept: Sequence[int]) -> nn.LayerNorm:
    """Make the LayerNorm over the kept channels alone.

    torch-pruning 1.6.1 slices a LayerNorm, too, but in the order of a set: where few channels stay, their weights are
    not those of the channels.

    Args:
        norm: A LayerNorm with weights, masked or not.
        kept: Numbers of the kept channels, ascending.
    """
    narrow = nn.LayerNorm(len(kept), norm.eps, bias=norm.bias is not None, device="meta")
    for name, weight in norm.named_parameters():
        chosen = weight.detach()[torch.tensor(kept, device=weight.device)]
        setattr(narrow, name, Parameter(chosen, requires_grad=weight.requires_grad))
    narrow.train(norm.training)
    return narrow
