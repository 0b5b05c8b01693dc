"""Sparse pre-training: one pattern for all tasks (Guo et al. 2019, https://arxiv.org/abs/1909.12486)."""

from dataclasses import dataclass

from toolkit.modules.masked_lm import ProximalPretraining
from toolkit.pretraining import PretrainingRecipe


@dataclass(kw_only=True)
class ProximalPretrainingRecipe(PretrainingRecipe):
    """Prune an encoder by RPP while it goes on pre-training on plain text: a universal pattern, for proximal_transfer.

    Args:
        model: What is trained and pruned.
        data: The text.
        dense: Also train the network at the same budget without pruning. It tells what pruning costs where the network
            comes without a masked language model head, so that it can restore nothing before.
    """

    model: ProximalPretraining


recipe = ProximalPretrainingRecipe
