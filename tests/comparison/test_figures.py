"""Figures of a comparison show its numbers, and their labels can be read."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.transforms import Bbox

from toolkit.comparison.figures import draw, draw_pareto, draw_tasks, label_points
from toolkit.comparison.results import Outcome, Results
from toolkit.evaluation.row import Row


def test_every_figure_is_written_as_an_image(compared: Results, tmp_path: Path) -> None:
    files = draw(compared, tmp_path)
    assert [file.name for file in files] == ["pareto-size.png", "pareto-latency.png", "tasks.png"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    for file in files:
        image = imread(file)
        assert min(image.shape[:2]) > 300
        assert image[..., :3].std() > 0.05


def test_pareto_figure_shows_scores_costs_and_the_frontier(compared: Results) -> None:
    figure = draw_pareto(compared, "bytes")
    assert figure is not None
    axes = figure.axes[0]
    points = {str(line.get_label()): line for line in axes.lines if str(line.get_label()) in compared.methods}
    assert points.keys() == set(compared.methods)
    for method, line in points.items():
        average = compared.average(method)
        assert average is not None
        assert average.score.mean is not None
        np.testing.assert_allclose(
            np.asarray(line.get_xydata()), [[compared.costs(method)["bytes"], 100 * average.score.mean]]
        )
        filled = line.get_markerfacecolor() != "white"
        assert filled == (method in compared.optimal("bytes"))
    steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert len(steps[0].get_xdata()) == len(compared.optimal("bytes")) == 3  # type: ignore[arg-type]
    assert axes.get_xscale() == "log"
    assert {text.get_text() for text in axes.texts} - {""} == set(compared.methods)


def test_pareto_figure_needs_costs_that_can_be_compared(compared: Results) -> None:
    assert draw_pareto(compared, "throughput") is None
    entry = compared.entries[0]
    row = replace(entry.row, latency_ms={**entry.row.latency, "threads": 7})
    assert (
        draw_pareto(replace(compared, entries=(replace(entry, row=row), *compared.entries[1:])), "latency_ms") is None
    )
    assert draw_pareto(replace(compared, averages=()), "bytes") is None


def test_pareto_figure_compares_the_same_seeds() -> None:
    def made(method: str, seed: int, score: float) -> Outcome:
        scores = {"accuracy": score}
        row = Row(name="it", task="sst2", seed=seed, scores=scores, parameters=1, nonzero_parameters=1, sparsity=0.0,
                  bytes=50 if method == "half" else 100)  # fmt: skip
        return Outcome(method, "sst2", seed, row)

    results = Results.gather([made("fine_tuning", 0, 0.9), made("fine_tuning", 1, 0.1), made("half", 0, 0.8)])
    figure = draw_pareto(results, "bytes")
    assert figure is not None
    points = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in figure.axes[0].lines}
    assert (points["fine_tuning"], points["half"]) == ([[100, pytest.approx(90)]], [[50, pytest.approx(80)]])


def test_bars_show_the_first_metric_of_every_task(compared: Results) -> None:
    figure = draw_tasks(compared)
    assert figure is not None
    for task, axes in zip(compared.tasks, figure.axes, strict=False):
        metric = compared.metrics(task)[0]
        bars = [bar for held in axes.containers if isinstance(held, BarContainer) for bar in held.patches]
        scores = {
            place: summary.scores[metric]
            for place, method in enumerate(compared.methods)
            if (summary := compared.summary(method, task)) and summary.seeds
        }
        places = [round(bar.get_y() + bar.get_height() / 2) for bar in bars]  # type: ignore[attr-defined]
        assert places == list(scores)
        assert [bar.get_width() for bar in bars] == pytest.approx(  # type: ignore[attr-defined]
            [100 * (score.mean or 0) for score in scores.values()]
        )
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert "failed" in texts
    assert draw_tasks(replace(compared, summaries=())) is None


@pytest.mark.parametrize("seed", range(4))
def test_labels_do_not_cover_each_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.subplots()
    centre = random.uniform(0, 1, (3, 2))
    points = {
        f"a method, number {n}": tuple(centre[n % 3] + random.normal(0, 0.02, 2)) for n in range(8)
    }  # in three crowds
    axes.scatter(*zip(*points.values(), strict=True))
    axes.margins(0.2)
    labels = label_points(axes, points, dict.fromkeys(points, "#000000"))  # type: ignore[arg-type]
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = {name: label.get_window_extent(renderer) for name, label in labels.items()}
    assert boxes.keys() == points.keys()
    for one, other in combinations(boxes.values(), 2):
        assert Bbox.intersection(one, other) is None
    inside = axes.get_window_extent()
    for box in boxes.values():
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1
        for point in points.values():
            assert not box.contains(*axes.transData.transform(point))


def test_correlations_below_zero_are_within_the_axes(compared: Results) -> None:
    summary = compared.summaries[0]
    metric = compared.metrics(summary.task)[0]
    score = replace(summary.scores[metric], mean=-0.1, interval=(-0.3, 0.1))
    below = replace(summary, scores={**summary.scores, metric: score})
    figure = draw_tasks(replace(compared, summaries=(below, *compared.summaries[1:])))
    assert figure is not None
    assert figure.axes[0].get_xlim()[0] <= -30
    assert figure.axes[1].get_xlim()[0] == 0
