"""Magnitude and curvature pruning: the baselines of proximal pruning at the same sparsity and budget."""

from dataclasses import dataclass

from toolkit.evaluation.report import Report
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.recipe import CompressionRecipe


@dataclass(kw_only=True)
class MagnitudePruningRecipe(CompressionRecipe):
    """Prune the weights of least magnitude or curvature, once, in rounds or gradually, then recover.

    Args:
        model: What is trained and pruned.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
    """

    model: MagnitudePruning

    def run(self) -> Report:
        """Fine-tune the uncompressed reference, then prune while fine-tuning at the same budget."""
        experiment = self.experiment()
        reference = self.train_reference(experiment)
        return experiment.report(reference, experiment.train(self.model, self.name or "magnitude_pruning"))


recipe = MagnitudePruningRecipe
