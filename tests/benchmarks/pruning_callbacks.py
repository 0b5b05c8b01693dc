"""The pruners that PyTorch and Lightning bring, as users put them into a fine-tuning, for sparsity_baselines.py.

Both hide weights behind masks (``weight_orig`` times ``weight_mask``), and both count a second pruning on what the
first has left; :func:`of_the_rest` turns shares of all weights into that.
"""

from collections.abc import Callable
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelPruning
from torch import nn
from torch.nn.utils import prune

from toolkit.models.encoder import prunable_weights
from toolkit.modules.fine_tuning import FineTuning
from toolkit.pruning.schedules import cubic_sparsity

Targets = list[tuple[nn.Module, str]]


def targets(module: FineTuning) -> Targets:
    """The layers of the weights that this toolkit prunes."""
    return [
        (module.network.get_submodule(path), attribute)
        for path, _, attribute in (name.rpartition(".") for name in prunable_weights(module.network))
    ]


def of_the_rest(wanted: float, reached: float) -> float:
    """What share of the weights that are left has to go, so that of all weights the share ``wanted`` is gone.

    Args:
        wanted: Sparsity afterwards.
        reached: Sparsity before, below 1.

    Example:
        >>> round(of_the_rest(0.8, 0.6), 6)
        0.5
    """
    return max(0.0, (wanted - reached) / (1 - reached))


def lightning_pruning(module: FineTuning, sparsity: float, rounds: int) -> ModelPruning:
    """Lightning's callback: the smallest weights of all layers together, at the end of each of the first epochs.

    Args:
        module: What is trained.
        sparsity: After the last round.
        rounds: Of equal steps of sparsity, one at the end of each epoch; 1 prunes once, at the end of the second.
    """
    last = 1 if rounds == 1 else rounds - 1

    def due(epoch: int) -> bool:
        return epoch == 1 if rounds == 1 else epoch < rounds

    def amount(epoch: int) -> float:
        done = 0 if rounds == 1 else epoch
        return of_the_rest(sparsity * (done + 1) / rounds, sparsity * done / rounds) if epoch <= last else 0.0

    return ModelPruning(
        "l1_unstructured",
        parameters_to_prune=targets(module),
        amount=amount,
        apply_pruning=due,
        use_global_unstructured=True,
        use_lottery_ticket_hypothesis=False,
        prune_on_train_epoch_end=True,
    )


class TorchPruning(Callback):
    """``torch.nn.utils.prune.global_unstructured`` along a schedule, the masks made permanent at the end.

    Args:
        layers: What is pruned.
        wanted: Sparsity after so many of all steps; where it is no more than before, nothing is pruned.
    """

    def __init__(self, layers: Targets, wanted: Callable[[int, int], float]) -> None:
        self.layers = layers
        self.wanted = wanted
        self.reached = 0.0

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        wanted = self.wanted(trainer.global_step, int(trainer.estimated_stepping_batches))
        if wanted > self.reached:
            amount = of_the_rest(wanted, self.reached)
            prune.global_unstructured(self.layers, pruning_method=prune.L1Unstructured, amount=amount)
            self.reached = wanted

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for layer, name in self.layers:
            prune.remove(layer, name)


def once(sparsity: float) -> Callable[[int, int], float]:
    """Everything when 60 % of the steps are done, which is when the recipes of this toolkit fix their pattern."""
    return lambda step, steps: sparsity if step >= round(0.6 * steps) else 0.0


def gradually(sparsity: float, interval: int = 10) -> Callable[[int, int], float]:
    """Along the cubic curve, within the same window as the recipes of this toolkit."""

    def wanted(step: int, steps: int) -> float:
        start, end = round(0.1 * steps), round(0.6 * steps)
        if step >= end:
            return sparsity
        due = step > start and (step - start) % interval == 0
        return cubic_sparsity((step - start) / (end - start), sparsity) if due else 0.0

    return wanted
