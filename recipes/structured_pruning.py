"""Structured pruning: attention heads, neurons of the feed-forward layers and hidden channels are removed."""

from dataclasses import dataclass

from toolkit.evaluation.report import Report
from toolkit.modules.structured_pruning import StructuredPruning
from toolkit.recipe import CompressionRecipe


@dataclass(kw_only=True)
class StructuredPruningRecipe(CompressionRecipe):
    """Remove the heads, neurons and hidden channels that matter least while fine-tuning, and recover with what is left.

    Args:
        model: What is trained and pruned.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
    """

    model: StructuredPruning

    def run(self) -> Report:
        """Fine-tune the uncompressed reference, then prune while fine-tuning at the same budget."""
        experiment = self.experiment()
        reference = self.train_reference(experiment)
        return experiment.report(reference, experiment.train(self.model, self.name or "structured_pruning"))


recipe = StructuredPruningRecipe
