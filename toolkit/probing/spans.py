"""Spans of labelled rows: the score of a chunker or an entity tagger that is a probe on single words."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from toolkit.metrics import SpanF1
from toolkit.tasks import IGNORED


class SpanScore:
    """F1 of spans in strict IOB2 (:class:`toolkit.metrics.SpanF1`) of rows that know their sentences.

    Args:
        labels: Names of the classes.

    Example:
        >>> score = SpanScore(["B-X", "I-X", "O"])
        >>> outputs = torch.eye(3)[[0, 1, 0, 2]]  # a span of two words; one of one word in the next sentence
        >>> score(outputs, torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1]))
        0.5
    """

    needs_sentences = True

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)

    def __call__(self, outputs: Tensor, targets: Tensor, sentences: Tensor) -> float:
        """Score rows.

        Args:
            outputs: ``(R, C)``.
            targets: ``(R,)``.
            sentences: ``(R,)``, number of the sentence of each row; rows of a sentence stand together.
        """
        metric = SpanF1(self.labels, sync_on_compute=False)  # Each process scores its own rows.
        words = torch.unique_consecutive(sentences, return_counts=True)[1].tolist()
        found, wanted = (torch.split(rows, words) for rows in (outputs.argmax(-1), targets))
        metric.update(
            pad_sequence([*found], batch_first=True), pad_sequence([*wanted], batch_first=True, padding_value=IGNORED)
        )
        return float(metric.compute())
