"""Masked language modelling (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) in place of a labelled task."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torchmetrics import MetricCollection
from transformers import PreTrainedModel

from toolkit.data.text import MASKED_LM
from toolkit.evaluation.masked_lm import MaskedTokens
from toolkit.models.inputs import network_inputs
from toolkit.models.loading import load_masked_lm
from toolkit.models.masked_head import masked_positions
from toolkit.modules.distillation import Distillation
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.modules.training import Training
from toolkit.tasks import IGNORED, Task


class MaskedLanguageModelling(FineTuning):
    """Go on with the pre-training of an encoder: predict masked tokens, by a head that is tied to the embeddings.

    It is a tagging task, whose tags are the tokens of the vocabulary; loss, optimizer, schedule, distillation and
    resumption are those of fine-tuning. Behind a pruning module in a list of base classes, it makes that module prune
    while pre-training: the module's constructor calls this one for the network.

    Args:
        task: ``Text.task``.
        network: An encoder: a name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra. A masked
            language model head that it does not have starts from random numbers.
        training: How the weights are trained.
        distillation: What is learned from another masked language model beside the masked tokens.

    Raises:
        ValueError: If the task is another one, or the head cannot be tied to the embeddings.
    """

    def __init__(
        self,
        task: Task = MASKED_LM,
        network: str = "minilm",
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        if task.name != MASKED_LM.name:
            raise ValueError(
                f"Pre-training predicts masked tokens of plain text (data.Text), not the task {task.name}."
            )
        super().__init__(task, network, training, distillation)

    def load_student(self, name: str) -> PreTrainedModel:
        """The network that is trained, its head tied to the embeddings.

        Args:
            name: On the hub, of a folder, or ``minilm``.

        Raises:
            ValueError: If it cannot be tied.
        """
        network = load_masked_lm(name, dropout=self.training_options.dropout)
        tie_head(network)
        return network

    def load_teacher(self, name: str) -> PreTrainedModel:
        """Another masked language model.

        Args:
            name: On the hub, or of a folder.

        Raises:
            ValueError: If it has no head, of which nothing could be learned.
        """
        return load_masked_lm(name, trained=True)

    def make_metrics(self) -> dict[str, MetricCollection]:
        """How many of the masked tokens are restored, and how likely they are, on the text that is held out."""
        return {"dev": MetricCollection([MaskedTokens(sync_on_compute=False)])}

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the masked tokens and, with a teacher, of its logits and hidden states.

        Args:
            batch: Inputs of the network, and ``labels`` (B, T), -100 where nothing was masked.

        Returns:
            A scalar in float32; zero where the batch, of a few short rows, has no masked token.
        """
        masked = batch["labels"] != IGNORED
        if not masked.any():
            self.shares(batch["labels"].new_empty(0), batch["attention_mask"])  # The other processes wait for it.
            return self.network(**network_inputs(batch)).logits.float().sum() * 0.0  # type: ignore[no-any-return]
        with ExitStack() as stack:
            for network in (self.network, *self._teacher):
                stack.enter_context(masked_positions(network, masked))
            return super().loss(batch)

    def _score(self, batch: Mapping[str, Tensor], split: str) -> None:
        with masked_positions(self.network, batch["labels"] != IGNORED):
            logits = self.network(**network_inputs(batch)).logits
        self.metrics[split].to(self.device).update(logits, batch["labels"])


class ProximalPretraining(ProximalPruning, MaskedLanguageModelling):
    """Reweighted proximal pruning with the loss of masked tokens: one pattern for all tasks (Guo et al. 2019)."""


class MagnitudePretraining(MagnitudePruning, MaskedLanguageModelling):
    """Magnitude or curvature pruning with the loss of masked tokens, the baseline of the same budget."""


def tie_head(network: PreTrainedModel) -> None:
    """Make the output layer of a masked language model share the matrix of the token embeddings.

    DeBERTa-v2's own head (``legacy=false``) has no output layer: it is given the embeddings, and is tied by that.

    Args:
        network: With its head; most come with it tied.

    Raises:
        ValueError: If it cannot be tied.
    """

    def is_tied() -> bool:
        head: Any = network.get_output_embeddings()
        embeddings: Any = network.get_input_embeddings().weight
        if isinstance(head, nn.Module) and head.weight is embeddings:
            return True
        encoder = {id(weight) for weight in network.base_model.parameters()}
        beside = [weight for weight in network.parameters() if weight.ndim > 1 and id(weight) not in encoder]
        return not any(len(embeddings) in weight.shape for weight in beside)

    if not is_tied():
        network.config.tie_word_embeddings = True
        network.tie_weights()
    if not is_tied():
        raise ValueError(
            f"The head of {type(network).__name__} has a matrix of its own over the vocabulary, which cannot be tied "
            "to its embeddings; give an encoder such as BERT, RoBERTa, ELECTRA or ModernBERT."
        )
