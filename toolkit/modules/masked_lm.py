"""Masked language modelling (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) in place of a labelled task."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import MetricCollection
from transformers import PreTrainedModel

from toolkit.data.text import MASKED_LM
from toolkit.data.tokenization import fingerprint
from toolkit.evaluation.masked_lm import MaskedTokens
from toolkit.models.encoder import load_masked_lm, load_tokenizer, prunable_weights
from toolkit.modules.distillation import Distillation
from toolkit.modules.fine_tuning import IGNORED, FineTuning, Training, network_inputs
from toolkit.modules.held_zeros import HeldZeros
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.pruning import masks
from toolkit.tasks import Task


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
        # Not fine-tuning's own constructor, which loads a network with a head for labels.
        super(FineTuning, self).__init__()
        if task.name != MASKED_LM.name:
            raise ValueError(
                f"Pre-training predicts masked tokens of plain text (data.Text), not the task {task.name}."
            )
        self.task = task
        self.training_options = training
        self.distillation = distillation
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # A fresh head depends on the seed, not on what was built before it.
            self.network: PreTrainedModel = load_masked_lm(network)
        tie_head(self.network)
        if training.dropout is not None:
            set_dropout(self.network, training.dropout)
        self.network_name = network
        self.held = HeldZeros({})
        if training.hold_zeros:
            weights = prunable_weights(self.network)
            self.held = HeldZeros(weights, masks.zeros(weights))
            if not masks.sparsity(weights):
                rank_zero_warn(f"training.hold_zeros holds nothing: the blocks of {network} have no zeros.")
        self.num_steps = 0
        self.metrics = {"dev": MetricCollection([MaskedTokens(sync_on_compute=False)])}
        self._loader_states: list[dict[str, Any]] = []
        self._teacher: list[PreTrainedModel] = []
        if distillation.teacher not in (None, "reference"):
            self._load_teacher(distillation.teacher)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the masked tokens and, with a teacher, of its logits and hidden states.

        Args:
            batch: Inputs of the network, and ``labels`` (B, T), -100 where nothing was masked.

        Returns:
            A scalar in float32; zero where the batch, of a few short rows, has no masked token.
        """
        if not (batch["labels"] != IGNORED).any():
            self.shares(batch["labels"].new_empty(0), batch["attention_mask"])  # The other processes wait for it.
            return self.network(**network_inputs(batch)).logits.float().sum() * 0.0  # type: ignore[no-any-return]
        return super().loss(batch)

    def _load_teacher(self, name: str) -> None:
        if fingerprint(load_tokenizer(name)) != fingerprint(load_tokenizer(self.network_name)):
            raise ValueError(
                f"The teacher {name} has another tokenizer than {self.network_name}, so it would read other words; "
                "give a teacher of the same family."
            )
        self._teacher.append(load_masked_lm(name).eval().requires_grad_(False))

    def _score(self, batch: Mapping[str, Tensor], split: str) -> None:
        logits = self.network(**network_inputs(batch)).logits
        self.metrics[split].to(self.device).update(logits, batch["labels"])


class ProximalPretraining(ProximalPruning, MaskedLanguageModelling):
    """Reweighted proximal pruning with the loss of masked tokens: one pattern for all tasks (Guo et al. 2019)."""


class MagnitudePretraining(MagnitudePruning, MaskedLanguageModelling):
    """Magnitude or curvature pruning with the loss of masked tokens, the baseline of the same budget."""


def tie_head(network: PreTrainedModel) -> None:
    """Make the output layer of a masked language model share the matrix of the token embeddings.

    Args:
        network: With its head; most come with it tied.

    Raises:
        ValueError: If it cannot be tied.
    """

    def is_tied() -> bool:
        head = network.get_output_embeddings()
        return isinstance(head, nn.Module) and head.weight is network.get_input_embeddings().weight

    if not is_tied():
        network.config.tie_word_embeddings = True
        network.tie_weights()
    if not is_tied():
        raise ValueError(
            f"The head of {type(network).__name__} is not tied to its embeddings, and cannot be; give an encoder such "
            "as BERT, RoBERTa, ELECTRA or ModernBERT."
        )


def set_dropout(network: nn.Module, dropout: float) -> None:
    """Replace every dropout probability of a network, also of the layers that keep it as a plain number.

    Args:
        network: Any network of `transformers`.
        dropout: The probability.
    """
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, dropout)
