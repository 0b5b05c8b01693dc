"""Quickstart: three networks of one budget in one table, without a download, in minutes on a CPU."""

from dataclasses import dataclass

from toolkit.evaluation.report import Report
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.pruning.patterns import pattern_text
from toolkit.recipe import CompressionRecipe


@dataclass(kw_only=True)
class QuickstartRecipe(CompressionRecipe):
    """Fine-tune MiniLM on a synthetic task, prune it by RPP and by magnitude at equal budget, compare.

    Args:
        model: What is trained and pruned by reweighted proximal steps; magnitude pruning takes the same options.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
    """

    model: ProximalPruning

    def run(self) -> Report:
        """Train the reference, prune in two ways, report."""
        experiment = self.experiment()
        reference = self.train_reference(experiment)
        proximal = experiment.train(self.model, "proximal_pruning")
        # What a penalty came to: of the targets, where a row tells it, and else they are all prunable weights.
        found = proximal.extras.get("sparsity_of_targets", proximal.sparsity)
        magnitude = MagnitudePruning(
            self.data.task,
            network=self.model.network_name,
            targets=self.model.targets,
            sparsity=found if self.model.sparsity is None else self.model.sparsity,
            pattern=pattern_text(self.model.pattern),
            prune_start=self.model.prune_start,
            prune_fraction=self.model.prune_fraction,
            training=self.model.training_options,
            distillation=self.model.distillation,
        )
        return experiment.report(reference, proximal, experiment.train(magnitude, "magnitude_pruning", "magnitude"))


recipe = QuickstartRecipe
