"""The probes behind a selection of neurons: one for each stage, with its scores on dev and test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from toolkit.probing.layers import LayerStates, WithSentences, check_same_layers, lowest_score
from toolkit.probing.linear import Probe, Score, elastic_net, fit_probe, search_penalty
from toolkit.probing.sizing import leave_out, standard_error
from toolkit.probing.spans import SpanScore

PENALTIES = (1.0, 3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4)
"""Penalties that probes choose from."""

_SEARCH_TOLERANCE = 3e-3  # of the probes that penalties are compared by; the best one is then trained to the end


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage of the selection kept and what it cost.

    Args:
        name: ``oracle``, ``layers``, ``clusters`` or ``neurons``.
        neurons: How many neurons are left.
        layers: The layers that they are in; 0 is the output of the embeddings.
        dev: Score on dev, which the stages are decided by: the last one's is too good by that.
        loss: Part of the oracle's dev score that is lost so far, :math:`(s - s_k) / |s|`; NaN for an oracle of 0.
        test: Score on test, if there is one.
        used: Whether later stages build on it. Clusters that lose more than may be lost are only reported.
    """

    name: str
    neurons: int
    layers: tuple[int, ...]
    dev: float
    loss: float
    test: float | None = None
    used: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.neurons:,} neurons, dev {self.dev:.4f}" + ("" if self.used else ", not used")


