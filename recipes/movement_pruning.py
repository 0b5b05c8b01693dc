"""Movement pruning and soft movement pruning (Sanh et al. 2020, https://arxiv.org/abs/2005.07683)."""

from dataclasses import dataclass

from toolkit.evaluation.report import Report
from toolkit.modules.movement_pruning import MovementPruning
from toolkit.recipe import CompressionRecipe


@dataclass(kw_only=True)
class MovementPruningRecipe(CompressionRecipe):
    """Prune the weights that move towards zero while fine-tuning, by learned scores, then recover.

    Args:
        model: What is trained and pruned.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
    """

    model: MovementPruning

    def run(self) -> Report:
        """Fine-tune the uncompressed reference, then prune while fine-tuning at the same budget."""
        experiment = self.experiment()
        reference = self.train_reference(experiment)
        return experiment.report(reference, experiment.train(self.model, self.name or "movement_pruning"))


recipe = MovementPruningRecipe
