"""Evaluation of a network that was fine-tuned, and perhaps compressed, before."""

from dataclasses import dataclass
from pathlib import Path

from toolkit.evaluation.report import Report
from toolkit.modules.stored_network import StoredNetwork
from toolkit.recipe import Recipe


@dataclass(kw_only=True)
class EvaluationRecipe(Recipe):
    """Judge a stored network on a task as it is: scores, predictions and costs, as the other recipes report them.

    Args:
        model: The network.
    """

    model: StoredNetwork

    def run(self) -> Report:
        """Judge, report."""
        experiment = self.experiment()
        return experiment.report(experiment.measure(Path(self.model.network_name), self.name or "evaluation"))


recipe = EvaluationRecipe
