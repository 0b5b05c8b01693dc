"""Judge a masked language model: how many masked tokens it restores, and how surprised it is by them."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric
from transformers import PreTrainedModel

from toolkit.data import Text
from toolkit.evaluation.mode import evaluation_mode
from toolkit.models.inputs import network_inputs
from toolkit.models.masked_head import masked_positions
from toolkit.tasks import IGNORED


class MaskedTokens(Metric):
    r"""Accuracy and perplexity on N masked tokens :math:`x_i`, each in its context :math:`c_i`.

    .. math::
        \text{accuracy} = \frac1N \sum_i [\arg\max_x p(x \mid c_i) = x_i] \qquad
        \text{perplexity} = \exp\Bigl(-\frac1N \sum_i \ln p(x_i \mid c_i)\Bigr)

    For a masked language model this is a pseudo-perplexity (Wang and Cho 2019, arXiv 1902.04094, section 2): it
    compares networks on the same masks, not with models that predict from the left. Both are NaN before any token.
    """

    is_differentiable = False
    full_state_update = False
    correct: Tensor
    surprise: Tensor
    tokens: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("surprise", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch of logits, (B, T, V) or those of the N masked tokens (N, V), and labels (B, T), else -100."""
        masked = labels != IGNORED
        chosen, true = (logits if logits.ndim == 2 else logits[masked]).float(), labels[masked]
        # Not in place: a metric that was reset in inference mode could not count in training any more.
        self.correct = self.correct + (chosen.argmax(-1) == true).sum()
        self.surprise = self.surprise + F.cross_entropy(chosen, true, reduction="none").double().sum()
        self.tokens = self.tokens + masked.sum()

    def compute(self) -> dict[str, Tensor]:
        """The two, as scalars in float64."""
        return {
            "accuracy": self.correct.double() / self.tokens,
            "perplexity": (self.surprise / self.tokens).exp(),
        }


@torch.inference_mode()
def judge_masked_lm(network: PreTrainedModel, data: Text) -> tuple[Mapping[str, float], Mapping[str, Any]]:
    """Judge a network on the text that is held out, in float32; the masks depend on the data's seed alone.

    Args:
        network: A network with a masked language model head; it is left in its mode and on its device.
        data: The text.

    Returns:
        The scores, ``accuracy``; and what is no share of anything: ``perplexity`` and ``masked_tokens``.

    Raises:
        ValueError: If no token of the held-out text is masked.
    """
    metric = MaskedTokens(sync_on_compute=False).to(network.device)
    judged = network
    if network.dtype != torch.float32:
        judged = copy.deepcopy(network)
        nn.Module.to(judged, torch.float32)
    with evaluation_mode(judged), torch.autocast(network.device.type, enabled=False):
        for batch in data.loader("dev"):
            inputs = {name: value.to(network.device) for name, value in network_inputs(batch).items()}
            labels = batch["labels"].to(network.device)
            with masked_positions(judged, labels != IGNORED):
                metric.update(judged(**inputs).logits, labels)
    tokens = int(metric.tokens)
    if not tokens:
        raise ValueError(
            f"none of the tokens of the {len(data.split('dev'))} rows held out is masked; raise data.dev_fraction "
            "or data.mask_fraction, or give more text"
        )
    values = {name: float(value) for name, value in metric.compute().items()}
    return {"accuracy": values["accuracy"]}, {"perplexity": values["perplexity"], "masked_tokens": tokens}
