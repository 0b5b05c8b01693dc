"""Neuron selection: the few neurons of the lower layers that a task needs, and a linear head on them.

Dalvi et al. 2020 (https://arxiv.org/abs/2004.04010), with the whole loss bounded, in place of a loss per step.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_info
from rich.table import Table
from torch import Tensor
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.evaluation.judging import judge, predict
from toolkit.evaluation.metering import selection_cost
from toolkit.models.deployment import neuron_network
from toolkit.models.loading import load_network
from toolkit.models.pooling import Pooling
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.training import Training
from toolkit.probing.clustering import Representative
from toolkit.probing.linear import Probe, Score, named_score
from toolkit.probing.registry import OF_CLASSES, RankingName, possible_rankings
from toolkit.probing.selection import SelectedNeurons, select_neurons
from toolkit.probing.spans import SpanScore
from toolkit.probing.stages import PENALTIES
from toolkit.statistics.features import Features, extract_features
from toolkit.tasks import Task

# Between outputs of the probe on stored features and of the network that is deployed. Half precision on disk moves a
# feature by up to 2⁻¹¹ of it; twice that is allowed, and what the order of sums in float32 may make.
ROUNDING = {"float16": 2.0**-10, "float32": 0.0}
TOLERANCE = 1e-3


# Options of the selection that the authors' procedure does not have.
_OURS = ("ranking", "delta", "representative", "caution", "penalties", "l1_share")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How neurons are selected.

    Args:
        ranking: What neurons are ordered by: optimal brain surgeon on the probe, recursive elimination, reweighted
            group lasso, linguistic correlation analysis (the paper's), norm of the probe's weights, differences of
            class means (probeless), Gaussian classes, mutual information, average precision or overlap of single
            neurons, or chance.
        delta: Part of the oracle's dev score that may be lost in all.
        layer_delta: Part of it that may be lost by leaving out upper layers, at most half of ``delta``; null takes a
            third of ``delta`` (with ``faithful``: 0.01).
        cluster_threshold: Distance 1 - |r| below which neurons count as one cluster, of which one is kept; null leaves
            clusters out, as the surgeon and elimination see redundancy themselves.
        representative: The neuron of a cluster that stands for it: its medoid, or one that is drawn.
        caution: Standard errors by which the dev score must be above the bar, or, where they are more than half of what
            may be lost, no farther below the oracle.
        penalties: Penalties that the oracle and the probes on k neurons choose from by their dev score; those of layers
            and clusters have the oracle's.
        l1_share: Part of these probes' penalty that is on the absolute weights (elastic net), which makes many of them
            zero and takes longer; the rest is on their squares. Of the rankings it reaches ``norm`` and
            ``correlation_analysis``, which read a probe's weights; those that train probes of their own have the whole
            penalty on the squares.
        faithful: Do as the authors' code does, with its losses per step, and its probes.
    """

    ranking: RankingName = "surgeon"
    delta: float = 0.03
    layer_delta: float | None = None
    cluster_threshold: float | None = None
    representative: Representative = "medoid"
    caution: float = 1.0
    penalties: tuple[float, ...] = PENALTIES
    l1_share: float = 0.0
    faithful: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.delta < 1:
            raise ValueError(f"model.selection.delta is a part of the score, in [0, 1), but got {self.delta}.")
        most = 1.0 if self.faithful else self.delta / 2
        if self.layer_delta is not None and not 0 <= self.layer_delta <= most:
            raise ValueError(
                f"model.selection.layer_delta must lie between 0 and {most:g}, half of model.selection.delta, as the "
                f"neurons may lose something, too; but got {self.layer_delta}. Leave it out for a third."
            )
        if self.cluster_threshold is not None and not 0 <= self.cluster_threshold <= 1:
            raise ValueError(f"model.selection.cluster_threshold must lie in [0, 1], but got {self.cluster_threshold}.")
        if self.caution < 0:
            raise ValueError(f"model.selection.caution must not be negative, but got {self.caution}.")
        if not self.penalties or min(self.penalties) < 0 or not all(map(math.isfinite, self.penalties)):
            raise ValueError(
                "model.selection.penalties must be numbers that are not negative, at least one, but got "
                f"{[*self.penalties]}."
            )
        if not 0 <= self.l1_share <= 1:
            raise ValueError(f"model.selection.l1_share is a part of the penalty, in [0, 1], but got {self.l1_share}.")
        given = [item.name for item in fields(self) if item.name in _OURS and getattr(self, item.name) != item.default]
        if self.faithful and given:
            raise ValueError(
                f"model.selection.faithful=true does as the authors' code does, which model.selection.{given[0]} "
                "cannot change; leave one of the two out."
            )


