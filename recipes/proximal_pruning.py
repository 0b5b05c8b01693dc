"""Reweighted proximal pruning (Guo et al. 2019, https://arxiv.org/abs/1909.12486)."""

from dataclasses import dataclass

from toolkit.evaluation.report import Report
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.recipe import CompressionRecipe


@dataclass(kw_only=True)
class ProximalPruningRecipe(CompressionRecipe):
    """Prune weights by reweighted proximal steps while fine-tuning, then recover with the pattern fixed (RPP).

    Args:
        model: What is trained and pruned.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
    """

    model: ProximalPruning

    def run(self) -> Report:
        """Fine-tune the uncompressed reference, then prune while fine-tuning at the same budget."""
        experiment = self.experiment()
        reference = self.train_reference(experiment)
        return experiment.report(reference, experiment.train(self.model, self.name or "proximal_pruning"))


recipe = ProximalPruningRecipe
