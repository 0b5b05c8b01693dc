"""Label names decide which row of a stored head belongs to which label."""

import itertools

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from toolkit.models.heads import is_placeholder, label_rows, order_rows, output_layer

LABELS = ("entailment", "neutral", "contradiction")


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_rows_lead_to_the_same_names(order: tuple[int, ...]) -> None:
    stored = {row: LABELS[label].upper() for row, label in enumerate(order)}
    rows = label_rows(stored, LABELS)
    assert rows is not None
    assert [stored[row].lower() for row in rows] == list(LABELS)


@pytest.mark.parametrize(
    "stored",
    [
        {0: "entailment", 1: "neutral"},
        {0: "entailment", 1: "neutral", 2: "contradiction", 3: "other"},
        {0: "entailment", 1: "neutral", 2: "opposite"},
        {0: "entailment", 1: "neutral", 2: "Neutral"},
        {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"},
        {},
    ],
)
def test_other_names_have_no_rows(stored: dict[int, str]) -> None:
    assert label_rows(stored, LABELS) is None


def test_case_counts_where_it_tells_labels_apart() -> None:
    assert label_rows({0: "us", 1: "US"}, ["US", "us"]) == [1, 0]


def test_placeholders() -> None:
    assert is_placeholder({0: "LABEL_0", 1: "label_1"})
    assert not is_placeholder({0: "LABEL_0", 1: "positive"})


@pytest.mark.parametrize("bias", [True, False])
def test_order_rows(bias: bool) -> None:
    layer = nn.Linear(4, 3, bias=bias)
    x = torch.randn(5, 4)
    before = layer(x)
    order_rows(layer, [2, 0, 1])
    torch.testing.assert_close(layer(x), before[:, [2, 0, 1]], rtol=0, atol=0)


def test_network_without_a_head_is_refused() -> None:
    network = BertModel(
        BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    with pytest.raises(ValueError, match="no linear output layer with 2 rows"):
        output_layer(network)
