"""Layer dropping, by class variability (Xie et al. 2022, https://arxiv.org/abs/2210.10041) or another score."""

from dataclasses import dataclass

from toolkit.evaluation.report import Report
from toolkit.experiment import show
from toolkit.modules.layer_dropping import LayerDropping
from toolkit.recipe import CompressionRecipe


@dataclass(kw_only=True)
class LayerDroppingRecipe(CompressionRecipe):
    """Drop the blocks of a network that statistics of its layers say matter least, then fine-tune what is left.

    Args:
        model: What is trained and compressed.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
    """

    model: LayerDropping

    def run(self) -> Report:
        """Look at the layers, choose, fine-tune the uncompressed reference, drop, train at the same budget."""
        experiment = self.experiment()
        profile = None
        if self.model.needs_profile:
            profile = experiment.profile(
                self.model.network, self.model.network_name, self.model.statistics, probe=self.model.score == "probe"
            )
            show(profile)
        self.model.adopt(self.model.choose(profile))  # What cannot be cut is refused before anything is trained.
        reference = self.train_reference(experiment)
        return experiment.report(reference, experiment.train(self.model, self.name or "layer_dropping"))


recipe = LayerDroppingRecipe
