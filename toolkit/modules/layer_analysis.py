"""A network whose layers are looked at as they are."""

from lightning import LightningModule

from toolkit.models.loading import load_network
from toolkit.statistics.profile import Profiling
from toolkit.tasks import Task


class LayerAnalysis(LightningModule):
    """A network, pretrained or fine-tuned, and how its layers are looked at; nothing is trained but linear probes.

    Args:
        task: What the layers are asked about, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        probe: Whether linear probes are trained on the layers, which takes a second pass and some minutes.
        statistics: How the layers are looked at.
    """

    def __init__(
        self, task: Task, network: str = "minilm", probe: bool = True, statistics: Profiling = Profiling()
    ) -> None:
        super().__init__()
        self.network = load_network(network, task)
        self.network_name = network
        self.probe = probe
        self.statistics = statistics
