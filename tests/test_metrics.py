"""The metrics, compared with scikit-learn, SciPy and seqeval."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from toolkit.metrics import Accuracy, Correlation, MatthewsCorrelation, SpanF1, task_metrics
from toolkit.tasks import TASKS

TAGS = ("I-B", "O", "B-A", "I-A", "B-B", "I-C", "B-c-d")  # no order, a type without B, a type with a dash

# Sentences of pairs of predicted and true tags; mostly nonsense, as a damaged network predicts it.
pairs = st.lists(st.tuples(st.sampled_from(range(len(TAGS))), st.sampled_from(range(len(TAGS)))), max_size=12)


def strict_f1(predicted: list[list[str]], true: list[list[str]]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of 0/0 and of types it does not see
        return float(seqeval_f1(true, predicted, mode="strict", scheme=IOB2, average="micro", zero_division=0))


def padded(sentences: list[list[int]]) -> torch.Tensor:
    width = max((len(sentence) for sentence in sentences), default=0)
    rows = [[*sentence, *[-100] * (width - len(sentence))] for sentence in sentences]
    return torch.tensor(rows, dtype=torch.long).reshape(len(sentences), width)


@given(st.lists(pairs, min_size=1, max_size=5))
def test_span_f1_is_that_of_seqeval(sentences: list[list[tuple[int, int]]]) -> None:
    predicted = [[pair[0] for pair in sentence] for sentence in sentences]
    true = [[pair[1] for pair in sentence] for sentence in sentences]
    metric = SpanF1(TAGS)
    metric.update(padded(predicted), padded(true))
    names = [[[TAGS[tag] for tag in tags] for tags in side if tags] for side in (predicted, true)]
    expected = strict_f1(*names) if names[0] else 0.0
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("predicted", "true"),
    [
        (["O", "O"], ["O", "O"]),
        (["I-A", "I-A"], ["B-A", "I-A"]),
        (["B-A", "B-A"], ["B-A", "I-A"]),
        (["B-A", "I-B"], ["B-A", "O"]),
        (["B-A", "I-A"], ["B-B", "I-B"]),
        (["B-A", "O", "I-A"], ["B-A", "O", "O"]),
        (["B-A"], ["B-A"]),
    ],
)
def test_span_f1_of_degenerate_sentences(predicted: list[str], true: list[str]) -> None:
    metric = SpanF1(TAGS)
    metric.update(*(torch.tensor([[TAGS.index(tag) for tag in tags]]) for tags in (predicted, true)))
    assert metric.compute().item() == pytest.approx(strict_f1([predicted], [true]))


def test_spans_end_with_their_sentence_and_skip_positions_without_a_word() -> None:
    begin, inside, outside = (TAGS.index(tag) for tag in ("B-A", "I-A", "O"))
    true = torch.tensor([[-100, begin, -100, inside, -100], [-100, inside, outside, -100, -100]])
    predicted = torch.where(true == -100, begin, true)  # what stands where no word is must not matter
    metric = SpanF1(TAGS)
    metric.update(predicted, true)
    assert [int(count) for count in (metric.true_positives, metric.predicted, metric.true)] == [1, 1, 1]


def test_batches_and_order_do_not_matter_to_span_f1() -> None:
    random = torch.Generator().manual_seed(0)
    predicted, true = (torch.randint(len(TAGS), (40, 9), generator=random) for _ in range(2))
    whole, parts = SpanF1(TAGS), SpanF1(TAGS)
    whole.update(predicted, true)
    for row in torch.randperm(40, generator=random):
        parts.update(predicted[row : row + 1], true[row : row + 1])
    assert whole.compute() == parts.compute()


def test_a_prediction_that_is_no_label_is_an_error() -> None:
    begin, outside = TAGS.index("B-A"), TAGS.index("O")
    true = torch.tensor([[begin, outside, begin]])
    span, accuracy = SpanF1(TAGS), Accuracy()
    for metric in (span, accuracy):
        metric.update(torch.tensor([[begin, -1, -1]]), true)
    assert span.compute().item() == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert accuracy.compute().item() == pytest.approx(1 / 3)


def test_span_f1_needs_iob2_labels() -> None:
    with pytest.raises(ValueError, match="'NOUN'"):
        SpanF1(["NOUN", "VERB"])


@given(
    st.integers(2, 4).flatmap(
        lambda labels: st.tuples(
            st.just(labels),
            st.lists(st.tuples(*[st.integers(0, labels - 1)] * 2), min_size=1, max_size=30),
        )
    )
)
def test_classification_metrics_are_those_of_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    labels, rows = case
    predicted, true = (np.array(side) for side in zip(*rows, strict=True))
    task = replace(TASKS["cola"], labels=tuple("abcd"[:labels]), values={})
    if labels == 2:
        task = replace(task, metrics=("accuracy", "f1", "matthews_correlation"))
    metrics = task_metrics(task)
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), labels).float()
    for start in range(0, len(rows), 7):
        metrics.update(logits[start : start + 7], torch.tensor(true[start : start + 7]))
    scores = metrics.compute()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of a single label
        expected = {
            "accuracy": accuracy_score(true, predicted),
            "matthews_correlation": matthews_corrcoef(true, predicted),
        }
        if labels == 2:
            expected["f1"] = f1_score(true, predicted, zero_division=0)
    assert {name: score.item() for name, score in scores.items()} == pytest.approx(expected, abs=1e-6)


def test_matthews_correlation_of_a_constant_prediction_is_zero() -> None:
    metric = MatthewsCorrelation(2)
    metric.update(torch.ones(10, dtype=torch.long), torch.tensor([1] * 7 + [0] * 3))
    assert metric.compute() == 0


@pytest.mark.parametrize("ranks", [False, True])
def test_correlations_are_those_of_scipy(ranks: bool) -> None:
    random = np.random.default_rng(0)
    for size in (2, 3, 17, 1500):
        true = random.integers(0, 26, size) / 5  # ties
        true[:2] = [0.0, 5.0]
        predicted = np.round(true + random.normal(size=size), 1) + 1000
        metric = Correlation(ranks=ranks)
        for start in range(0, size, 64):
            values = torch.tensor(predicted[start : start + 64], dtype=torch.float32)
            metric.update(values[:, None], torch.tensor(true[start : start + 64], dtype=torch.float32))
        expected = (spearmanr if ranks else pearsonr)(predicted.astype(np.float32), true.astype(np.float32))[0]
        assert metric.compute().item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("ranks", [False, True])
@pytest.mark.parametrize("constant", [0.0, 0.1, 2.7])
def test_correlation_with_a_constant_is_zero(ranks: bool, constant: float) -> None:
    metric = Correlation(ranks=ranks)
    metric.update(torch.full((7,), constant), torch.arange(7.0))
    assert metric.compute() == 0


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.labels or task.kind == "regression"])
def test_every_task_has_its_metrics_under_their_names(name: str) -> None:
    task = TASKS[name]
    metrics = task_metrics(task, sync_on_compute=False)
    assert set(metrics) == set(task.metrics)
    assert not any(metric.sync_on_compute for metric in metrics.values())
    random = torch.Generator().manual_seed(0)
    batch: tuple[torch.Tensor, torch.Tensor]
    if task.kind == "regression":
        batch = torch.rand(8, generator=random), torch.rand(8, generator=random)
    elif task.kind == "classification":
        batch = torch.rand(8, task.num_labels, generator=random), torch.arange(8) % task.num_labels
    else:
        batch = torch.randint(task.num_labels, (4, 6), generator=random), torch.randint(task.num_labels, (4, 6))
    metrics.update(*batch)
    for score in metrics.compute().values():
        assert score.ndim == 0
        assert score.isfinite()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (TASKS["xpos"], "labels of task 'xpos' are not known yet"),
        (replace(TASKS["upos"], metrics=("span_f1",)), "needs IOB2 labels"),
    ],
)
def test_metrics_that_do_not_fit_are_errors(task: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task_metrics(task)


@pytest.mark.parametrize("ranks", [False, True])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_correlation_of_what_is_no_number_is_none(ranks: bool, value: float) -> None:
    metric = Correlation(ranks=ranks)
    metric.update(torch.tensor([0.1, value, 0.3]), torch.tensor([0.0, 1.0, 2.0]))
    assert metric.compute().isnan()
