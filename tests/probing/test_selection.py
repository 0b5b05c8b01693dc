"""Selections where the neurons that matter are known, and the paper's procedure spelled out."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from toolkit.probing import elimination, group_proximal, linear, registry, solvers, stages, surgeon
from toolkit.probing.clustering import cluster_neurons
from toolkit.probing.layers import ArrayStates
from toolkit.probing.linear import Probe, fit_probe, named_score
from toolkit.probing.rankings import rank_by_correlation_analysis
from toolkit.probing.registry import RANKINGS, rank
from toolkit.probing.selection import PAPER_SHARES, SelectedNeurons, select_neurons

ACCURACY = named_score("accuracy")
LAYERS, SIZE = 4, 20


def split(num_rows: int, seed: int) -> ArrayStates:
    """Class = the larger of three directions; layer 1 has them twice, layer 3 again; neuron 5 is constant."""
    random = np.random.default_rng(seed)
    causes = random.normal(size=(num_rows, 3))
    states = random.normal(size=(num_rows, LAYERS, SIZE))
    states[:, 1, :3] = causes * [1, -2, 30] + [0, 0, 100]
    states[:, 1, 7:10] = causes
    states[:, 3, :3] = causes + 0.3 * states[:, 3, :3]
    states[:, 0, 5] = 0.1
    return ArrayStates(states, causes.argmax(1))


TRAIN, DEV, TEST = split(800, 0), split(400, 1), split(400, 2)


def select(**options: object) -> SelectedNeurons:
    return select_neurons(TRAIN, DEV, TEST, num_classes=3, score=ACCURACY, **options)  # type: ignore[arg-type]


def causes(neurons: Tensor) -> set[int]:
    """Which of the three causes the neurons of layer 1 are."""
    copies = {SIZE + place: place for place in range(3)} | {SIZE + 7 + place: place for place in range(3)}
    return {copies.get(neuron, -1) for neuron in neurons.tolist()}


@pytest.fixture(scope="module")
def found() -> SelectedNeurons:
    return select()


def test_the_three_causes_are_found(found: SelectedNeurons) -> None:
    # Three classes need two differences of three causes: all three neurons, each once.
    assert causes(found.neurons) == {0, 1, 2}
    assert len(found.neurons) == 3
    assert found.layers == (1,)
    assert found.share == 3 / 80
    assert found.retention > 0.97


def test_stages_say_what_was_kept_and_lost(found: SelectedNeurons) -> None:
    assert [(stage.name, stage.neurons, stage.layers) for stage in found.stages] == [
        ("oracle", 80, (0, 1, 2, 3)),
        ("layers", 40, (0, 1)),
        ("neurons", 3, (1,)),
    ]
    oracle, *_, last = found.stages
    for stage in found.stages:
        assert stage.loss == pytest.approx(1 - stage.dev / oracle.dev)
        assert stage.test is not None
        assert stage.used
    assert last.loss < 0.03
    assert found.retention == pytest.approx(last.test / oracle.test)  # type: ignore[operator]
    assert found.path[3] == pytest.approx(last.dev)


def test_probe_is_of_the_neurons_in_their_order(found: SelectedNeurons) -> None:
    outputs = found.probe.logits(TEST.matrix()[:, found.neurons])
    assert ACCURACY(outputs, torch.as_tensor(TEST.labels)) == found.stages[-1].test


def test_test_decides_nothing_and_may_be_missing(found: SelectedNeurons) -> None:
    absurd = ArrayStates(np.asarray(TEST.states) * 0, (TEST.labels + 1) % 3)
    for test in (None, absurd):
        other = select_neurons(TRAIN, DEV, test, num_classes=3, score=ACCURACY)
        assert torch.equal(other.neurons, found.neurons)
        assert torch.equal(other.probe.weight, found.probe.weight)
        assert [stage.dev for stage in other.stages] == [stage.dev for stage in found.stages]
        assert (other.stages[0].test is None) == (test is None)
    without = select_neurons(TRAIN, DEV, num_classes=3, score=ACCURACY)
    assert without.retention == pytest.approx(without.stages[-1].dev / without.stages[0].dev)


@pytest.mark.parametrize("faithful", [False, True])
def test_result_is_the_same_to_the_bit(faithful: bool) -> None:
    first, second = select(faithful=faithful, seed=3), select(faithful=faithful, seed=3)
    assert torch.equal(first.neurons, second.neurons)
    assert torch.equal(first.probe.weight, second.probe.weight)
    assert first.stages == second.stages


@pytest.mark.parametrize("ranking", sorted({*RANKINGS} - {"random"}))
def test_every_ranking_finds_the_causes_among_clusters(ranking: str) -> None:
    found = select(ranking=ranking, cluster_threshold=0.3)
    names = [stage.name for stage in found.stages]
    assert names == ["oracle", "layers", "clusters", "neurons"]
    # 40 neurons of two layers: one is constant, three are copies.
    assert (found.stages[2].neurons, found.constant) == (36, 1)
    assert causes(found.neurons) >= {0, 1, 2}
    assert found.retention > 0.97


def test_own_ranking_is_taken_as_it_is() -> None:
    def backwards(features: Tensor, targets: Tensor) -> Tensor:
        assert features.shape == (800, 40)
        assert targets.tolist() == TRAIN.labels.tolist()
        return torch.arange(39, -1, -1)

    found = select(ranking=backwards)
    assert found.neurons.tolist() == list(range(39, 39 - len(found.neurons), -1))
    assert 13 <= len(found.neurons) <= 14  # down to neuron 27, the first of the last three that are needed


def test_clusters_that_lose_too_much_are_not_used() -> None:
    found = select(cluster_threshold=1.0)  # one cluster
    clusters = found.stages[2]
    assert (clusters.neurons, clusters.used) == (1, False)
    assert clusters.loss > 0.03
    assert causes(found.neurons) == {0, 1, 2}
    assert found.stages[-1].loss < 0.03


def test_without_layers_that_are_enough_all_are_kept() -> None:
    # Lower layers score below the whole: each probe on fewer than all columns is worth half.
    def score(outputs: Tensor, targets: Tensor) -> float:
        return 1.0 if len(widths) == 1 or widths[-1] == LAYERS * SIZE else 0.5

    widths: list[int] = []
    columns = stages.Probing.columns

    def watched(self: stages.Probing, split: int, neurons: Tensor) -> Tensor:
        widths.append(len(neurons))
        return columns(self, split, neurons)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages.Probing, "columns", watched)
        probing = stages.Probing(TRAIN, DEV, None, 3, score, (0.1,), None)
        oracle = probing.stage("oracle", torch.arange(probing.total))
        layers = probing.lowest_layers(oracle, 0.01)
    assert dataclasses.replace(layers, name="oracle") == oracle
    assert layers.neurons == len(probing.neurons) == LAYERS * SIZE
    assert widths.count(SIZE) > 0  # Fewer layers were tried.


def test_caution_keeps_more_neurons() -> None:
    numbers = [len(select(delta=0.18, caution=caution).neurons) for caution in (0.0, 3.0)]
    assert numbers[0] < numbers[1] == 3


def test_values_are_selected_for_too() -> None:
    def valued(part: ArrayStates) -> ArrayStates:
        return ArrayStates(part.states, np.asarray(part.states)[:, 1, 7] - np.asarray(part.states)[:, 1, 8])

    score = named_score("pearson")
    found = select_neurons(valued(TRAIN), valued(DEV), valued(TEST), num_classes=None, score=score)
    assert causes(found.neurons) == {0, 1}
    assert found.retention > 0.99


def test_faithful_selection_is_the_papers() -> None:
    found = select(faithful=True, seed=1)
    options = {"solver": "adam", "l1": 1e-5, "l2": 1e-5, "norm": "frobenius", "standardize": False, "shuffle": False}
    train, dev = TRAIN.matrix(), DEV.matrix()
    targets, dev_targets = torch.as_tensor(TRAIN.labels), torch.as_tensor(DEV.labels)

    def probed(neurons: Tensor) -> tuple[Tensor, float]:
        probe = fit_probe(train[:, neurons], targets, num_classes=3, seed=1, **options)  # type: ignore[arg-type]
        return probe.weight, ACCURACY(probe.logits(dev[:, neurons]), dev_targets)

    _, oracle = probed(torch.arange(80))
    for layer in range(LAYERS):
        neurons = torch.arange((layer + 1) * SIZE)
        if probed(neurons)[1] > oracle * (1 - 0.01):
            break
    kept = cluster_neurons(train[:, neurons], 0.3, representative="random", seed=1).representatives
    weight, reference = probed(neurons[kept])
    order = neurons[kept][rank_by_correlation_analysis(weight)]
    for share in PAPER_SHARES:
        number = int(share * 80)
        if 0 < number <= len(order) and probed(order[:number])[1] > reference * (1 - 0.01):
            break
    assert found.neurons.tolist() == order[:number].tolist()
    assert found.stages[-1].dev == probed(order[:number])[1]


def test_shares_are_the_papers() -> None:
    assert [int(share * 9984) for share in PAPER_SHARES[:8]] == [9, 19, 29, 39, 49, 99, 199, 299]
    assert PAPER_SHARES[14:16] == (0.1, 0.15)
    assert PAPER_SHARES[-5:] == (0.5, 0.6, 0.7, 0.8, 0.9)
    assert len(PAPER_SHARES) == 27


def test_scores_that_are_not_positive() -> None:
    found = select_neurons(TRAIN, DEV, num_classes=3, score=lambda outputs, targets: 0.0)
    assert math.isnan(found.retention)
    assert math.isnan(found.stages[-1].loss)


def test_errors_name_the_value() -> None:
    with pytest.raises(ValueError, match="delta is 3, expected a part"):
        select(delta=3)
    with pytest.raises(ValueError, match="ranking is 'best' and caution"):
        select(ranking="best")
    with pytest.raises(ValueError, match=r"caution -1"):
        select(caution=-1)
    with pytest.raises(ValueError, match=r"\(4, 20\) and \(1, 20\)"):
        select_neurons(TRAIN, ArrayStates(torch.ones(3, 1, 20), np.zeros(3)), num_classes=3, score=ACCURACY)
    one = ArrayStates(torch.ones(1, LAYERS, SIZE), np.zeros(1, dtype=np.int64))
    with pytest.raises(ValueError, match=r"dev has 1 row, .* raise data\.limit_eval"):
        select_neurons(TRAIN, one, num_classes=3, score=ACCURACY)
    constant = ArrayStates(torch.ones(9, 2, 3), np.arange(9) % 3)
    with pytest.raises(ValueError, match=r"all 3 neurons of layers \(0,\) are constant"):
        select_neurons(constant, constant, num_classes=3, score=ACCURACY, cluster_threshold=0.3)


def test_an_elastic_net_is_one_in_every_probe() -> None:
    net = select(penalties=(0.02,), l1_share=1.0)
    assert (net.oracle.weight == 0).any(0).float().mean() > 0.3  # exact zeros, which an L2 penalty does not give
    ridge = select(penalties=(0.02,))
    varying = ridge.oracle.scale != 1
    assert (ridge.oracle.weight[:, varying] != 0).all()


def test_every_probe_and_ranking_has_the_penalty_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[float, float]] = []

    def fit(*arguments: Any, **options: Any) -> Probe:
        given.append((options.get("l1", 0.0), options["l2"]))
        return fit_probe(*arguments, **options)

    for module in (stages, registry, linear):
        monkeypatch.setattr(module, "fit_probe", fit)
    select(penalties=(0.02,), l1_share=0.25, cluster_threshold=0.3, ranking="norm")
    assert len(given) > 10
    assert set(given) == {(0.005, 0.015)}


@pytest.mark.parametrize("name", registry.RANKINGS)
def test_a_ranking_that_trains_probes_has_the_penalty_that_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    class Loss(solvers.LinearLoss):
        def __init__(self, inputs: Tensor, targets: Tensor, num_classes: int | None, l2: float) -> None:
            given.append(l2)
            super().__init__(inputs, targets, num_classes, l2)

    for module in (linear, surgeon, elimination, group_proximal):
        monkeypatch.setattr(module, "LinearLoss", Loss)
    rank(name, TRAIN.matrix(), torch.as_tensor(TRAIN.labels), 3, l1=0.05, l2=0.15)
    expected = {"surgeon": 0.2, "elimination": 0.2, "group_proximal": 0.2, "correlation_analysis": 0.15, "norm": 0.15}
    assert {*given} == ({expected[name]} if name in expected else set())


def test_fewer_rows_than_neurons_are_ranked_by_a_penalty_that_suits_them() -> None:
    """Of 100 rows and 200 neurons, three of them with a signal, a small penalty ranks noise."""
    rng = np.random.default_rng(3)
    features, labels = torch.from_numpy(rng.normal(size=(100, 200))), torch.from_numpy(rng.integers(2, size=100))
    features[:, [7, 70, 170]] += 1.2 * (2.0 * labels[:, None] - 1)
    for name in ("surgeon", "elimination", "group_proximal"):
        found = [rank(name, features, labels, 2, l2=l2)[:3].tolist() for l2 in (1e-4, 0.3)]
        hits = [len({*first} & {7, 70, 170}) for first in found]
        assert hits[1] >= max(2, hits[0]), (name, found)


def test_layers_leave_the_neurons_something_to_lose() -> None:
    with pytest.raises(ValueError, match=r"layer_delta is 0.2; expected 0 to 0.015, half of delta"):
        select(layer_delta=0.2)
    found = select(delta=0.3)
    assert found.stages[1].loss < 0.1  # a third
    assert found.met
    assert found.penalty in stages.PENALTIES


def test_one_layer_is_enough_of_one() -> None:
    train, dev = (ArrayStates(split.states[:, 1:2], split.labels) for split in (TRAIN, DEV))
    found = select_neurons(train, dev, num_classes=3, score=ACCURACY)
    assert found.layers == (0,)
    assert found.stages[1].neurons == SIZE
    assert found.retention > 0.97


def test_the_random_ranking_is_of_the_seed() -> None:
    orders = [rank("random", TRAIN.matrix(), torch.as_tensor(TRAIN.labels), 2, l2=0.1, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert sorted(orders[0].tolist()) == list(range(LAYERS * SIZE))


@pytest.mark.parametrize(("name", "message"), [("overlap", "needs classes"), ("best", "there is no ranking 'best'")])
def test_a_ranking_that_the_task_has_not_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank(name, TRAIN.matrix(), torch.as_tensor(TRAIN.labels), None, l2=0.1)
    with pytest.raises(ValueError, match=f"ranking is '{name}'"):
        select_neurons(TRAIN, TRAIN, num_classes=None, score=named_score("pearson", None), ranking=name)


@pytest.mark.parametrize("learned", [True, False])
def test_an_oracle_that_hardly_beats_guessing_is_told(learned: bool) -> None:
    rng = np.random.default_rng(0)
    splits = []
    for rows in (400, 200):
        states = rng.normal(size=(rows, 2, 10))
        labels = (states[:, 1, 0] > 0 if learned else rng.random(rows) < 0.5).astype(np.int64)
        splits.append(ArrayStates(states, labels))
    lines: list[str] = []
    found = select_neurons(*splits, num_classes=2, score=ACCURACY, progress=lines.append)
    assert any("guessing" in line for line in lines) is not learned
    common = np.bincount(splits[0].labels).argmax()
    assert found.guessing == pytest.approx((splits[1].labels == common).mean())


def test_guessing_a_value_is_worth_nothing() -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(300, 2, 10))
    split = ArrayStates(states, states[:, 0, 3])
    assert select_neurons(split, split, num_classes=None, score=named_score("pearson")).guessing == 0
