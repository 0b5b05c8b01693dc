"""Analysis of layers: what each holds of a task, without training the network."""

from dataclasses import dataclass

from toolkit.modules.layer_analysis import LayerAnalysis
from toolkit.recipe import Recipe
from toolkit.statistics.profile import LayerProfile


@dataclass(kw_only=True)
class LayerAnalysisRecipe(Recipe):
    """Show what each layer of a network holds of a task: variability, influence, similarity and linear probes.

    Args:
        model: The network, and how its layers are looked at.
    """

    model: LayerAnalysis

    def run(self) -> LayerProfile:
        """Collect the statistics, draw them, and write them down."""
        experiment = self.experiment()
        return experiment.profile(
            self.model.network, self.model.network_name, self.model.statistics, probe=self.model.probe
        )


recipe = LayerAnalysisRecipe