class Probing:
    """Trains probes on subsets of the neurons, and scores them on dev and test.

    Args:
        train: Labelled hidden states that probes are trained on.
        dev: Those that are scored.
        test: Those that are scored, too, if there are any.
        num_classes: Number of classes C; None for a regression.
        score: ``score(outputs, targets)`` of rows, the higher the better; or a
            :class:`toolkit.probing.spans.SpanScore`, of splits that know the sentences of their rows.
        penalties: That a search tries.
        l1_share: Part of a penalty that is l1; the rest is l2.
        paper: Options of :func:`toolkit.probing.linear.fit_probe` that are the same for every probe; None for the
            converged probe with a penalty that suits it.

    Raises:
        ValueError: If the splits do not fit each other, or dev has fewer than two rows.
    """

    def __init__(
        self,
        train: LayerStates,
        dev: LayerStates,
        test: LayerStates | None,
        num_classes: int | None,
        score: Score | SpanScore,
        penalties: Sequence[float],
        paper: Mapping[str, Any] | None,
        l1_share: float = 0.0,
    ) -> None:
        splits = [train, dev, *([] if test is None else [test])]
        check_same_layers(*splits)
        if len(dev.labels) < 2:
            raise ValueError(
                f"dev has {len(dev.labels)} row, and no error can be estimated of its scores; raise data.limit_eval."
            )
        self.features = [split.matrix() for split in splits]
        self.targets = [torch.as_tensor(split.labels) for split in splits]
        self.num_layers, self.hidden_size = train.states.shape[1:]
        self.total = self.num_layers * self.hidden_size
        self.num_classes, self.penalties, self.paper, self.l1_share = num_classes, penalties, paper, l1_share
        self._score = score
        self._sentences = []
        if isinstance(score, SpanScore):
            self._sentences = [torch.as_tensor(split.sentences) for split in splits if isinstance(split, WithSentences)]
            if len(self._sentences) != len(splits):
                raise ValueError("spans are scored in whole sentences, but a split does not know those of its rows.")
        self.penalty = 0.0  # of the oracle
        self.neurons: Tensor
        self.probe: Probe
        self._oracle: tuple[float, Tensor]  # its dev score, and those without a block of rows

    def stage(self, name: str, neurons: Tensor) -> Stage:
        """Train a probe on neurons and score it."""
        self.probe, penalty = self.fit(neurons, search=name in ("oracle", "neurons"))
        self.penalty = self.penalty or penalty
        self.neurons = neurons
        outputs = self.probe.logits(self.columns(1, neurons))
        score = self.score(outputs)
        if name == "oracle":
            self._oracle = score, leave_out(self._on_rows(outputs), len(outputs))
        test = None
        if len(self.features) == 3:
            test = self.score(self.probe.logits(self.columns(2, neurons)), split=2)
        whole = self._oracle[0]
        return Stage(
            name=name,
            neurons=len(neurons),
            layers=tuple((neurons // self.hidden_size).unique().tolist()),
            dev=score,
            loss=(whole - score) / abs(whole) if whole else float("nan"),
            test=test,
        )

    @property
    def l1(self) -> float:
        """The oracle's penalty of the absolute weights."""
        return elastic_net(self.penalty, self.l1_share)[0]

    @property
    def l2(self) -> float:
        """The oracle's penalty of their squares."""
        return elastic_net(self.penalty, self.l1_share)[1]

    def lowest_layers(self, oracle: Stage, delta: float) -> Stage:
        """The LayerSelector from below: what it would not choose is not trained, and the last is the oracle."""
        everything, probe = self.neurons, self.probe
        for num_layers in range(1, self.num_layers):
            stage = self.stage("layers", everything[: num_layers * self.hidden_size])
            if stage.dev > lowest_score(oracle.dev, delta):
                return stage
        self.neurons, self.probe = everything, probe
        return replace(oracle, name="layers")

    def fit(self, neurons: Tensor, *, search: bool) -> tuple[Probe, float]:
        """The paper's probe; or the converged one, with the best of the penalties or the oracle's; and its penalty."""
        train, classes = self.columns(0, neurons), self.num_classes
        if self.paper is not None:
            return fit_probe(train, self.targets[0], num_classes=classes, **self.paper), self.paper["l2"]
        if not search:
            return fit_probe(train, self.targets[0], num_classes=classes, l1=self.l1, l2=self.l2), self.penalty
        dev, (targets, dev_targets, *_) = self.columns(1, neurons), self.targets
        probe, penalty, _ = search_penalty(
            train, targets, dev, dev_targets,
            num_classes=classes, score=lambda outputs, _: self.score(outputs), penalties=self.penalties,
            l1_share=self.l1_share, tolerance=_SEARCH_TOLERANCE,
        )  # fmt: skip
        l1, l2 = elastic_net(penalty, self.l1_share)
        return fit_probe(train, targets, num_classes=classes, l1=l1, l2=l2, start=probe), penalty

    def measure(self, neurons: Tensor, delta: float) -> tuple[float, float]:
        """The dev score of neurons, and the standard error of its difference to the bar."""
        outputs = self.fit(neurons, search=True)[0].logits(self.columns(1, neurons))
        bars = torch.tensor([lowest_score(score, delta) for score in self._oracle[1].tolist()], dtype=torch.float64)
        error = standard_error(leave_out(self._on_rows(outputs), len(outputs)) - bars)
        return self.score(outputs), error

    def guessing(self) -> tuple[float, float]:
        """The dev score of the same guess for every row, the commonest class or the mean value of train.

        Returns:
            It, and the standard error of the oracle's gain over it.
        """
        targets, num_rows = self.targets[0], len(self.targets[1])
        if self.num_classes is None:
            guess = targets.double().mean().expand(num_rows, 1)
        else:
            guess = targets.bincount(minlength=self.num_classes).double().expand(num_rows, -1)
        without = leave_out(self._on_rows(guess), num_rows)
        return self.score(guess), standard_error(self._oracle[1] - without)

    def score(self, outputs: Tensor, rows: Tensor | None = None, *, split: int = 1) -> float:
        """Score the outputs of rows of a split.

        Args:
            outputs: ``(R, C)``, or ``(R, 1)`` of a regression.
            rows: Numbers of the rows; all of them by default.
            split: 0 for train, 1 for dev, 2 for test.
        """
        which = slice(None) if rows is None else rows
        if isinstance(self._score, SpanScore):
            return self._score(outputs, self.targets[split][which], self._sentences[split][which])
        return self._score(outputs, self.targets[split][which])

    def columns(self, split: int, neurons: Tensor) -> Tensor:
        """The features of neurons ``(R, k)``; of neurons that stand side by side without a copy."""
        first, number = int(neurons[0]), len(neurons)
        if torch.equal(neurons, torch.arange(first, first + number)):
            return self.features[split][:, first : first + number]
        return self.features[split].index_select(1, neurons)

    def _on_rows(self, outputs: Tensor) -> Callable[[Tensor], float]:
        return lambda rows: self.score(outputs[rows], rows)
