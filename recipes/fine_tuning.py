"""Fine-tuning: the uncompressed reference of every other recipe."""

from dataclasses import dataclass

from toolkit.evaluation.report import Report
from toolkit.modules.fine_tuning import FineTuning
from toolkit.recipe import TrainingRecipe


@dataclass(kw_only=True)
class FineTuningRecipe(TrainingRecipe):
    """Fine-tune a pretrained network on a task, uncompressed: what the other recipes are compared with."""

    model: FineTuning

    def __post_init__(self) -> None:
        if self.model.distillation.teacher == "reference":
            raise ValueError("fine_tuning trains a reference and has none itself; name a teacher's folder.")

    def run(self) -> Report:
        """Train, evaluate, save, report."""
        experiment = self.experiment()
        return experiment.report(experiment.train(self.model, "fine_tuning"))


recipe = FineTuningRecipe