class NeuronSelection(FineTuning):
    """Select neurons of a network for a task, and put a linear head on them.

    `select` extracts the hidden states of all layers, selects, and makes the network to deploy: the encoder cut above
    the highest layer in use, the selected neurons, a linear head.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        fine_tune: Whether the neurons are those of the fine-tuned reference, not of the pretrained network; null does
            as the paper: for sentences yes, for words no. With ``training.hold_zeros`` a network that comes with zeros
            is fine-tuned beside the reference with its zeros held, and the neurons are that one's.
        pooling: What stands for a sentence: the mean of its tokens without special ones, its first token or its last.
        selection: How neurons are selected.
        features: Folder for the hidden states, to share them between runs; null puts them into the run's.
        features_dtype: Of the hidden states on disk; float16 takes half the space and keeps three digits.
        training: How the reference is trained, and the network whose zeros are held.
    """

    def __init__(
        self,
        task: Task,
        network: str = "minilm",
        fine_tune: bool | None = None,
        pooling: Pooling = "mean",
        selection: Selection = Selection(),
        features: Path | None = None,
        features_dtype: Literal["float16", "float32"] = "float16",
        training: Training = Training(),
    ) -> None:
        if task.kind == "regression" and selection.ranking in OF_CLASSES:
            raise ValueError(
                f"model.selection.ranking={selection.ranking} needs classes; of a regression choose from "
                f"{', '.join(possible_rankings(None))}."
            )
        if task.kind != "regression" and len(task.labels) < 2:
            raise ValueError(f"Task {task.name!r} has one label, {task.labels[0]!r}: there is nothing to tell apart.")
        super().__init__(task, network, training)
        encoder: Any = self.network.base_model
        if not encoder.config.num_hidden_layers:
            raise ValueError(f"model.network={network} has no block left to select neurons of; give another network.")
        self.fine_tunes = task.kind != "tagging" if fine_tune is None else fine_tune
        self.pooling = pooling
        self.selection = selection
        self.features = features
        self.features_dtype = features_dtype

    def select(
        self, data: TaskData, folder: Path, reference: Path, trainer: Callable[..., Trainer] = Trainer
    ) -> tuple[PreTrainedModel, dict[str, Any]]:
        """Extract, select, deploy.

        Args:
            data: The task's data; train is learned from, dev decides, and the judged set is only reported on.
            folder: Of the run; its folder ``features`` is used unless another was given.
            reference: Of the fine-tuned network that the neurons are taken from, where they are of one.
            trainer: Makes the trainer that runs the passes.

        Returns:
            The network to deploy, and for the report what each stage kept and cost.

        Raises:
            RuntimeError: If the deployed network predicts something else than the probe.
        """
        encoder = self.network
        if self.fine_tunes:
            encoder = load_network(str(reference), self.task, trained=True)
        torch.nn.Module.to(encoder, trainer(logger=False, callbacks=[]).strategy.root_device)
        root = self.features or folder / "features"

        def extract(split: str) -> Features:
            return extract_features(
                encoder, data, split, root / split, dtype=self.features_dtype, pooling=self.pooling, trainer=trainer
            )

        test = extract(data.splits[0])  # It is only reported on, and no part of what the selection costs.
        train, dev = extract("train"), extract("dev")
        started = time.perf_counter()
        rank_zero_info(f"selecting among {train.states.shape[1] * train.states.shape[2]:,} neurons")
        options = self.selection
        selected = select_neurons(
            train,
            dev,
            test,
            num_classes=len(self.task.labels) or None,
            score=selection_score(self.task),
            ranking=options.ranking,
            delta=options.delta,
            layer_delta=options.layer_delta,
            cluster_threshold=options.cluster_threshold,
            representative=options.representative,
            caution=options.caution,
            penalties=options.penalties,
            l1_share=options.l1_share,
            seed=self.seed,
            faithful=options.faithful,
            progress=rank_zero_info,
        )
        # Features that another run extracted, or an earlier attempt at this one, cost what they cost then.
        seconds = train.seconds + dev.seconds + time.perf_counter() - started
        oracle = self._deploy(encoder, data, torch.arange(selected.total), selected.oracle)
        oracle_scores = judge(oracle, data).scores()
        network = self._deploy(encoder, data, selected.neurons, selected.probe)
        self._check(network, data, dev, selected)
        scores = judge(network, data).scores()
        return network, {
            **summary(selected, self.task.metrics[0], scores, oracle_scores),
            **selection_cost(encoder, data, ("train", "dev"), seconds),
        }

    def _deploy(self, encoder: PreTrainedModel, data: TaskData, neurons: Tensor, probe: Probe) -> PreTrainedModel:
        network: PreTrainedModel = neuron_network(
            encoder,
            neurons,
            probe.weight,
            probe.bias,
            task=self.task,
            tokenizer=data.tokenizer,
            pooling=None if self.task.kind == "tagging" else self.pooling,
        )
        return network

    def _check(self, network: PreTrainedModel, data: TaskData, dev: Features, selected: SelectedNeurons) -> None:
        """Compare what the deployed network predicts of dev with what the probe predicts of the stored features."""
        layers, dimensions = selected.neurons // dev.states.shape[2], selected.neurons % dev.states.shape[2]
        features = torch.from_numpy(dev.states[:, layers.numpy(), dimensions.numpy()]).float()
        expected = selected.probe.logits(features)
        moved = ROUNDING[self.features_dtype] * (features.abs() @ selected.probe.weight.float().abs().T)
        slack = moved + TOLERANCE * (1 + expected.abs())  # (N, K)
        outputs = predict(network, data, "dev").outputs
        if self.task.kind == "tagging":  # labels, of which only the closest calls may differ
            best, labels = expected.topk(2)
            differ = (outputs[outputs >= 0] != labels[:, 0]) & (
                best[:, 0] - best[:, 1] > slack.gather(1, labels).sum(1)
            )
        else:
            differ = ((outputs.reshape(len(outputs), -1) - expected).abs() > slack).any(-1)
        if differ.any():
            raise RuntimeError(
                f"The deployed network and the probe differ on {int(differ.sum())} of {len(differ)} rows of dev; "
                "nothing was stored. The encoder computes something else than when its hidden states were extracted."
            )


