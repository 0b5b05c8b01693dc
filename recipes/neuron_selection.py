"""Neuron selection (Dalvi et al. 2020, https://arxiv.org/abs/2004.04010)."""

from dataclasses import dataclass

from toolkit.console import show
from toolkit.evaluation.report import Report
from toolkit.modules.neuron_selection import NeuronSelection, stages_table
from toolkit.recipe import CompressionRecipe


@dataclass(kw_only=True)
class NeuronSelectionRecipe(CompressionRecipe):
    """Select the few neurons of the lower layers that a task needs, and deploy them with a linear head.

    Args:
        model: What is looked at, and how neurons are selected.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one.
    """

    model: NeuronSelection

    def __post_init__(self) -> None:
        if self.data.dev_is_judged:
            raise ValueError(
                "data.dev=official would select neurons on the very set that they are judged on; leave it out."
            )

    def run(self) -> Report:
        """Fine-tune the uncompressed reference, extract hidden states, select, deploy."""
        experiment = self.experiment()
        reference = self.train_reference(experiment)
        folder = self.reference or experiment.output / "reference"
        selected = experiment.build(
            lambda: self.model.select(self.data, experiment.output, folder, self.trainer),
            self.name or "neuron_selection",
        )
        report = experiment.report(reference, selected)
        show(stages_table(selected.extras["neurons"], self.data.task.metrics[0]))
        return report


recipe = NeuronSelectionRecipe
