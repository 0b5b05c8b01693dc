"""Analysis of layers: what each holds of a task, without training the network."""

from dataclasses import dataclass

from toolkit.modules.layer_analysis import LayerAnalysis
from toolkit.recipe import Recipe
from toolkit.runs.analyses import profile
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
        model = self.model
        return profile(self.experiment(), model.network, model.network_name, model.statistics, probe=model.probe)


recipe = LayerAnalysisRecipe
