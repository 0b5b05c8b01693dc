"""Neuron selection (Dalvi et al. 2020, https://arxiv.org/abs/2004.04010)."""

from dataclasses import dataclass

from toolkit.console import show
from toolkit.evaluation.report import Report
from toolkit.modules.fine_tuning import FineTuning
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
        """Fine-tune the uncompressed reference, and a network whose zeros are held; extract states, select, deploy."""
        experiment = self.experiment()
        reference = self.train_reference(experiment)
        folder = self.reference or experiment.output / "reference"
        rows = [reference]
        if self.trains_sparse():
            # The reference is uncompressed: neurons of it would bring back the zeros that the network came with.
            sparse = FineTuning(self.data.task, self.model.network_name, self.model.training_options)
            folder = experiment.output / "held_zeros"
            rows.append(experiment.train(sparse, "held_zeros", "held_zeros"))
        selected = experiment.build(
            lambda: self.model.select(self.data, experiment.output, folder, self.trainer),
            self.name or "neuron_selection",
        )
        report = experiment.report(*rows, selected)
        show(stages_table(selected.extras["neurons"], self.data.task.metrics[0]))
        return report

    def trains_sparse(self) -> bool:
        """Whether the neurons are those of a network that is fine-tuned with the zeros that it came with."""
        held = self.model.held.pruned.values()  # Empty without `training.hold_zeros`.
        return self.model.fine_tunes and any(bool(zeros.any()) for zeros in held)


recipe = NeuronSelectionRecipe
