"""The analysis of redundancy on neurons whose copies, layers and classes are known."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from toolkit.probing.layers import ArrayStates
from toolkit.probing.linear import named_score
from toolkit.probing.options import RedundancyOptions
from toolkit.probing.redundancy import analyse_states
from toolkit.probing.registry import RANKINGS, rank
from toolkit.statistics.similarity import LayerSimilarity

FEW = RedundancyOptions(
    thresholds=(0.1, 0.3, 1.0),
    rankings=("norm", "probeless", "mutual_information", "random"),
    shares=(0.1, 0.5),
    overlap_share=0.25,
    ranking="elimination",
    top=2,
)


def states(num_rows: int, seed: int) -> NDArray[np.float64]:
    """Three layers of four neurons; 0 … 2 and 7 and 11 are independent, 3 never changes, the others are copies.

    Layers:  a b c -  |  2a+1 -b a+b' d  |  -a b'' a''' e, with primes for a little noise.
    """
    random = np.random.default_rng(seed)
    a, b, c, d, e = random.normal(size=(5, num_rows))
    noise = 0.05 * random.normal(size=(3, num_rows))
    layers = [
        [a, b, c, np.full(num_rows, 3.0)],
        [2 * a + 1, -b, (a + b) / 2**0.5, d],
        [-a, b + noise[0], a + noise[1], e],
    ]
    return np.moveaxis(np.asarray(layers), 2, 0)


def split(num_rows: int, seed: int, kind: str = "two") -> ArrayStates:
    """Classes by c and d, or the value of c + d."""
    rows = states(num_rows, seed)
    c, d = rows[:, 0, 2], rows[:, 1, 3]
    labels = {"two": (c + d > 0).astype(int), "three": np.where(c > 0.5, 2, (d > 0).astype(int)), "value": c + d}
    return ArrayStates(rows, labels[kind])


def test_copies_are_redundant_and_windows_are_known() -> None:
    found = analyse_states(
        split(600, 0), split(300, 1), network="n", task="t", labels=("no", "yes"), metric="accuracy", options=FEW
    )
    # a: 4 copies; b: 3; c, d, e alone; a + b apart from both (|r| = 0.7: distance 0.3 to each, and average linkage
    # merges at the mean distance to one of them if that is below 0.3; never at 0.1).
    assert [cut.kept for cut in found.cuts][::2] == [6, 1]
    assert found.constant == 1
    assert found.redundant(found.cuts[0]) == pytest.approx(0.5)
    assert found.redundant(found.cuts[2]) == pytest.approx(11 / 12)
    assert found.cuts[0].score > 0.97
    assert found.cuts[2].score < 0.8
    assert sum(found.windows.neurons) + found.windows.single + found.constant == 12
    at_tenth = analyse_states(
        split(600, 0),
        split(300, 1),
        network="n",
        task="t",
        labels=("no", "yes"),
        metric="accuracy",
        options=RedundancyOptions(thresholds=(0.1,), window_threshold=0.1, rankings=("norm",), ranking="norm"),
    ).windows
    assert (at_tenth.clusters, at_tenth.neurons, at_tenth.single) == ((0, 0, 2), (0, 0, 7), 4)
    assert at_tenth.aligned == 1  # b, always dimension 1


def test_layers_minimal_set_and_classes() -> None:
    train, dev = split(600, 0), split(300, 1)
    found = analyse_states(train, dev, network="n", task="t", labels=("no", "yes"), metric="accuracy", options=FEW)
    assert found.oracle > 0.97
    assert found.cumulative[-1] == pytest.approx(found.oracle, abs=0.01)  # within the solver's tolerance
    assert 0.6 < found.independent[0] < 0.85 < 0.97 < found.cumulative[1]
    assert set(found.minimal.neurons) == {2, 7}
    assert found.minimal.score >= 0.99 * found.oracle
    assert dict(found.minimal.path)[2] == pytest.approx(found.minimal.score, abs=0.02)
    (yes,) = found.classes
    assert (yes.label, set(yes.neurons)) == ("yes", {2, 7})
    assert min(yes.weights) > 0
    assert found.place(7) == "1:3"


def test_every_class_has_its_neurons_and_one_without_rows_none() -> None:
    labels = ("low", "high", "far", "unseen")
    found = analyse_states(
        split(600, 0, "three"), split(300, 1, "three"), network="n", task="t", labels=labels, metric="accuracy",
        options=FEW,
    )  # fmt: skip
    tops = {top.label: dict(zip(top.neurons, top.weights, strict=True)) for top in found.classes}
    assert list(tops) == ["low", "high", "far"]
    assert next(iter(tops["far"])) == 2
    assert tops["far"][2] > 0
    assert tops["low"][7] < 0 < tops["high"][7]


def test_similarity_is_that_of_the_statistic_or_what_is_given() -> None:
    train, dev = split(1500, 0), split(300, 1)
    options = RedundancyOptions(thresholds=(0.5,), rankings=("random",), ranking="norm")
    kwargs = {"network": "n", "task": "t", "labels": ("no", "yes"), "metric": "accuracy", "options": options}
    statistic = LayerSimilarity(3, 4)
    statistic.update(torch.as_tensor(train.states).transpose(0, 1))
    found = analyse_states(train, dev, **kwargs)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.similarity, statistic.compute(), atol=1e-6)  # float32
    given = torch.eye(3, dtype=torch.float64)
    found = analyse_states(train, dev, similarity=given, **kwargs)  # type: ignore[arg-type]
    assert found.similarity == ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def test_rankings_are_scored_at_equal_numbers_and_overlap() -> None:
    train, dev = split(600, 0), split(300, 1)
    found = analyse_states(train, dev, network="n", task="t", labels=("no", "yes"), metric="accuracy", options=FEW)
    assert found.sizes == (1, 6)
    assert list(found.scores) == list(FEW.rankings or ())
    assert found.scores["norm"][1] > 0.97
    score, features, targets = named_score("accuracy"), train.matrix(), torch.as_tensor(train.labels)
    orders = [rank(name, features, targets, 2, l2=found.penalty)[:3].tolist() for name in found.scores]
    assert found.overlap_size == 3
    for row, one in zip(found.overlap, orders, strict=True):
        assert list(row) == [pytest.approx(len({*one} & {*other}) / 3) for other in orders]
    # Of one neuron: the sign of c alone, whatever the probe's penalty.
    assert orders[0][0] in (2, 7)
    threshold = score(
        torch.stack([-dev.matrix()[:, orders[0][0]], dev.matrix()[:, orders[0][0]]], 1), torch.as_tensor(dev.labels)
    )
    assert found.scores["norm"][0] == pytest.approx(threshold, abs=0.03)


def test_regression_has_values_and_no_rankings_by_classes() -> None:
    train, dev = split(400, 0, "value"), split(200, 1, "value")
    options = RedundancyOptions(thresholds=(0.1,), shares=(0.2,), top=2)
    found = analyse_states(train, dev, network="n", task="t", labels=(), metric="pearson", options=options)
    assert list(found.scores) == [name for name in RANKINGS if name not in ("average_precision", "overlap")]
    assert found.oracle > 0.999
    assert [(top.label, set(top.neurons)) for top in found.classes] == [("value", {2, 7})]
    with pytest.raises(ValueError, match="'overlap' needs classes; of a regression choose from surgeon"):
        RedundancyOptions(rankings=("norm", "overlap")).compared(None)


def test_rows_of_clusters_and_rankings_are_drawn_and_counted() -> None:
    train, dev = split(600, 0), split(300, 1)
    options = RedundancyOptions(thresholds=(0.1,), rankings=("norm",), ranking="norm", rows=100)
    kwargs = {"network": "n", "task": "t", "labels": ("no", "yes"), "metric": "accuracy", "options": options}
    found = analyse_states(train, dev, **kwargs)  # type: ignore[arg-type]
    assert (found.rows, found.sampled_rows, found.dev_rows) == (600, 100, 300)
    assert found == analyse_states(train, dev, **kwargs)  # type: ignore[arg-type]
    assert found.cuts[0].kept == 6


def test_steps_are_told_in_order() -> None:
    told: list[tuple[str, int, int]] = []
    analyse_states(
        split(100, 0), split(50, 1), network="n", task="t", labels=("no", "yes"), metric="accuracy", options=FEW,
        step=lambda *step: told.append(step),
    )  # fmt: skip
    assert [number for _, number, _ in told] == list(range(len(told)))
    assert {total for *_, total in told} == {len(told)}
    assert (told[0][0], told[-1][0]) == ("oracle", "minimal set")


def test_errors_name_the_value() -> None:
    for options, message in (
        ({"rankings": ("norm", "nor")}, "no ranking 'nor'; the rankings are: surgeon"),
        ({"ranking": "best"}, "no ranking 'best'"),
        ({"thresholds": (0.3, 3.0)}, r"\(0.3, 3.0\).*between 0 and 1"),
        ({"thresholds": ()}, r"thresholds are \(\)"),
        ({"window_threshold": -1.0}, "window_threshold -1"),
        ({"shares": (0.0,)}, r"shares are \(0.0,\)"),
        ({"overlap_share": 2.0}, "overlap_share 2"),
        ({"delta": 1.0}, "delta is 1.0"),
        ({"top": 0}, "top 0"),
        ({"rows": 1}, "rows 1"),
    ):
        with pytest.raises(ValueError, match=message):
            RedundancyOptions(**options)
    same = ArrayStates(torch.ones(20, 2, 3), np.arange(20) % 2)
    with pytest.raises(ValueError, match="all 6 neurons are constant"):
        analyse_states(same, same, network="n", task="t", labels=("no", "yes"), metric="accuracy", options=FEW)
    with pytest.raises(ValueError, match="extract both with the same network"):
        analyse_states(same, split(9, 0), network="n", task="t", labels=("no", "yes"), metric="accuracy", options=FEW)
