"""Layer dropping, by class variability (Xie et al. 2022, https://arxiv.org/abs/2210.10041) or another score."""

from dataclasses import dataclass

from toolkit.console import show
from toolkit.evaluation.report import Report
from toolkit.modules.layer_dropping import LayerDropping
from toolkit.recipe import CompressionRecipe
from toolkit.runs.analyses import profile


@dataclass(kw_only=True)
class LayerDroppingRecipe(CompressionRecipe):
    """Drop the blocks of a network that statistics of its layers say matter least, then fine-tune what is left.

    Args:
        model: What is trained and compressed.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
    """

    model: LayerDropping

    def __post_init__(self) -> None:
        if self.data.dev_is_judged and self.model.needs_profile and self.model.score == "probe":
            raise ValueError(
                "data.dev=official with model.score=probe would choose layers on the very set that they are judged on; "
                "leave one of the two out."
            )

    def run(self) -> Report:
        """Look at the layers, choose, fine-tune the uncompressed reference, drop, train at the same budget."""
        experiment = self.experiment()
        model, layers = self.model, None
        if model.needs_profile:
            probe = model.score == "probe"
            layers = profile(experiment, model.network, model.network_name, model.statistics, probe=probe)
            splits = ("train", "dev") if probe else ("train",)
            model.selection_cost = experiment.selection_cost("layers.json", model.network, splits)
            show(layers)
        with experiment.stage():
            model.adopt(model.choose(layers))  # What cannot be cut is refused before anything is trained.
        reference = self.train_reference(experiment)
        return experiment.report(reference, experiment.train(self.model, self.name or "layer_dropping"))


recipe = LayerDroppingRecipe