def selection_score(task: Task) -> Score | SpanScore:
    """What the selection is decided by: the task's first metric.

    Args:
        task: With its labels.
    """
    if task.metrics[0] == "span_f1":
        return SpanScore(task.labels)
    return named_score(task.metrics[0], len(task.labels) or None)


def summary(
    selected: SelectedNeurons, metric: str, scores: dict[str, float], oracle: dict[str, float]
) -> dict[str, Any]:
    """What a row of the report says of a selection.

    Args:
        selected: The neurons.
        metric: Whose retention is reported.
        scores: Of the deployed network on the judged set.
        oracle: Of the probe on all neurons, the same.
    """
    whole = oracle[metric]
    retention = scores[metric] / whole if whole else math.nan
    return {
        "selected": f"{len(selected.neurons):,} of {selected.total:,} ({selected.share:.1%})",
        "layers_read": " ".join(map(str, selected.layers)),
        "of_the_oracle": f"{retention:.1%} of {100 * whole:.2f}",
        "neurons": {
            "kept": len(selected.neurons),
            "total": selected.total,
            "share": selected.share,
            "layers": list(selected.layers),
            "oracle": whole,
            "retention": retention,
            "metric": metric,
            "oracle_scores": oracle,
            "guessing": selected.guessing,
            "penalty": selected.penalty,
            "met": selected.met,
            "constant": selected.constant,
            "stages": [
                {
                    "name": stage.name,
                    "neurons": stage.neurons,
                    "layers": list(stage.layers),
                    "dev": stage.dev,
                    "test": stage.test,
                    "loss": stage.loss,
                    "used": stage.used,
                }
                for stage in selected.stages
            ],
            "path": {str(number): score for number, score in sorted(selected.path.items())},
        },
    }


def stages_table(neurons: dict[str, Any], metric: str) -> Table:
    """The stages of a selection, for the screen.

    Args:
        neurons: Of `summary`.
        metric: What the selection was decided by.
    """
    table = Table(
        title=f"Selection among {neurons['total']:,} neurons, by {metric.replace('_', ' ')}", title_justify="left"
    )
    for name in ("stage", "neurons", "layers", "dev", "of the oracle's dev", "judged set"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage in neurons["stages"]:
        layers = stage["layers"]
        table.add_row(
            stage["name"] + ("" if stage["used"] else " (not used)"),
            f"{stage['neurons']:,}",
            f"{layers[0]}-{layers[-1]}" if len(layers) > 1 else str(layers[0]),
            f"{100 * stage['dev']:.2f}",
            "-" if stage["loss"] is None or math.isnan(stage["loss"]) else f"{100 * (1 - stage['loss']):.1f} %",
            "-" if stage["test"] is None else f"{100 * stage['test']:.2f}",
        )
    return table
