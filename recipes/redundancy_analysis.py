"""Analysis of redundancy among neurons (Dalvi et al. 2020, https://arxiv.org/abs/2004.04010)."""

from dataclasses import dataclass

from toolkit.modules.redundancy_analysis import AnalysedNetwork
from toolkit.probing.analysis import RedundancyAnalysis
from toolkit.recipe import Recipe
from toolkit.runs.analyses import analyse_redundancy


@dataclass(kw_only=True)
class RedundancyAnalysisRecipe(Recipe):
    """Show how many neurons of a network repeat others, how few are enough for a task, and how rankings agree.

    Args:
        model: The network, and how its neurons are looked at.
    """

    model: AnalysedNetwork

    def run(self) -> RedundancyAnalysis:
        """Extract the features, analyse them, draw, and write everything down."""
        model = self.model
        return analyse_redundancy(self.experiment(), model.network, model.network_name, model.redundancy)


recipe = RedundancyAnalysisRecipe
