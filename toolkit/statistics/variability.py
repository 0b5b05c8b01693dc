"""Hidden-state variability: how tightly each layer holds the examples of a class together, and the classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from toolkit.statistics.accumulation import add_products_, check_precision, sum_over_processes, symmetric

if TYPE_CHECKING:
    from toolkit.statistics.hidden_states import HiddenBatch

_EPSILON = torch.finfo(torch.float64).eps


class ClassVariability(Metric):
    r"""Variability ν of each layer's hidden states within classes, relative to that between classes; lower is better.

    .. math:: \nu = \tfrac1C \operatorname{tr}(S_w S_b^+), \qquad S_w = \sum_y q_y S_y, \qquad
              S_b = \tfrac1C \sum_y (m_y - \bar m)(m_y - \bar m)^\top, \qquad \bar m = \sum_y p_y m_y

    with mean :math:`m_y` and covariance :math:`S_y` (divided by :math:`n_y`) of the :math:`n_y` rows of class y
    (Xie et al. 2022, https://arxiv.org/abs/2210.10041, section 3.1, equation 3). In the paper all classes weigh the
    same, :math:`q_y = p_y = 1/C`. ``within="weighted"`` sets :math:`q_y = n_y/N`, which is the covariance pooled over
    rows; ``mean="weighted"`` sets :math:`p_y = n_y/N`, the mean of all rows. :math:`S_b` is the plain average over
    classes in any case.

    With the singular values :math:`M = U \operatorname{diag}(s) V^\top` of the (D, C) matrix of the columns
    :math:`m_y - \bar m`, :math:`S_b = M M^\top / C` gives

    .. math:: \nu = \sum_k \frac{u_k^\top S_w u_k}{s_k^2}

    without a pseudo-inverse. As that of ``torch.linalg.pinv`` of :math:`S_b` in float64, the sum leaves out
    :math:`s_k^2 \le 2.2 \cdot 10^{-16} D s_1^2`. ν is infinite where all class means are equal up to rounding: the
    layer tells no classes apart, though the formula would give 0. Rotations, translations and a scale of the hidden
    states do not change ν; other linear maps do, such as standardising each dimension.

    **Few rows in a class** make ν too small: means of few rows are apart by chance. ``corrected=True`` divides
    :math:`S_y` by :math:`n_y - 1`, and subtracts what the sampling noise of the means adds to their Gram matrix, in
    expectation: with :math:`M = [m_y] Q`, :math:`Q = I - p 1^\top`,

    .. math:: \operatorname{E}[M^\top M] = (M^\top M)_{n = \infty} + Q^\top T Q, \qquad
              T = \operatorname{diag}(\operatorname{tr} S_y / n_y),

    so that :math:`\nu = \operatorname{tr}(U^\top S_w U\, G^{-1})` with
    :math:`G = \operatorname{diag}(s^2) - V^\top Q^\top T Q V`. (It is the whole trace that counts: the directions
    :math:`u_k` are themselves bent towards the noise, so that the noise of a fixed direction would be too little.) ν is
    infinite if :math:`G` is not positive definite: the rows are too few to tell the classes apart. Only the size of the
    differences is corrected, not their direction: where the noise is concentrated in few dimensions, ν of a handful of
    rows may come out too large.

    Classes without rows, and with ``corrected`` those of a single row, are left out, and C counts the others; ν is NaN
    if fewer than two are left. A single row is a class without variability.

    The state takes :math:`8 L C D^2` bytes: for seven layers of 384 dimensions 17 MB of two classes and 413 MB of 50.
    An update touches what belongs to the classes in it, so give it some forty rows of each class at once, or more.

    Args:
        num_layers: L.
        hidden_size: D.
        num_classes: C.
        within: Weights of the classes in :math:`S_w`.
        mean: Weights of the classes in :math:`\bar m`.
        corrected: Whether to correct for few rows.
        edges: For continuous labels, what bounds the classes, ascending: class i has the labels above ``edges[i - 1]``
            and up to ``edges[i]``.
        kwargs: Those of ``torchmetrics.Metric``.

    Raises:
        ValueError: If a size, an option or the edges are not as described.

    Example:
        >>> metric = ClassVariability(2, 1, 2)
        >>> metric.update(torch.tensor([[[0.0], [2.0], [4.0], [6.0]], [[0.0], [2.0], [8.0], [10.0]]]),
        ...               torch.tensor([0, 0, 1, 1]))
        >>> metric.compute()
        tensor([0.1250, 0.0312], dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    count: Tensor
    total: Tensor
    products: Tensor
    edges: Tensor | None

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        num_classes: int,
        *,
        within: Literal["balanced", "weighted"] = "balanced",
        mean: Literal["balanced", "weighted"] = "balanced",
        corrected: bool = False,
        edges: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        if min(num_layers, hidden_size) < 1 or num_classes < 2:
            raise ValueError(
                "expected at least one layer, one dimension and two classes, "
                f"not {num_layers}, {hidden_size} and {num_classes}"
            )
        for name, value in (("within", within), ("mean", mean)):
            if value not in ("balanced", "weighted"):
                raise ValueError(f"{name} is 'balanced' or 'weighted', not {value!r}")
        if edges is not None and (len(edges) != num_classes - 1 or any(a >= b for a, b in pairwise(edges))):
            raise ValueError(f"{num_classes} classes need {num_classes - 1} ascending edges, not {list(edges)}")
        super().__init__(**{"dist_sync_fn": sum_over_processes, **kwargs})
        self.num_layers, self.hidden_size, self.num_classes = num_layers, hidden_size, num_classes
        self.within, self.mean, self.corrected = within, mean, corrected
        bounds = None if edges is None else torch.tensor(edges, dtype=torch.float64)
        self.register_buffer("edges", bounds, persistent=False)
        shape = (num_classes, num_layers, hidden_size)
        self.add_state("count", torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        products = torch.zeros(*shape, hidden_size, dtype=torch.float64)
        self.add_state("products", products, dist_reduce_fx="sum")

    def update(self, rows: Tensor, labels: Tensor) -> None:
        """Add rows (L, R, D) with their labels (R,): class ids, or values if there are edges.

        Raises:
            ValueError: If a shape or a label is not as expected.
        """
        if rows.ndim != 3 or (rows.shape[0], rows.shape[2]) != (self.num_layers, self.hidden_size):
            raise ValueError(
                f"expected rows of shape ({self.num_layers}, R, {self.hidden_size}), not {tuple(rows.shape)}"
            )
        if labels.shape != rows.shape[1:2]:
            raise ValueError(f"expected a label for each of {rows.shape[1]} rows, not {tuple(labels.shape)}")
        check_precision(self.products)
        classes = self._classes(labels)
        counts = torch.bincount(classes, minlength=self.num_classes)
        self.count += counts
        for label, members in enumerate(classes.argsort().split(counts.tolist())):
            if len(members):
                for layer in range(self.num_layers):
                    part = rows[layer].index_select(0, members).double()
                    self.total[label, layer] += part.sum(0)
                    add_products_(self.products[label, layer], part)

    def observe(self, batch: HiddenBatch) -> None:
        """Add the rows of a batch with their labels."""
        self.update(batch.rows, batch.labels)

    def compute(self) -> Tensor:
        """The variability ν of each layer (L,), float64."""
        used = self.count >= (2 if self.corrected else 1)
        if int(used.sum()) < 2:
            return torch.full((self.num_layers,), torch.nan, dtype=torch.float64, device=self.device)
        counts = self.count[used].double()
        return torch.stack(
            [self._variability(counts, self.total[used, i], self.products[used, i]) for i in range(self.num_layers)]
        )

    def _variability(self, counts: Tensor, total: Tensor, products: Tensor) -> Tensor:
        # Of one layer, from the sums (C,), (C, D) and (C, D, D) of the classes that count.
        balanced, weighted = torch.full_like(counts, 1 / len(counts)), counts / counts.sum()
        means = total / counts[:, None]
        center = weighted if self.mean == "weighted" else balanced
        u, s, vh = torch.linalg.svd((means - center @ means).T, full_matrices=False)
        if s[0] <= _EPSILON * self.hidden_size * means.norm(dim=1).max():
            return counts.new_tensor(torch.inf)
        kept = s.square() > _EPSILON * self.hidden_size * s[0] ** 2
        u, s, vh = u[:, kept], s[kept], vh[kept]
        divisors = counts - 1 if self.corrected else counts
        share = (weighted if self.within == "weighted" else balanced) / divisors
        covariance = symmetric(torch.einsum("c,cde->de", share, products)) - (means.T * (share * counts)) @ means
        scatter = u.T @ covariance @ u
        if not self.corrected:
            plain: Tensor = scatter.diagonal().clamp(min=0) / s.square()  # a single row may be below 0 by rounding
            return plain.sum()
        traces = products.diagonal(dim1=1, dim2=2).sum(-1) - counts * means.square().sum(-1)
        noise = traces.clamp(min=0) / divisors / counts
        spread = vh.T - torch.outer(center, vh.sum(1))  # Q V
        gram = s.square().diag() - spread.T @ (noise[:, None] * spread)
        if torch.linalg.eigvalsh(gram)[0] <= _EPSILON * self.hidden_size * s[0] ** 2:
            return counts.new_tensor(torch.inf)
        ratio: Tensor = torch.linalg.solve(gram, scatter)
        return ratio.trace()

    def _classes(self, labels: Tensor) -> Tensor:
        if self.edges is not None:
            labels = labels if labels.is_floating_point() else labels.double()
            return torch.bucketize(labels, self.edges.to(labels.dtype))  # in the labels' precision: 2.2 is 2.2
        if labels.is_floating_point():
            raise ValueError("the labels are continuous: give edges that make classes of them")
        wrong = labels[(labels < 0) | (labels >= self.num_classes)]
        if len(wrong):
            raise ValueError(f"expected class ids from 0 to {self.num_classes - 1}, not {int(wrong[0])}")
        return labels
