"""The tables of a comparison show its figures and marks, on a terminal, in Markdown, and whatever the names are."""

import io
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from toolkit.comparison.cost_table import cost_table
from toolkit.comparison.layout import Section, metric_label
from toolkit.comparison.outcomes import Failure, Outcome
from toolkit.comparison.quality_table import quality_table
from toolkit.comparison.results import Results
from toolkit.comparison.summary import GLUE
from toolkit.comparison.table import as_markdown, sections
from toolkit.evaluation.row import Row
from toolkit.tasks import TASKS

ROW: dict[str, Any] = {"name": "it", "parameters": 1, "nonzero_parameters": 1, "sparsity": 0.0}
PROXIMAL, NEURONS = "proximal [80 %] <i>", "neuron|selection"


def column(section: Section, name: str) -> dict[str, str]:
    place = [header.replace("\n", " ") for header in section.header].index(name)
    return {line[0].text: str(line[place]) for line in section.lines}


def printed(results: Results, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(results)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_quality_shows_means_marks_and_what_is_missing(compared: Results) -> None:
    table = quality_table(compared)
    assert [line[0].text for line in table.lines] == list(compared.methods)
    for metric, name in (("accuracy", "mrpc accuracy"), ("f1", "mrpc F1")):
        for method, text in column(table, name).items():
            score = compared.summary(method, "mrpc").scores[metric]  # type: ignore[union-attr]
            assert score.mean is not None
            assert score.std is not None
            assert text.startswith(f"{100 * score.mean:.1f}±{100 * score.std:.1f}")
    assert column(table, "qnli accuracy")[NEURONS] == "failed"
    assert re.fullmatch(r"[\d.]+ \(1/2\) ↓", column(table, "rte accuracy")[NEURONS])
    for text in column(table, "GLUE (4 of 9)").values():  # Of seed 0 alone on RTE, for every method.
        assert re.fullmatch(r"[\d.]+ \(1/2\)( ★)?", text)
    kept = compared.average(PROXIMAL, "GLUE").kept  # type: ignore[union-attr]
    assert column(table, "kept, GLUE (4 of 9)")[PROXIMAL] == f"{100 * kept:.1f} %"  # type: ignore[operator]
    assert "average" not in table.header  # All tasks are GLUE's.
    assert "CoLA" not in table.header
    assert all(name != "cola accuracy" for name in (header.replace("\n", " ") for header in table.header))
    assert "(1/2): 1 of 2 seeds is there" in table.note
    assert "of the seeds that all methods have: rte 1 of 2." in table.note
    assert "In no average, as not all methods have a score of a common seed there: qnli." in table.note


def test_glue_has_its_name_where_all_of_it_is_there() -> None:
    def made(tasks: Iterable[str]) -> Results:
        return Results.gather(
            [
                Outcome("fine_tuning", task, 0, Row(**ROW, task=task, seed=0, scores={TASKS[task].metrics[0]: 0.5}))
                for task in tasks
            ]
        )

    assert quality_table(made(GLUE)).header[1:3] == ("GLUE", "kept,\nGLUE")
    part = quality_table(made(["sst2", "rte", "ner"]))
    assert part.header[1:5] == ("GLUE\n(2 of 9)", "kept,\nGLUE\n(2 of 9)", "average", "kept,\naverage")
    assert "GLUE (2 of 9): mean over sst2, rte." in part.note


def test_the_best_is_that_of_the_same_seeds() -> None:
    scores = {"fine_tuning": (0.9, 0.3), "good": (0.8, 0.25), "lucky": (0.7, None), "other": (0.75, 0.2)}
    cells = [(method, seed, score) for method, of in scores.items() for seed, score in enumerate(of)]
    outcomes = [
        Outcome(method, "sst2", seed, Row(**ROW, task="sst2", seed=seed, scores={"accuracy": score}))
        for method, seed, score in cells
        if score is not None
    ]
    results = Results.gather(outcomes, [Failure("lucky", "sst2", 1, "no")])
    table = quality_table(results)
    # The mean of the lucky one, of seed 0 alone, is the highest; of seed 0 it is the lowest.
    assert column(table, "sst2 accuracy") == {
        "fine_tuning": "60.0±42.4", "good": "52.5±38.9 ★", "lucky": "70.0 (1/2)", "other": "47.5±38.9"
    }  # fmt: skip
    assert column(table, "kept") == {
        "fine_tuning": "100.0 %", "good": "87.5 %", "lucky": "77.8 %", "other": "79.2 %"
    }  # fmt: skip
    apart = quality_table(Results.gather([each for each in outcomes if (each.method, each.seed) != ("good", 0)]))
    assert "★" not in "".join(column(apart, "sst2 accuracy").values())
    assert "No method is marked as the best where no seed is there for all of them: sst2." in apart.note


def test_one_network_for_all_seeds_has_no_deviation() -> None:
    outcomes = [
        Outcome(method, task, seed, Row(**ROW, task=task, seed=seed, scores={"accuracy": 0.5 + 0.1 * seed * trained}),
                key=f"{method}-{seed * trained}")
        for method, trained in (("fine_tuning", 1), ("a folder", 0))
        for task in ("sst2", "rte")
        for seed in (0, 1, 2)
    ]  # fmt: skip
    results = Results.gather(outcomes)
    table = quality_table(results)
    for name in ("sst2 accuracy", "rte accuracy", "GLUE (2 of 9)"):
        assert column(table, name) == {"fine_tuning": "60.0±10.0", "a folder": "50.0"}
    assert "One network for all seeds, so without deviation: a folder." in table.note
    assert "(1/3)" not in table.note
    assert column(sections(results)[2], "seeds") == {"fine_tuning": "3", "a folder": "1 for all"}
    fewer = Results.gather([each for each in outcomes if (each.method, each.seed) != ("a folder", 2)])
    assert column(quality_table(fewer), "sst2 accuracy")["a folder"] == "50.0"


@pytest.mark.parametrize("failures", [(), (Failure("half", "sst2", 0, "no"),)])
def test_without_a_cell_a_sentence_says_so(failures: tuple[Failure, ...]) -> None:
    results = Results.gather([], failures)
    sentence = f"No cell is finished, {len(failures)} failed: there are no scores to compare."
    assert [section.title for section in sections(results)] == ["Failed cells"] * len(failures)
    for text in (printed(results), as_markdown(results)):
        assert sentence in text
        assert "Quality" not in text


def test_marks_follow_the_tests(compared: Results) -> None:
    table = quality_table(compared)
    for task, name in (("sst2", "sst2 accuracy"), ("cola", "cola Matthews")):
        metric = compared.metrics(task)[0]
        means = {method: compared.summary(method, task).scores[metric].mean for method in compared.methods}  # type: ignore[union-attr]
        best = max((method for method in means if method != "fine_tuning"), key=lambda method: means[method] or 0)
        for method, text in column(table, name).items():
            assert ("★" in text) == (method == best)
            test = compared.test(method, "fine_tuning", task)
            lost = (
                test is not None and test.adjusted is not None and test.adjusted < 0.05 and (test.difference or 0) < 0
            )
            assert ("↓" in text) == lost
            rival = compared.test(method, best, task) if method != "fine_tuning" else None
            assert ("≈" in text) == (rival is not None and rival.adjusted is not None and rival.adjusted >= 0.05)
    marked = "".join(str(field) for line in table.lines for field in line)
    assert "↓" in marked
    assert "★" in marked
    assert "≈" in marked
    # Three methods on five tasks with six metrics that count, but one method has nothing on QNLI.
    assert "over 17 tests" in table.note
    assert "over 16 tests between" in table.note
    assert "at a task's first metric only" in table.note
    assert not any(mark in text for text in column(table, "mrpc F1").values() for mark in "↓↑≈")
    assert "↑" not in table.note


def test_identical_predictions_are_told(compared: Results) -> None:
    tests = tuple(replace(test, identical=test.task == "sst2" and test.method == PROXIMAL) for test in compared.tests)
    note = quality_table(replace(compared, tests=tests)).note
    assert f"Identical predictions: {PROXIMAL} = fine_tuning (sst2)." in note
    assert "Identical" not in quality_table(replace(compared, tests=())).note


def test_significantly_better_is_marked_too(compared: Results) -> None:
    test = compared.test(PROXIMAL, "fine_tuning", "sst2")
    assert test is not None
    better = replace(compared, tests=(replace(test, difference=0.1, adjusted=0.01),))
    assert "↑" in column(quality_table(better), "sst2 accuracy")[PROXIMAL]
    assert "↑ significantly above fine_tuning" in quality_table(better).note


def test_costs_show_amounts_parts_and_optima(compared: Results) -> None:
    table = cost_table(compared)
    assert column(table, "bytes, stored") == {
        "fine_tuning": "90.9 MB ◆", PROXIMAL: "57.1 MB (63 %) ◆", "layer_dropping": "69.6 MB (77 %)",
        NEURONS: "7.6 MB (8.4 %) ◆",
    }  # fmt: skip
    # The difference of 0.1 ms is less than the interquartile range of 0.2 ms.
    assert column(table, "latency") == {
        "fine_tuning": "18.2 ms ◆", PROXIMAL: "18.3 ms", "layer_dropping": "9.3 ms (51 %) ◆", NEURONS: "3.1 ms (17 %) ◆"
    }  # fmt: skip
    assert set(column(table, "parameters").values()) == {"22.7 M"}  # All the same: nothing is optimal about it.
    assert "throughput" not in " ".join(table.header)
    assert "batch 1, length 128, threads 1, device cpu" in table.note


def test_times_under_different_conditions_are_not_compared(compared: Results) -> None:
    entry = compared.entries[0]
    row = replace(entry.row, latency_ms={**entry.row.latency, "device": "a GPU"})
    table = cost_table(replace(compared, entries=(replace(entry, row=row), *compared.entries[1:])))
    assert all("%" not in text and "◆" not in text for text in column(table, "latency").values())
    assert "device cpu; or" in table.note or "device a GPU; or" in table.note
    assert "not compared" in table.note


def test_every_task_has_its_tests(compared: Results) -> None:
    table = next(section for section in sections(compared) if section.title == "mrpc")
    for metric, label in (("accuracy", "accuracy"), ("f1", "F1")):
        test = compared.test(PROXIMAL, "fine_tuning", "mrpc", metric)
        assert test is not None
        assert test.p_value is not None
        assert column(table, f"p, {label}")[PROXIMAL] in (f"{test.p_value:.3f}", "< 0.001")
        assert column(table, f"p, {label}")["fine_tuning"] == "–"
        assert column(table, f"difference, {label}")[PROXIMAL].startswith(f"{100 * (test.difference or 0):+.1f} [")
    low, high = compared.summary(PROXIMAL, "mrpc").scores["accuracy"].interval  # type: ignore[union-attr, misc]
    assert column(table, "95 %")[PROXIMAL] == f"[{100 * low:.1f}, {100 * high:.1f}]"
    assert column(table, "seeds")[NEURONS] == "2"
    rte = next(section for section in sections(compared) if section.title == "rte")
    assert column(rte, "seeds")[NEURONS] == "1 (1 failed)"
    pairs = next(section for section in sections(compared) if section.title == "Methods against each other")
    assert len(pairs.lines) == len([test for test in compared.tests if test.against != "fine_tuning"]) == 16


@pytest.mark.parametrize("width", [60, 80, 120, 400])
def test_screen_folds_by_groups_of_columns(compared: Results, width: int) -> None:
    text = printed(compared, width)
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    for section in (quality_table(compared), cost_table(compared)):
        for line in section.lines:
            for field in line[1:]:
                assert field.text in flat
    parts = sum(line.startswith("method") for line in text.splitlines())
    assert (parts == 3) == (width >= 120)  # Quality, costs, failures, each in one piece.
    assert "…" not in text


def test_names_are_no_markup(compared: Results) -> None:
    text = printed(compared, 120)
    assert PROXIMAL in text
    assert "RuntimeError: <b>no</b> | [red]memory" in text


def test_markdown_is_well_formed(compared: Results) -> None:
    text = as_markdown(compared)
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 9  # Quality, costs, failures, five tasks, pairs.
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
        assert re.fullmatch(r"\|( ---:? \|)+", block[1])
    assert r"neuron\|selection" in text
    assert r"proximal \[80 %\] \<i>" in text
    assert "<b>" not in text.replace(r"\<b>", "")
    backslashed = as_markdown(replace(compared, failures=(Failure("a\\|b", "sst2", 0, "one\ntwo"),)))
    assert r"| a\\\|b | sst2 | 0 | one two | – |" in backslashed


def test_metrics_of_further_sets_have_labels() -> None:
    assert [metric_label(name) for name in ("span_f1", "f1_other", "accuracy_mismatched", "bleu", "accurate")] == [
        "span F1", "F1\nother", "accuracy\nmismatched", "bleu", "accurate",
    ]  # fmt: skip
