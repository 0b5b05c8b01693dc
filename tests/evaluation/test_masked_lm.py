"""Accuracy and perplexity of masked tokens, against loops and against transformers' own loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from toolkit.data import Text
from toolkit.evaluation.masked_lm import MaskedTokens, judge_masked_lm


@pytest.fixture
def data(tiny_network: Path) -> Text:
    return Text(sentences_of=["synthetic_sentiment"], size=200, network=str(tiny_network), eval_batch_size=7)


def test_metric_is_the_mean_over_tokens_not_over_batches() -> None:
    draw = np.random.default_rng(0)
    metric, correct, surprise = MaskedTokens(), 0, []
    for rows, length in ((2, 5), (3, 9)):
        logits = draw.normal(size=(rows, length, 11)) * 3
        labels = np.where(draw.random((rows, length)) < 0.4, draw.integers(0, 11, (rows, length)), -100)
        metric.update(torch.tensor(logits), torch.tensor(labels))
        for row, place in np.argwhere(labels >= 0):
            chances = np.exp(logits[row, place]) / np.exp(logits[row, place]).sum()
            correct += int(chances.argmax() == labels[row, place])
            surprise.append(-np.log(chances[labels[row, place]]))
    computed = metric.compute()
    assert float(computed["accuracy"]) == pytest.approx(correct / len(surprise))
    assert float(computed["perplexity"]) == pytest.approx(np.exp(np.mean(surprise)), rel=1e-6)


def test_network_is_judged_as_transformers_computes_its_loss(data: Text, tiny_network: Path) -> None:
    network = AutoModelForMaskedLM.from_pretrained(tiny_network).train()
    scores, further = judge_masked_lm(network, data)
    assert network.training
    assert judge_masked_lm(network, data) == (scores, further)
    network.eval()
    losses, tokens, right = 0.0, 0, 0
    for batch in data.val_dataloader():
        batch.pop("index")
        masked = batch["labels"] != -100
        with torch.no_grad():
            output = network(**batch)
        losses += float(output.loss) * int(masked.sum())
        right += int((output.logits.argmax(-1) == batch["labels"])[masked].sum())
        tokens += int(masked.sum())
    assert further["masked_tokens"] == tokens
    assert further["perplexity"] == pytest.approx(np.exp(losses / tokens), rel=1e-5)
    assert scores == {"accuracy": pytest.approx(right / tokens)}


def test_perplexity_of_a_network_that_knows_nothing_is_the_vocabulary(data: Text, tiny_network: Path) -> None:
    network = AutoModelForMaskedLM.from_pretrained(tiny_network)
    with torch.no_grad():
        network.get_output_embeddings().weight.zero_()
        network.get_output_embeddings().bias.zero_()
    perplexity = judge_masked_lm(network, data)[1]["perplexity"]
    assert perplexity == pytest.approx(network.config.vocab_size, rel=1e-5)


def test_nothing_masked_is_an_error(tiny_network: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\n".join("abcdefghijklmnopqrst"))
    data = Text([tmp_path / "text"], network=str(tiny_network), mask_fraction=1e-6)
    with pytest.raises(ValueError, match=r"none of the tokens of the 1 rows.*raise data\.dev_fraction"):
        judge_masked_lm(AutoModelForMaskedLM.from_pretrained(tiny_network), data)
