"""A network whose neurons are looked at as they are."""

from lightning import LightningModule

from toolkit.models.loading import load_network
from toolkit.probing.options import RedundancyOptions
from toolkit.tasks import Task


class AnalysedNetwork(LightningModule):
    """A network, pretrained or fine-tuned, and how its neurons are looked at; nothing is trained but linear probes.

    Args:
        task: What the neurons are asked about, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        redundancy: How the neurons are looked at.
    """

    def __init__(
        self, task: Task, network: str = "minilm", redundancy: RedundancyOptions = RedundancyOptions()
    ) -> None:
        super().__init__()
        self.network = load_network(network, task)
        self.network_name = network
        self.redundancy = redundancy
