"""Fine-tuning: the uncompressed reference of every other recipe."""

from dataclasses import dataclass

from toolkit.evaluation.report import Report
from toolkit.modules.fine_tuning import FineTuning
from toolkit.recipe import Recipe


@dataclass(kw_only=True)
class FineTuningRecipe(Recipe):
    """Fine-tune a pretrained network on a task, uncompressed: what the other recipes are compared with."""

    model: FineTuning

    def run(self) -> Report:
        """Train, evaluate, save, report."""
        experiment = self.experiment()
        return experiment.report(experiment.train(self.model, "fine_tuning"))


recipe = FineTuningRecipe
