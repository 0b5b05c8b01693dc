"""Scores against scikit-learn, SciPy, seqeval and a plain loop over single sentences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.evaluation.judging import judge, predict
from toolkit.evaluation.predictions import Predictions, score
from toolkit.models.loading import load_network

Judged = Callable[..., tuple[PreTrainedModel, TaskData]]


@torch.no_grad()
def one_by_one(network: PreTrainedModel, data: TaskData, split: str) -> list[Tensor]:
    """Logits of each row alone, in the order of the rows, ``(C,)`` or ``(T, C)``."""
    network.eval()
    rows = []
    for row in data.split(split):
        inputs = {
            name: torch.tensor([row[name]], dtype=torch.long)
            for name in ("input_ids", "attention_mask", "token_type_ids")
            if name in row
        }
        rows.append(network(**inputs).logits[0])
    return rows


@pytest.mark.parametrize("task", ["synthetic_acceptability", "synthetic_paraphrase", "synthetic_entailment"])
def test_classification(task: str, judged: Judged) -> None:
    network, data = judged(task)
    logits = torch.stack(one_by_one(network, data, "test"))
    targets = np.array(data.split("test")["labels"])
    predictions = predict(network, data, "test")
    torch.testing.assert_close(predictions.outputs, logits, atol=1e-5, rtol=1e-4)
    np.testing.assert_array_equal(predictions.targets, targets)
    np.testing.assert_array_equal(predictions.index, np.arange(len(targets)))
    labels = logits.argmax(-1).numpy()
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(targets, labels),
        "f1": sklearn.metrics.f1_score(targets, labels) if len(data.task.labels) == 2 else None,
        "matthews_correlation": sklearn.metrics.matthews_corrcoef(targets, labels),
    }
    assert judge(network, data).scores() == {
        name: pytest.approx(expected[name], abs=1e-6) for name in data.task.metrics
    }


def test_scores_stand_in_the_order_of_the_tasks_table(judged: Judged) -> None:
    network, data = judged("synthetic_entities")
    assert list(judge(network, data).scores()) == list(data.task.metrics)
    assert list(data.task.metrics) != sorted(data.task.metrics), "else the test says nothing"


def test_regression(judged: Judged) -> None:
    network, data = judged("synthetic_similarity")
    values = torch.stack(one_by_one(network, data, "test"))[:, 0]
    targets = np.array(data.split("test")["labels"])
    torch.testing.assert_close(predict(network, data, "test").outputs, values, atol=1e-5, rtol=1e-4)
    assert judge(network, data).scores() == {
        "pearson": pytest.approx(scipy.stats.pearsonr(values, targets).statistic, abs=1e-5),
        "spearman": pytest.approx(scipy.stats.spearmanr(values, targets).statistic, abs=1e-5),
    }


@pytest.mark.filterwarnings("ignore:.* seems not to be NE tag:UserWarning")
@pytest.mark.parametrize("max_length", [128, 12])  # the shorter one cuts words off, which then count as errors
def test_tagging(max_length: int, judged: Judged) -> None:
    network, data = judged("synthetic_entities", max_length=max_length)
    names = data.task.labels
    predicted, true = [], []
    for row, logits, sentence in zip(
        data.split("test"), one_by_one(network, data, "test"), data.sentences("test"), strict=True
    ):
        places = [place for place, label in enumerate(row["labels"]) if label != -100]
        found = [names[int(label)] for label in logits.argmax(-1)[places]]
        predicted.append(found + ["no tag"] * (len(sentence["tags"]) - len(found)))
        true.append(sentence["tags"])
    cut = sum(tags.count("no tag") for tags in predicted)
    assert (cut > 0) == (max_length == 12)
    flat = [tag for tags in predicted for tag in tags], [tag for tags in true for tag in tags]
    spans = [[tag if tag != "no tag" else "O" for tag in tags] for tags in predicted]
    assert judge(network, data).scores() == {
        "span_f1": pytest.approx(f1_score(true, spans, mode="strict", scheme=IOB2), abs=1e-6),
        "accuracy": pytest.approx(sklearn.metrics.accuracy_score(*flat), abs=1e-6),
    }
    predictions = predict(network, data, "test")
    assert [names[label] for label in predictions.targets] == flat[1]
    assert [names[label] if label >= 0 else "no tag" for label in predictions.outputs] == flat[0]
    assert predictions.index.tolist() == [row for row, tags in enumerate(true) for _ in tags]


def test_spans_do_not_run_across_sentences() -> None:
    task = TaskData("synthetic_entities", size=60).task
    begin, inside = task.labels.index("O") + 1, task.labels.index("O") + 2
    assert task.labels[inside] == f"I-{task.labels[begin][2:]}"
    labels = torch.tensor([begin, inside])
    one = Predictions(outputs=torch.tensor([begin, inside]), targets=labels, index=torch.tensor([0, 0]))
    assert score(task, one)["span_f1"] == 1
    # What follows a span belongs to it in the same sentence alone.
    outputs, targets = torch.tensor([begin, inside]), torch.tensor([begin, task.labels.index("O")])
    for index, wanted in (([0, 0], 0), ([0, 1], 1)):
        found = Predictions(outputs=outputs, targets=targets, index=torch.tensor(index))
        assert score(task, found)["span_f1"] == wanted


def test_further_sets_carry_their_names(tiny_data: Path, tiny_network: Path) -> None:
    data = TaskData("mnli", network=str(tiny_network), root=tiny_data)
    network = load_network(str(tiny_network), data.task)
    scores = judge(network, data).scores()
    assert list(scores) == ["accuracy", "accuracy_mismatched"]
    for name, split in zip(scores, ("test", "test_mismatched"), strict=True):
        labels = torch.stack(one_by_one(network, data, split)).argmax(-1)
        assert scores[name] == pytest.approx(sklearn.metrics.accuracy_score(data.split(split)["labels"], labels))


def test_batches_do_not_matter(judged: Judged) -> None:
    results = []
    for size in (1, 7, 64):
        network, data = judged("synthetic_sentiment", eval_batch_size=size)
        results.append(predict(network, data, "dev").outputs)
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(results[0], results[2], atol=1e-5, rtol=1e-4)


def test_network_is_left_as_it_was(judged: Judged) -> None:
    network, data = judged("synthetic_sentiment")
    network.train()
    network.base_model.embeddings.eval()
    modes = [module.training for module in network.modules()]
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    random = torch.get_rng_state()
    first = predict(network, data, "test").outputs
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(predict(network, data, "test").outputs, first)  # no dropout


def test_judged_in_float32(judged: Judged) -> None:
    network, data = judged("synthetic_sentiment")
    network.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = predict(network, data, "test").outputs
    assert network.dtype == torch.bfloat16
    expected = torch.stack(one_by_one(network.to(torch.float32), data, "test"))
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-4)


class Lossy(TaskData):
    """Loses the last batch."""

    def loader(self, split: str) -> Any:
        return DataLoader([*super().loader(split)][:-1], batch_size=None)


def test_lost_rows_are_an_error(tiny_network: Path) -> None:
    data = Lossy("synthetic_sentiment", network=str(tiny_network), size=60, limit_eval=30, eval_batch_size=4)
    network = load_network(str(tiny_network), data.task)
    size = len(data.split("test"))
    rest = size - (size % 4 or 4)
    with pytest.raises(RuntimeError, match=f"gave {rest} rows, {rest} of them different; expected each of the {size}"):
        predict(network, data, "test")


class JudgedAtTheEnd(LightningModule):
    """Trains one weight in two processes; at the end the first one judges another network, and nobody else does."""

    def __init__(self, network: str, scores: Path) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.judged = network
        self.scores = scores

    def training_step(self, batch: Tensor) -> Tensor:
        loss: Tensor = self.layer(batch).sum()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_end(self) -> None:
        assert torch.distributed.get_world_size() == 2
        if self.global_rank == 0:
            data = TaskData("synthetic_sentiment", network=self.judged, size=60, limit_eval=30, eval_batch_size=4)
            torch.manual_seed(0)
            torch.save(judge(load_network(self.judged, data.task), data).scores(), self.scores)
        # Were the processes out of step, one of these would meet another collective, or wait for ever.
        total = torch.tensor(float(self.global_rank + 1))
        torch.distributed.all_reduce(total)
        assert total == 3


@pytest.mark.slow
def test_one_process_of_a_distributed_run_judges_alone(tiny_network: Path, tmp_path: Path) -> None:
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_spawn",
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(JudgedAtTheEnd(str(tiny_network), tmp_path / "scores"), DataLoader(torch.ones(2, 1)))  # type: ignore[arg-type]
    data = TaskData("synthetic_sentiment", network=str(tiny_network), size=60, limit_eval=30)
    torch.manual_seed(0)
    expected = judge(load_network(str(tiny_network), data.task), data).scores()
    assert torch.load(tmp_path / "scores") == expected
