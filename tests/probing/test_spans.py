"""Spans of rows, as seqeval scores them, and selections that they decide."""

from typing import Any

import numpy as np
import pytest
import torch
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from toolkit.metrics import SpanF1
from toolkit.probing.layers import ArrayStates
from toolkit.probing.selection import select_neurons
from toolkit.probing.spans import SpanScore

LABELS = ["B-X", "I-X", "B-Y", "I-Y", "O"]


class Sentences(ArrayStates):
    """Rows of sentences of four words."""

    @property
    def sentences(self) -> np.ndarray:
        return np.arange(len(self.labels)) // 4


def states(seed: int, rows: int = 400) -> Sentences:
    """One neuron of eight knows what begins a span, another what continues one."""
    draw = np.random.default_rng(seed)
    labels = draw.choice(5, rows, p=[0.3, 0.25, 0.1, 0.05, 0.3])
    neurons = draw.normal(size=(rows, 2, 4)).astype(np.float32)
    neurons[:, 0, 1] += 5 * labels
    neurons[:, 1, 2] += 5 * (labels % 2)
    return Sentences(neurons, labels)


@pytest.mark.parametrize("seed", range(5))
def test_equals_seqeval(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    outputs, targets = torch.randn(300, 5, generator=draw), torch.randint(5, (300,), generator=draw)
    sentences = torch.randint(0, 2, (300,), generator=draw).cumsum(0)
    words = torch.unique_consecutive(sentences, return_counts=True)[1].tolist()
    true, found = (
        [[LABELS[label] for label in part] for part in rows.split(words)] for rows in (targets, outputs.argmax(-1))
    )
    expected = f1_score(true, found, mode="strict", scheme=IOB2)
    assert SpanScore(LABELS)(outputs, targets, sentences) == pytest.approx(expected)


def test_a_span_ends_with_its_sentence() -> None:
    outputs, targets = torch.eye(5)[[0, 1, 4]], torch.tensor([0, 1, 4])
    assert SpanScore(LABELS)(outputs, targets, torch.tensor([0, 0, 0])) == 1.0
    metric = SpanF1(LABELS)
    metric.update(torch.tensor([[0, 1, 4]]), torch.tensor([[0, 4, 4]]))
    # The second word continues the first one's span in the same sentence alone.
    assert SpanScore(LABELS)(outputs, torch.tensor([0, 4, 4]), torch.tensor([0, 1, 1])) == 1.0
    assert SpanScore(LABELS)(outputs, torch.tensor([0, 4, 4]), torch.tensor([0, 0, 0])) == metric.compute() == 0.0


def test_a_selection_is_decided_by_spans() -> None:
    train, dev, test = (states(seed) for seed in range(3))
    options: dict[str, Any] = {"num_classes": 5, "penalties": (1e-2,), "delta": 0.3, "layer_delta": 0.15}
    selected = select_neurons(train, dev, test, ranking="norm", score=SpanScore(LABELS), **options)
    assert 1 in selected.neurons.tolist()
    outputs = selected.probe.logits(torch.from_numpy(dev.states.reshape(400, -1))[:, selected.neurons])
    words = outputs.argmax(-1).split(4)
    expected = f1_score(
        [[LABELS[label] for label in part] for part in dev.labels.reshape(-1, 4)],
        [[LABELS[label] for label in part] for part in words], mode="strict", scheme=IOB2,
    )  # fmt: skip
    assert selected.stages[-1].dev == pytest.approx(expected)


def test_rows_without_sentences_cannot_be_scored_by_spans() -> None:
    plain = ArrayStates(np.zeros((4, 1, 2), np.float32), np.zeros(4))
    with pytest.raises(ValueError, match="does not know those of its rows"):
        select_neurons(plain, plain, num_classes=5, score=SpanScore(LABELS))
