r"""A few neurons that are enough for a task: layers, then clusters, then a ranking, then the smallest number.

The procedure of Dalvi et al. 2020 (https://arxiv.org/abs/2004.04010, section 7), from all neurons of all layers:

1. *oracle*: a probe on all neurons, score :math:`s`;
2. *layers*: the lowest layers that are enough (:func:`toolkit.probing.layers.select_layer`);
3. *clusters*: of their neurons, one of each cluster of correlated ones (:mod:`toolkit.probing.clustering`);
4. *neurons*: the first k of a ranking of these, with the smallest k that is enough.

In the paper every step may lose a part of what the step before it has left. Here the whole may lose a part
:math:`\delta` of the oracle: k is the smallest number that keeps :math:`s - \delta|s|`, the layers may
lose a third of that, and clusters that lose more than half are not used. Probes are trained on train, decisions are
made on dev; test scores are reported and decide nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from toolkit.probing.clustering import Representative, cluster_neurons
from toolkit.probing.layers import LayerStates, lowest_score
from toolkit.probing.linear import Probe, Score
from toolkit.probing.rankings import rank_by_correlation_analysis
from toolkit.probing.registry import possible_rankings, rank
from toolkit.probing.sizing import smallest_enough, wanted_score
from toolkit.probing.spans import SpanScore
from toolkit.probing.stages import PENALTIES, Probing, Stage

Ranking = Callable[[Tensor, Tensor], Tensor]
"""``ranking(features (R, F), targets (R,))`` gives the columns, best first."""

PAPER_SHARES = (
    *(step / 1000 for step in range(1, 6)),
    *(step / 100 for step in (*range(1, 11), *range(15, 55, 5), *range(60, 100, 10))),
)
"""Shares of all neurons that the authors' code tries, in this order."""

_PAPER_PROBE = {"solver": "adam", "l1": 1e-5, "l2": 1e-5, "norm": "frobenius", "standardize": False, "shuffle": False}
_CERTAIN = 4  # Standard errors that the oracle should be better than guessing by: the gain is known to a quarter then.
_PAPER_LOSS = 0.01  # part of the score before it that a step may lose


