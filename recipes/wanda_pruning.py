"""Pruning by weights and activations (Sun et al. 2023, https://arxiv.org/abs/2306.11695)."""

from dataclasses import dataclass

from toolkit.evaluation.report import Report
from toolkit.modules.wanda_pruning import WandaPruning
from toolkit.recipe import CompressionRecipe


@dataclass(kw_only=True)
class WandaPruningRecipe(CompressionRecipe):
    """Prune the weights of least magnitude times input norm, once by default, then recover (Wanda).

    Args:
        model: What is trained and pruned.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
    """

    model: WandaPruning

    def run(self) -> Report:
        """Fine-tune the uncompressed reference, then prune while fine-tuning at the same budget."""
        experiment = self.experiment()
        reference = self.train_reference(experiment)
        return experiment.report(reference, experiment.train(self.model, self.name or "wanda_pruning"))


recipe = WandaPruningRecipe
