"""Sparse pre-training by magnitude or curvature: what the pattern of proximal pre-training is compared with."""

from dataclasses import dataclass

from toolkit.modules.masked_lm import MagnitudePretraining
from toolkit.pretraining import PretrainingRecipe


@dataclass(kw_only=True)
class MagnitudePretrainingRecipe(PretrainingRecipe):
    """Prune an encoder by magnitude or curvature while it goes on pre-training: the baseline of a universal pattern.

    Args:
        model: What is trained and pruned.
        data: The text.
        dense: Also train the network at the same budget without pruning. It tells what pruning costs where the network
            comes without a masked language model head, so that it can restore nothing before.
    """

    model: MagnitudePretraining


recipe = MagnitudePretrainingRecipe
