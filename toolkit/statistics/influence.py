"""How much each block changes the hidden states of tokens: cosine similarity between layers, and block influence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from toolkit.statistics.accumulation import check_precision, sum_over_processes

if TYPE_CHECKING:
    from toolkit.statistics.hidden_states import HiddenBatch

_CHUNK = 128  # tokens at once, so that what is computed of them stays in the cache


class BlockInfluence(Metric):
    r"""Mean cosine similarity, and mean angle, between the hidden states of each two layers, token by token.

    .. math:: \cos_{ij} = \frac1N \sum_t \frac{h_i(t) \cdot h_j(t)}{\|h_i(t)\| \|h_j(t)\|}, \qquad
              \operatorname{angle}_{ij} = \frac{1}{\pi N} \sum_t \arccos \frac{h_i(t) \cdot h_j(t)}
              {\|h_i(t)\| \|h_j(t)\|}

    The block influence of Men et al. (2024, *ShortGPT*, https://arxiv.org/abs/2403.03853, equation 1) is
    :math:`1 - \cos_{b, b+1}`; the angular distance, between layers any number of blocks apart, is that of Gromov et al.
    (2024, https://arxiv.org/abs/2403.17887, section 3.2), there of the last token, here the mean over all tokens.
    A low value marks blocks that can be dropped.

    Products are taken in float64, because the arccosine near 1 magnifies errors: an angle of equal states is 0 within
    1e-8, where float32 would give up to 2e-4. A state of zeros has cosine 0 with every state. The sums take
    :math:`16 L^2` bytes.

    In a distributed run every process must call the methods that give results, like any collective.

    Args:
        num_layers: L, at least 2.
        kwargs: Those of ``torchmetrics.Metric``.

    Raises:
        ValueError: If there are fewer than two layers.
    """

    is_differentiable = False
    full_state_update = False
    count: Tensor
    cosine: Tensor
    angle: Tensor

    def __init__(self, num_layers: int, **kwargs: Any) -> None:
        if num_layers < 2:
            raise ValueError(f"influence is between layers: expected at least 2 of them, not {num_layers}")
        super().__init__(**{"dist_sync_fn": sum_over_processes, **kwargs})
        self.num_layers = num_layers
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        for name in ("cosine", "angle"):
            zeros = torch.zeros(num_layers, num_layers, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, tokens: Tensor) -> None:
        """Add the hidden states of tokens (L, N, D).

        Raises:
            ValueError: If they are not of L layers.
        """
        if tokens.ndim != 3 or len(tokens) != self.num_layers:
            raise ValueError(f"expected tokens of shape ({self.num_layers}, N, D), not {tuple(tokens.shape)}")
        check_precision(self.cosine)
        self.count += tokens.shape[1]
        for chunk in tokens.split(_CHUNK, dim=1):
            states = chunk.double()
            products = states.new_empty(self.num_layers, *states.shape[:2])  # (L, L, N)
            for layer in range(self.num_layers):
                products[layer, layer:] = later = torch.linalg.vecdot(states[layer:], states[layer])
                products[layer:, layer] = later
            scale = products.diagonal().T.sqrt()  # (L, N)
            cosine = products / (scale[:, None] * scale).clamp(min=torch.finfo(torch.float64).tiny)
            self.cosine += cosine.sum(-1)
            self.angle += cosine.clamp(-1, 1).acos().sum(-1) / torch.pi

    def observe(self, batch: HiddenBatch) -> None:
        """Add the tokens of a batch."""
        self.update(batch.tokens)

    def compute(self) -> Tensor:
        """The mean cosine similarity between each two layers (L, L), float64.

        Raises:
            ValueError: If there were no tokens.
        """
        return self.cosine / self._tokens()

    def influence(self) -> Tensor:
        """The influence of each block (L - 1,), one minus the mean cosine of what it reads and writes, float64."""
        return 1 - self.compute().diagonal(1)

    def angular(self) -> Tensor:
        """The mean angle between each two layers, in half turns (0 to 1), (L, L) float64."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.sync_on_compute):
            return self.angle / self._tokens()

    def _tokens(self) -> Tensor:
        if self.count == 0:
            raise ValueError("there is no similarity of no tokens: call update first")
        return self.count
