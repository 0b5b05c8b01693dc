"""Means, averages, intervals and tests of a comparison are those that its cells say."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from toolkit.comparison import document
from toolkit.comparison.costs import costs_of, share, written
from toolkit.comparison.pareto import pareto
from toolkit.comparison.results import Failure, Outcome, Results
from toolkit.comparison.summary import combined, counted, task_score
from toolkit.evaluation.predictions import Judgement
from toolkit.evaluation.row import Row

Make = Callable[..., Outcome]


def row(task: str, scores: dict[str, float], seed: int = 0, **values: Any) -> Row:
    filled = {"name": "a network", "parameters": 100, "nonzero_parameters": 60, "sparsity": 0.4, **values}
    return Row(task=task, seed=seed, scores=scores, **filled)


def outcome(method: str, task: str, scores: dict[str, float], seed: int = 0, **values: Any) -> Outcome:
    return Outcome(method, task, seed, row(task, scores, seed, **values))


def gather(outcomes: Sequence[Outcome], failures: Sequence[Failure] = (), baseline: str = "dense") -> Results:
    return Results.gather(outcomes, failures, baseline, resamples=200)


@given(
    st.dictionaries(
        st.integers(0, 20), st.tuples(st.integers(0, 4).map(float), st.integers(0, 4).map(float)), max_size=12
    )
)
def test_pareto_is_what_comparing_all_pairs_finds(points: dict[int, tuple[float, float]]) -> None:
    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    expected = {name for name, point in points.items() if not any(dominates(a, point) for a in points.values())}
    assert pareto(points) == expected


def test_pareto_refuses_what_has_no_place() -> None:
    with pytest.raises(ValueError, match="'lost' is at quality nan"):
        pareto({"lost": (math.nan, 1.0)})


def test_glue_counts_its_tasks_as_the_benchmark_does() -> None:
    scores = {
        "cola": {"matthews_correlation": 0.5, "accuracy": 0.9},
        "mrpc": {"accuracy": 0.8, "f1": 0.9},
        "mnli": {"accuracy": 0.7, "accuracy_mismatched": 0.6},
        "ner": {"span_f1": 0.4, "accuracy": 0.95},
        "own": {"f1": 0.3, "accuracy": 0.6},
    }
    assert {task: task_score(task, each) for task, each in scores.items()} == pytest.approx(
        {"cola": 0.5, "mrpc": 0.85, "mnli": 0.65, "ner": 0.4, "own": 0.3}
    )
    assert math.isnan(task_score("mrpc", {"accuracy": 0.8, "f1": math.nan}))
    assert counted("stsb", ["pearson", "spearman"]) == ("pearson", "spearman")
    results = gather([outcome("dense", task, each) for task, each in scores.items()])
    glue, everything = results.average("dense", "GLUE"), results.average("dense", "all")
    assert glue is not None
    assert everything is not None
    assert glue.tasks == ("cola", "mrpc", "mnli")
    assert glue.score.mean == pytest.approx((0.5 + 0.85 + 0.65) / 3)
    assert everything.tasks == ("cola", "mrpc", "mnli", "ner", "own")
    assert everything.score.mean == pytest.approx((0.5 + 0.85 + 0.65 + 0.4 + 0.3) / 5)


def test_averages_are_over_the_seeds_that_all_methods_have() -> None:
    values = {0: (0.9, 0.7), 1: (0.8, 0.6), 2: (0.7, 0.65)}
    outcomes = [
        outcome("dense", task, {"accuracy": pair[number]}, seed)
        for seed, pair in values.items()
        for number, task in enumerate(("sst2", "rte"))
    ]
    outcomes += [outcome("half", "sst2", {"accuracy": 0.45}, seed) for seed in values]
    outcomes += [outcome("half", "rte", {"accuracy": 0.3}, 1)]
    failures = [Failure("half", "rte", seed, "RuntimeError: no") for seed in (0, 2)]
    results = gather(outcomes, failures)
    dense, half = results.average("dense"), results.average("half")
    assert dense is not None
    assert half is not None
    # SST-2 over all three seeds, RTE over seed 1, which alone is there for both.
    assert (dense.score.mean, dense.score.std, dense.score.count) == (pytest.approx((0.8 + 0.6) / 2), None, 1)
    assert (half.score.mean, half.score.std, half.score.count) == (pytest.approx((0.45 + 0.3) / 2), None, 1)
    assert half.kept == pytest.approx(0.375 / 0.7)
    summary = results.summary("half", "rte")
    assert summary is not None
    assert (summary.seeds, summary.failed, summary.scores["accuracy"].count) == ((1,), (0, 2), 1)
    assert summary.kept == pytest.approx(0.3 / 0.6)
    of_dense = results.summary("dense", "rte")
    assert of_dense is not None
    assert of_dense.shared == (1,)
    assert of_dense.scores["accuracy"].mean == pytest.approx((0.7 + 0.6 + 0.65) / 3)  # its own, as shown
    assert of_dense.compared["accuracy"].mean == pytest.approx(0.6)
    whole = gather([each for each in outcomes if each.method == "dense"]).average("dense")
    assert whole is not None
    of_seeds = [np.mean(pair) for pair in values.values()]
    assert (whole.score.mean, whole.score.std, whole.score.count) == pytest.approx(
        (np.mean(of_seeds), np.std(of_seeds, ddof=1), 3)
    )


def test_a_method_that_equals_the_baseline_keeps_all_whatever_seeds_it_has() -> None:
    scores = {0: 0.9, 1: 0.16}
    outcomes = [
        outcome(method, task, {"accuracy": scores[seed]}, seed, bytes=size)
        for method, size in (("dense", 100), ("same", 50), ("worse", 70))
        for task in ("sst2", "rte")
        for seed in scores
        if (method, task, seed) != ("same", "rte", 0)
    ]
    outcomes = [
        replace(each, row=replace(each.row, scores={"accuracy": 0.1})) if each.method == "worse" else each
        for each in outcomes
    ]
    results = gather(outcomes, [Failure("same", "rte", 0, "no")])
    average, summary = results.average("same"), results.summary("same", "rte")
    assert average is not None
    assert summary is not None
    assert (average.kept, summary.kept) == (pytest.approx(1), pytest.approx(1))
    assert results.optimal("bytes") == {"same"}  # As good as the dense one, at half the cost.


def test_a_task_without_a_common_seed_is_in_no_average() -> None:
    outcomes = [
        outcome(method, "rte", {"accuracy": 0.5}, seed) for method, seed in (("dense", 0), ("half", 1), ("third", 0))
    ]
    outcomes += [outcome(method, "sst2", {"accuracy": 0.8}) for method in ("dense", "half", "third")]
    results = gather(outcomes)
    assert {average.tasks for average in results.averages} == {("sst2",)}
    half, third = results.summary("half", "rte"), results.summary("third", "rte")
    assert half is not None
    assert third is not None
    assert (half.shared, half.compared, half.kept) == ((), {}, None)
    assert (third.compared, third.kept) == ({}, 1.0)  # The baseline has its seed, though half has not.


def test_costs_are_over_the_seeds_that_are_compared() -> None:
    outcomes = [outcome("dense", "rte", {"accuracy": 0.5}, seed, bytes=100 + 20 * seed) for seed in (0, 1)]
    outcomes.append(outcome("half", "rte", {"accuracy": 0.5}, 1, bytes=60))
    assert [gather(outcomes).costs(method)["bytes"] for method in ("dense", "half")] == [120, 60]


def test_one_network_for_all_seeds_is_one(judge: Callable[..., Judgement]) -> None:
    right = torch.ones(100, dtype=torch.long)
    outcomes = []
    for method, wrong, keys in (("dense", 5, "aaa"), ("fixed", 20, "bbb"), ("trained", 20, "cde"), ("unnamed", 20, "")):
        said = right.clone()
        said[:wrong] = 0
        made = judge("sst2", said, right)
        for seed in range(3):
            held = row("sst2", made.scores(), seed)
            outcomes.append(Outcome(method, "sst2", seed, held, made, key=keys[seed] if keys else ""))
    results = gather(outcomes)
    found = {}
    for method in results.methods:
        summary, average = results.summary(method, "sst2"), results.average(method)
        assert summary is not None
        assert average is not None
        score = summary.scores["accuracy"]
        found[method] = (summary.fixed, score.std, score.count, average.score.std, average.score.count)
    one, three = (True, None, 1, None, 1), (False, 0.0, 3, 0.0, 3)
    assert found == {"dense": one, "fixed": one, "trained": three, "unnamed": three}
    both, trained = results.test("fixed", "dense", "sst2"), results.test("trained", "dense", "sst2")
    assert both is not None
    assert trained is not None
    assert (both.seeds, both.kind) == (1, "exact McNemar")
    assert both.p_value == pytest.approx(binomtest(0, 15).pvalue)
    assert trained.seeds == 3
    alone = gather([Outcome("dense", "sst2", 0, row("sst2", {"accuracy": 0.5}), key="a")]).summary("dense", "sst2")
    assert alone is not None
    assert not alone.fixed  # One of a key is a seed like any other.


def test_averages_are_over_tasks_that_all_methods_have() -> None:
    outcomes = [
        outcome(method, task, {"accuracy": 0.5}) for method in ("dense", "half") for task in ("sst2", "rte", "qnli")
    ]
    lost = [each for each in outcomes if (each.method, each.task) != ("half", "rte")]
    lost = [
        outcome("half", "qnli", {"accuracy": math.nan}) if (each.method, each.task) == ("half", "qnli") else each
        for each in lost
    ]
    results = gather(lost, [Failure("half", "rte", 0, "no"), Failure("never", "sst2", 0, "no")])
    assert [average.tasks for average in results.averages] == [("sst2",)] * 4
    assert results.methods == ("dense", "half", "never")
    undefined = results.summary("half", "qnli")
    assert undefined is not None
    assert undefined.scores["accuracy"].mean is None
    assert results.average("never") is None


def test_costs_are_means_over_the_same_tasks() -> None:
    time = {"median": 2.0, "iqr": 0.1, "batch": 1, "length": 8, "threads": 1, "device": "cpu"}
    outcomes = [
        outcome("dense", "sst2", {"accuracy": 0.9}, bytes=100, latency_ms=time),
        outcome("dense", "rte", {"accuracy": 0.9}, bytes=300, latency_ms={**time, "median": 100.0}),
        outcome("half", "sst2", {"accuracy": 0.8}, bytes=50, latency_ms={**time, "median": 1.0}),
        outcome("half", "rte", {"accuracy": 0.8}, bytes=70),
    ]
    results = gather(outcomes)
    assert results.costs("dense")["bytes"] == 200
    assert results.costs("half")["bytes"] == 60
    # Half was not measured on RTE, so neither counts there.
    assert results.cost_tasks("latency_ms") == ("sst2",)
    assert (results.costs("dense")["latency_ms"], results.costs("half")["latency_ms"]) == (2.0, 1.0)
    assert "throughput" not in results.costs("half")
    assert results.optimal("bytes") == results.optimal("latency_ms") == {"dense", "half"}
    assert results.optimal("parameters") == {"dense"}
    elsewhere = outcome("half", "sst2", {"accuracy": 0.8}, latency_ms={**time, "threads": 2})
    assert gather([*outcomes[:2], elsewhere]).optimal("latency_ms") == set()


def test_costs_are_found_where_rows_have_them() -> None:
    time = {"median": 2.0, "iqr": 0.1, "batch": 1}
    extras = {"throughput": {"median": 30.0, "batch": 32}, "examples_seen": 640, "training_macs": {"full": 5}}
    found = costs_of(row("sst2", {}, latency_ms=time, macs=7, extras=extras))
    assert found == {
        "parameters": 100, "nonzero_parameters": 60, "dense_bytes": 400, "macs": 7, "latency_ms": 2.0,
        "latency_iqr": 0.1, "throughput": 30.0, "examples_seen": 640,
    }  # fmt: skip
    assert costs_of(row("sst2", {}, extras={"training_macs": 3}))["training_macs"] == 3
    assert costs_of(row("sst2", {}, extras={"peak_memory": True})).keys() == {
        "parameters", "nonzero_parameters", "dense_bytes"
    }  # fmt: skip
    assert [written(999.6, ""), written(999_999, "B"), written(90, "s"), written(7200, "s")] == [
        "1000", "1000 kB", "90 s", "2 h",
    ]  # fmt: skip
    assert [share(1, 3), share(1, 200), share(5, 1)] == ["33 %", "0.5 %", "500 %"]


@settings(max_examples=30)
@given(st.lists(st.floats(0.1, 3), min_size=1, max_size=6))
def test_interval_of_a_mean_is_that_of_independent_estimates(spreads: list[float]) -> None:
    interval = combined(0.0, [(0.0, (-1.96 * each, 1.96 * each)) for each in spreads])
    assert interval is not None
    deviation = math.sqrt(sum(each**2 for each in spreads)) / len(spreads)  # of a mean of independent normals
    assert interval == pytest.approx((-1.96 * deviation, 1.96 * deviation))
    assert combined(0.0, [(0.0, (-1.0, 1.0)), (0.0, None)]) is None


@pytest.fixture
def judged(judge: Callable[..., Judgement]) -> list[Outcome]:
    """Three methods on two tasks with one seed: the first two say the same, the third errs on 30 examples more."""
    right = torch.ones(200, dtype=torch.long)
    worse = right.clone()
    worse[:30] = 0
    outcomes = []
    for method, said in (("dense", right), ("same", right), ("worse", worse)):
        for task in ("sst2", "rte"):
            judgement = judge(task, said, right)
            outcomes.append(Outcome(method, task, 0, row(task, judgement.scores()), judgement, key=f"{method}-{task}"))
    return outcomes


def test_tests_are_corrected_within_their_families(judged: list[Outcome]) -> None:
    results = gather(judged)
    against_baseline = [test for test in results.tests if test.against == "dense"]
    pairs = [test for test in results.tests if test.against != "dense"]
    assert [(test.method, test.task) for test in against_baseline] == [
        ("same", "sst2"), ("worse", "sst2"), ("same", "rte"), ("worse", "rte"),
    ]  # fmt: skip
    assert [(test.method, test.against) for test in pairs] == [("worse", "same")] * 2
    single = binomtest(0, 30).pvalue
    for test in against_baseline:
        if test.method == "same":
            assert (test.p_value, test.adjusted, test.difference, test.identical) == (1.0, 1.0, 0.0, True)
        else:
            assert test.p_value == pytest.approx(single)
            assert test.adjusted == pytest.approx(4 * single)  # the smallest two of four are equal
            assert test.difference == pytest.approx(-0.15)
            assert test.significant
            assert not test.identical
    assert [test.adjusted for test in pairs] == pytest.approx([2 * single] * 2)
    entry = results.entries[-1]
    low, high = entry.intervals["accuracy"]
    assert (entry.method, entry.key) == ("worse", "worse-rte")
    assert 0.76 < low < 0.85 < high < 0.93


def test_every_metric_that_counts_is_tested(judge: Callable[..., Judgement]) -> None:
    random = torch.Generator().manual_seed(0)
    outcomes = []
    for task in ("cola", "mrpc", "mnli"):
        right = torch.randint(2, (80,), generator=random)
        for method, part in (("dense", 0.9), ("half", 0.7), ("third", 0.6)):
            said = torch.where(torch.rand(80, generator=random) < part, right, 1 - right)
            judgement = judge(task, said, right)
            outcomes.append(Outcome(method, task, 0, row(task, judgement.scores()), judgement))
    results = gather(outcomes)
    counts = [
        ("cola", "matthews_correlation"), ("mrpc", "accuracy"), ("mrpc", "f1"), ("mnli", "accuracy"),
        ("mnli", "accuracy_mismatched"),
    ]  # fmt: skip
    against_baseline = [test for test in results.tests if test.against == "dense"]
    for method in ("half", "third"):
        assert {(test.task, test.metric) for test in against_baseline if test.method == method} == {*counts}
    assert [(test.task, test.metric) for test in results.tests if test.against == "half"] == [
        count for task in results.tasks for count in counts if count[0] == task
    ]
    family = [test.p_value for test in against_baseline]
    assert [test.adjusted for test in against_baseline] == pytest.approx(multipletests(family, method="holm")[1])
    for task, metric in counts:
        test = results.test("half", "dense", task, metric)
        assert test is not None
        scores = {each.method: each.row.scores[metric] for each in outcomes if each.task == task}
        assert test.difference == pytest.approx(scores["half"] - scores["dense"])
    first = results.test("dense", "half", "mrpc")
    assert first is not None
    assert first.metric == "accuracy"
    assert results.test("half", "dense", "mrpc", "matthews_correlation") is None


def test_methods_are_tested_on_seeds_that_all_have(judge: Callable[..., Judgement]) -> None:
    made = judge("sst2", torch.ones(20, dtype=torch.long), torch.ones(20, dtype=torch.long))
    results = gather(
        [
            Outcome(method, "sst2", seed, row("sst2", made.scores(), seed), made)
            for method, seeds in (("dense", (0, 1, 2)), ("half", (0, 1, 2)), ("third", (0, 1, 2)), ("late", (2,)))
            for seed in seeds
        ]
    )
    assert {(test.method, test.against): test.seeds for test in results.tests} == {
        ("half", "dense"): 3, ("third", "dense"): 3, ("late", "dense"): 1,
        ("third", "half"): 1, ("late", "half"): 1, ("late", "third"): 1,
    }  # fmt: skip


def test_permutations_are_enough_for_the_family(monkeypatch: pytest.MonkeyPatch, judged: list[Outcome]) -> None:
    asked: list[int] = []

    def fake(*_: Any, resamples: int, **__: Any) -> Any:
        asked.append(resamples)
        raise LookupError

    monkeypatch.setattr("toolkit.comparison.testing.paired_test", fake)
    with pytest.raises(LookupError):
        Results.gather(judged, baseline="dense", resamples=10)
    assert 4 / (asked[0] + 1) < 0.05  # Four tests against the baseline: the least corrected p-value


def test_seeds_that_only_one_method_has_are_not_tested(judge: Callable[..., Judgement]) -> None:
    right = torch.ones(20, dtype=torch.long)
    made = judge("sst2", right, right)
    outcomes = [
        Outcome(method, "sst2", seed, row("sst2", made.scores(), seed), made)
        for method, seeds in (("dense", (0, 1, 2)), ("half", (1, 2, 3)), ("other", (7,)))
        for seed in seeds
    ]
    results = gather([*outcomes, outcome("silent", "sst2", {"accuracy": 1.0})])
    assert [(test.method, test.against, test.seeds) for test in results.tests] == [("half", "dense", 2)]
    assert results.summary("silent", "sst2").scores["accuracy"].interval is None  # type: ignore[union-attr]


def test_results_survive_their_files(judged: list[Outcome], tmp_path: Path) -> None:
    time = {"median": 2.0, "iqr": 0.1, "batch": 1, "length": 8, "threads": 1, "device": "cpu"}
    lost = outcome(
        "worse", "stsb", {"pearson": float("nan"), "spearman": 0.0}, latency_ms=time, extras={"kept": (1, 2)}
    )
    failures = [
        Failure("worse", "cola", 0, "ValueError: <b>, or\nmore", "cells/x/log.txt"),
        Failure("x", "rte", 1, "y"),
    ]
    results = gather([*judged, lost], failures)
    results.write(tmp_path / "new" / "report")
    assert Results.read(tmp_path / "new" / "report") == results
    assert Results.read(tmp_path / "new" / "report" / "compare.json") == results
    assert {file.name for file in (tmp_path / "new" / "report").iterdir()} == {
        "compare.json", "compare.csv", "compare.md", "compare.html", "tasks.png",
    }  # fmt: skip
    content = json.loads((tmp_path / "new" / "report" / "compare.json").read_text(encoding="utf-8"))
    assert content["schema"] == 1
    assert [Row.from_dict(each).task for each in content["rows"]] == [entry.row.task for entry in results.entries]
    assert content["rows"][0]["intervals"]["accuracy"] == [1.0, 1.0]
    assert content["summary"]["averages"][0]["tasks"] == list(results.averages[0].tasks)
    table = [*csv.DictReader(io.StringIO((tmp_path / "new" / "report" / "compare.csv").read_text(encoding="utf-8")))]
    assert [line["status"] for line in table] == ["done"] * 7 + ["failed"] * 2
    (of_stsb,) = (line for line in table if line["task"] == "stsb")
    assert (of_stsb["pearson"], of_stsb["spearman"]) == ("", "0.0")
    assert (of_stsb["latency_ms"], of_stsb["latency_length"]) == ("2.0", "8")
    assert table[-2]["reason"] == "ValueError: <b>, or\nmore"
    assert [float(line["accuracy"]) for line in table if line["accuracy"]] == pytest.approx([1, 1, 1, 1, 0.85, 0.85])


def test_without_matplotlib_the_tables_are_written(
    judged: list[Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks.png").write_bytes(b"of an earlier report")
    monkeypatch.setattr(document, "find_spec", lambda _: None)
    with pytest.warns(UserWarning, match=r"Install the extra \[plots\]"):
        gather(judged).write(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "compare.csv", "compare.html", "compare.json", "compare.md",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no comparison"),
        ("[]", "schema is None, expected 1"),
        ('{"schema": 2}', "schema is 2, expected 1"),
        ('{"schema": 1}', "baseline"),
        ('{"schema": 1, "baseline": "x", "rows": [{}]}', "missing; the row must have it"),
        ('{"schema": 1, "baseline": "x", "rows": 3}', "holds no comparison"),
    ],
)
def test_what_is_no_comparison_is_refused(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no comparison .*compare\.json"):
        Results.read(tmp_path)
    (tmp_path / "compare.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        Results.read(tmp_path)


def test_impossible_outcomes_are_refused() -> None:
    with pytest.raises(ValueError, match="is of task 'rte', expected 'sst2'"):
        Outcome("dense", "sst2", 0, row("rte", {}))
    with pytest.raises(ValueError, match="extra 'key'"):
        outcome("dense", "sst2", {}, extras={"key": 1})
    with pytest.raises(ValueError, match="Two outcomes of 'dense' on 'sst2' with seed 0"):
        gather([outcome("dense", "sst2", {})] * 2)


def test_nothing_at_all_is_a_report_too(tmp_path: Path) -> None:
    for number, results in enumerate((gather([]), gather([], [Failure("dense", "sst2", 0, "no")]))):
        results.write(tmp_path / str(number))
        assert Results.read(tmp_path / str(number)) == results