@dataclass(frozen=True, eq=False, kw_only=True)
class SelectedNeurons:
    """The neurons that are enough, and the probe on them.

    Args:
        neurons: ``(k,)`` int64, best first; neuron :math:`n` is dimension n % D of layer n // D.
        probe: Of these neurons, in this order.
        oracle: The probe on all neurons.
        stages: What each stage kept and cost.
        total: Number of neurons of all layers.
        constant: How many of the neurons that were clustered never change.
        path: Dev score for each number of neurons that was tried.
        guessing: Dev score of the same guess for every row. Where the oracle's is hardly better, what is kept of it
            says nothing.
        penalty: Of the oracle.
        met: Whether the neurons keep on dev what they should.
    """

    neurons: Tensor
    probe: Probe
    oracle: Probe
    stages: tuple[Stage, ...]
    total: int
    constant: int = 0
    path: dict[int, float] = field(default_factory=dict)
    guessing: float = 0.0
    penalty: float = 0.0
    met: bool = True

    @property
    def share(self) -> float:
        """Part of all neurons that is kept."""
        return len(self.neurons) / self.total

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that the neurons are in."""
        return self.stages[-1].layers

    @property
    def retention(self) -> float:
        """Score over that of the oracle: on test if there is one, else on dev; NaN for an oracle of 0."""
        first, last = ((s.dev if s.test is None else s.test) for s in (self.stages[0], self.stages[-1]))
        return last / first if first else float("nan")


def select_neurons(
    train: LayerStates,
    dev: LayerStates,
    test: LayerStates | None = None,
    *,
    num_classes: int | None,
    score: Score | SpanScore,
    ranking: str | Ranking = "surgeon",
    delta: float = 0.03,
    layer_delta: float | None = None,
    cluster_threshold: float | None = None,
    representative: Representative = "medoid",
    caution: float = 1.0,
    penalties: Sequence[float] = PENALTIES,
    l1_share: float = 0.0,
    seed: int = 0,
    faithful: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> SelectedNeurons:
    r"""Select the neurons of a task, and train a probe on them.

    A score on dev has an error, and the smallest k that looks good enough is often too small. The scores are
    therefore made to rise with k and must be above the bar by ``caution`` standard errors of the difference to it: a
    jackknife over 20 blocks of consecutive rows, paired with the oracle on the same rows. Where this margin is more
    than half of what may be lost, being within it of the oracle is enough: a dev set that cannot tell the two apart
    would keep all neurons. See :mod:`toolkit.probing.sizing`.

    Args:
        train: Labelled hidden states that probes and rankings are trained on.
        dev: Those that decide.
        test: Those that are only reported on.
        num_classes: Number of classes C; None for a regression.
        score: ``score(outputs, targets)`` of rows, the higher the better, such as
            :func:`toolkit.probing.linear.named_score`; or a :class:`toolkit.probing.spans.SpanScore`.
        ranking: A name of :data:`toolkit.probing.registry.RANKINGS`, or a function of features and targets.
        delta: Part of the oracle's score that may be lost in all, in [0, 1).
        layer_delta: Part of it that may be lost by leaving out upper layers, from 0 to half of ``delta``: the other
            half is the most that is asked for as a margin. None takes a third of ``delta``.
        cluster_threshold: Of :func:`toolkit.probing.clustering.cluster_neurons`; None leaves clusters out, as
            rankings that see redundancy themselves (``surgeon``, ``elimination``) do better with all neurons.
        representative: The neuron of a cluster that stands for it: its medoid, or one that is drawn.
        caution: How many standard errors; 0 takes the scores as they are.
        penalties: Penalties that the oracle and the probes on k neurons choose from by their dev score; those
            between have the oracle's.
        l1_share: Part of a penalty that is on the absolute weights (elastic net), in [0, 1]; the rest is on their
            squares.
        seed: Of what is random: the ranking and the representatives of that name, and with ``faithful`` the probes.
        faithful: Do as the authors' code does: minibatch Adam on raw features in the order of the rows with fixed
            penalties, a random neuron of each cluster (threshold 0.3, if none is given), linguistic correlation
            analysis, and the first k of `PAPER_SHARES` that loses less than 1 % of the *clusters'* score. Of the
            options above, ``ranking``, ``delta``, ``caution``, ``penalties`` and ``l1_share`` have no
            effect then, and ``layer_delta`` is 0.01 by default.
        progress: Is told each stage, and each number of neurons that is tried, when it is done.

    Returns:
        The neurons, the probe and the stages.

    Raises:
        ValueError: If splits do not fit each other, an option is out of range, or all neurons are constant.
    """
    lowest_score(0.0, delta)  # refuses a part that is none, before any work is done
    if layer_delta is None:
        layer_delta = _PAPER_LOSS if faithful else delta / 3
    elif not faithful and not 0 <= layer_delta <= delta / 2:
        raise ValueError(f"layer_delta is {layer_delta}; expected 0 to {delta / 2:g}, half of delta.")
    possible = possible_rankings(num_classes)
    if caution < 0 or (isinstance(ranking, str) and ranking not in possible):
        raise ValueError(
            f"ranking is {ranking!r} and caution {caution}; expected one of {', '.join(possible)} or a function, and "
            "a number of standard errors that is not negative."
        )
    if faithful and cluster_threshold is None:
        cluster_threshold = 0.3
    paper = {**_PAPER_PROBE, "seed": seed} if faithful else None
    probing = Probing(train, dev, test, num_classes, score, penalties, paper, l1_share)
    oracle = probing.stage("oracle", torch.arange(probing.total))
    whole = probing.probe
    progress(str(oracle))
    guess, error = probing.guessing()
    if not oracle.dev - guess > _CERTAIN * error:
        progress(
            f"of this {guess:.4f} is guessing: what is left, {oracle.dev - guess:.4f} ± {error:.4f}, is too uncertain "
            "for a part of it to mean much; train the network longer, or give more sentences"
        )
    if not faithful and probing.penalty in (max(penalties), min(penalties)) and len(set(penalties)) > 1:
        progress(f"the oracle's penalty {probing.penalty:g} is at the end of those that it chooses from; give more")
    stages = [oracle, probing.lowest_layers(oracle, layer_delta)]
    progress(str(stages[-1]))
    bar = lowest_score(oracle.dev, delta)

    candidates, constant = probing.neurons, 0
    if cluster_threshold is not None:
        kind: Representative = "random" if faithful else representative
        features = probing.columns(0, candidates)
        clusters = cluster_neurons(features, cluster_threshold, representative=kind, seed=seed)
        constant = clusters.num_constant
        if not len(clusters.representatives):
            raise ValueError(f"all {constant} neurons of layers {stages[-1].layers} are constant; check the features.")
        stage = probing.stage("clusters", candidates[clusters.representatives])
        stages.append(replace(stage, used=faithful or stage.dev > (bar + oracle.dev) / 2))
        progress(str(stages[-1]))
        if stages[-1].used:
            candidates = probing.neurons

    features = probing.columns(0, candidates)
    if faithful:
        order = candidates[rank_by_correlation_analysis(probing.probe.weight)]
        number, path = _paper_number(probing, order, stages[-1].dev)
    else:
        if isinstance(ranking, str):
            columns = rank(ranking, features, probing.targets[0], num_classes, l1=probing.l1, l2=probing.l2, seed=seed)
        else:
            columns = ranking(features, probing.targets[0])
        order = candidates[columns]
        progress(f"ranking: {len(order):,} neurons by {ranking if isinstance(ranking, str) else 'a function'}")

        def measure(k: int) -> tuple[float, float]:
            value, error = probing.measure(order[:k], delta)
            wanted = wanted_score(bar, caution * error, oracle.dev)
            progress(f"  {k:,} neurons: dev {value:.4f} ± {error:.4f}, wanted {wanted:.4f}")
            return value, error

        number, path = smallest_enough(measure, len(order), bar, caution, oracle.dev)
    stages.append(probing.stage("neurons", order[:number]))
    progress(str(stages[-1]))
    met = faithful or stages[-1].dev >= bar
    if not met:
        progress(f"on dev {bar:.4f} was wanted, and these neurons have less; raise delta, or give more sentences")
    return SelectedNeurons(
        neurons=probing.neurons,
        probe=probing.probe,
        oracle=whole,
        stages=tuple(stages),
        total=probing.total,
        constant=constant,
        path=path,
        guessing=guess,
        penalty=probing.penalty,
        met=met,
    )


def _paper_number(probing: Probing, order: Tensor, reference: float) -> tuple[int, dict[int, float]]:
    """The first number of the paper's grid that loses little; the largest that is not too large if there is none."""
    number, path = len(order), {}
    for share in PAPER_SHARES:
        if not 0 < int(share * probing.total) <= len(order):
            continue
        number = int(share * probing.total)
        path[number], _ = probing.measure(order[:number], 0.0)
        if path[number] > lowest_score(reference, _PAPER_LOSS):
            break
    return number, path
