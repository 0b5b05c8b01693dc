"""Recipes that prune while pre-training on plain text."""

from dataclasses import dataclass, replace
from functools import partial

from toolkit.data import Text
from toolkit.evaluation.masked_lm import judge_masked_lm
from toolkit.evaluation.report import Report, Row
from toolkit.models.loading import load_masked_lm
from toolkit.modules.masked_lm import MaskedLanguageModelling
from toolkit.recipe import TrainingRecipe
from toolkit.runs.experiment import Experiment


@dataclass(kw_only=True)
class PretrainingRecipe(TrainingRecipe):
    """Prune an encoder while it goes on pre-training on plain text, and compare it with itself before.

    Args:
        model: What is trained and pruned.
        data: The text.
        dense: Also train the network at the same budget without pruning. It tells what pruning costs where the network
            comes without a masked language model head, so that it can restore nothing before.
    """

    model: MaskedLanguageModelling
    data: Text  # type: ignore[assignment]
    dense: bool = False

    def experiment(self) -> Experiment:
        """Open the folder of the run, where networks are judged on the text that is held out.

        Raises:
            FileExistsError: If it holds something else.
            ValueError: If the network as it came shall teach, but has no head for masked tokens.
        """
        if self.model.distillation.teacher == "reference" and not self.dense:
            try:
                load_masked_lm(self.model.network_name, trained=True)
            except ValueError as error:
                raise ValueError(
                    "model.distillation.teacher=reference is the network as it came, which cannot teach masked tokens: "
                    f"{error} Or set dense=true, which makes the network that is trained without pruning the teacher."
                ) from error
        experiment = super().experiment()
        experiment.judging = partial(judge_masked_lm, data=self.data)
        return experiment

    def run(self) -> Report:
        """Judge the network as it is, train it with and without pruning, judge again on the same masks."""
        experiment = self.experiment()
        rows = [experiment.build(lambda: (self.model.network, {}), "before", "reference")]
        if self.dense:
            rows.append(self.train_dense(experiment))
        if self.model.distillation.teacher == "reference":
            teacher = experiment.output / ("dense" if self.dense else "reference")
            self.model.distillation = replace(self.model.distillation, teacher=str(teacher))
        rows.append(experiment.train(self.model, self.name or "pretraining"))
        return experiment.report(*rows)

    def train_dense(self, experiment: Experiment) -> Row:
        """Row of the network after the same training without pruning."""
        options = replace(self.model.training_options, hold_zeros=False)
        dense = MaskedLanguageModelling(self.data.task, self.model.network_name, options)
        return experiment.train(dense, "masked_language_modelling", "dense")
