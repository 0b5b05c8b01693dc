"""A network that was fine-tuned before, here or elsewhere."""

from lightning import LightningModule

from toolkit.models.loading import load_network
from toolkit.tasks import Task


class StoredNetwork(LightningModule):
    """A network with a head for the task, which is judged as it is.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``). The head's labels are matched by
            their names; their order does not matter.
        network: Folder of the network, of this toolkit or of `transformers`.

    Raises:
        ValueError: If the network has no head with the task's labels.
    """

    def __init__(self, task: Task, network: str) -> None:
        super().__init__()
        self.network = load_network(network, task, trained=True)
        self.network_name = network
