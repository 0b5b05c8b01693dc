"""Draw a comparison: quality over costs, and every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from toolkit.comparison.costs import COSTS, MEASURED, written
from toolkit.comparison.layout import metric_label, one_line, significance_mark
from toolkit.comparison.summary import Score
from toolkit.statistics.figures import save_figures

if TYPE_CHECKING:
    from toolkit.comparison.results import Results

# Told apart with every kind of colour vision (Okabe and Ito 2008, https://jfly.uni-koeln.de/color/).
_COLORS = ("#404040", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP*X<>ph"
_SPAN = 5.0  # Costs that are further apart than this factor stand on a logarithmic axis.
# Where a label may stand beside its point, in points: near ones first.
_PLACES = [
    (x * distance, y * distance)
    for distance in (7, 14, 24, 36, 50, 66)
    for x, y in ((1, 0), (-1, 0), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8), (0, 1.2), (0, -1.2))
]


Point = tuple[float, float]


def draw(results: Results, folder: Path) -> list[Path]:
    """Write ``pareto-size.png``, ``pareto-latency.png`` and ``tasks.png``, each whole or not at all.

    Args:
        results: Of the comparison; what it has no figures for is left out.
        folder: Where to.

    Returns:
        The files.
    """
    figures = {
        "pareto-size": draw_pareto(results, "bytes"),
        "pareto-latency": draw_pareto(results, "latency_ms"),
        "tasks": draw_tasks(results),
    }
    return save_figures({name: figure for name, figure in figures.items() if figure is not None}, folder)


def draw_pareto(results: Results, key: str) -> Figure | None:
    """Draw the average score of every method over a cost, with the frontier of the optimal ones.

    Args:
        results: Of the comparison.
        key: Of the cost.

    Returns:
        The figure; None if no method has both, or the cost was not measured alike.
    """
    points: dict[str, tuple[float, Score]] = {}
    for method in results.methods:
        average, cost = results.average(method), results.costs(method).get(key)
        if average is not None and average.score.mean is not None and cost is not None:
            points[method] = (cost, average.score)
    if not points or (key in MEASURED and len(results.conditions(key)) > 1):
        return None
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.subplots()
    optimal = results.optimal(key)
    for method, (cost, score) in points.items():
        color, marker = _look(results, method)
        mean = 100 * (score.mean or 0.0)
        errors = None if score.interval is None else _errors(mean, score.interval)
        axes.errorbar(cost, mean, yerr=errors, color=color, ecolor=f"{color}80", capsize=3, lw=1, ls="", zorder=2)
        filled = color if method in optimal else "white"
        axes.plot(cost, mean, marker=marker, ms=7, color=color, mfc=filled, ls="", label=method, zorder=3)
    frontier = sorted((points[method][0], 100 * (points[method][1].mean or 0.0)) for method in optimal)
    if len(frontier) > 1:
        axes.step(*zip(*frontier, strict=True), where="post", color="gray", lw=1, ls="--", zorder=1)
    _cost_axis(axes, results, key, [cost for cost, _ in points.values()])
    tasks = next(average.tasks for average in results.averages if average.over == "all")
    axes.set_ylabel("average score, %" if len(tasks) > 1 else f"score on {tasks[0]}, %")
    axes.margins(x=0.18, y=0.12)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title("filled: Pareto-optimal; bars: 95 % bootstrap over examples", fontsize=8, loc="left")
    places = {method: (cost, 100 * (score.mean or 0.0)) for method, (cost, score) in points.items()}
    bars = [
        ((cost, 100 * score.interval[0]), (cost, 100 * score.interval[1]))
        for cost, score in points.values()
        if score.interval is not None
    ]
    steps = [part for (x, y), (to, up) in pairwise(frontier) for part in (((x, y), (to, y)), ((to, y), (to, up)))]
    label_points(axes, places, {method: _look(results, method)[0] for method in places}, [*bars, *steps])
    return figure


def draw_tasks(results: Results) -> Figure | None:
    """Draw every task's first metric as bars, with intervals, and the baseline's as a line.

    Args:
        results: Of the comparison.

    Returns:
        The figure; None if no task has a score.
    """
    tasks = [task for task in results.tasks if results.metrics(task)]
    if not tasks:
        return None
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    height = 0.21 * len(results.methods) + 0.55
    figure = Figure(figsize=(max(2.5 * columns + 1.2, 4.8), rows * height + 0.35), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    places = np.arange(len(results.methods))
    for task, axes in zip(tasks, panels.flat, strict=False):
        metric = results.metrics(task)[0]
        axes.set_title(f"{task}, {one_line(metric_label(metric))}", fontsize=8, loc="left")
        axes.set_xlim(min(0.0, 100 * _lowest(results, task, metric)), 132)
        for place, method in zip(places, results.methods, strict=True):
            summary = results.summary(method, task)
            score = summary.scores.get(metric) if summary else None
            if score is None or score.mean is None:
                told = "" if summary is None else "undefined" if score else "failed"
                axes.text(1, place, told, va="center", fontsize=7, style="italic")
                continue
            mean = 100 * score.mean
            errors = None if score.interval is None else _errors(mean, score.interval)
            axes.barh(place, mean, height=0.72, color=_look(results, method)[0], alpha=0.75, xerr=errors,
                      error_kw={"lw": 1, "capsize": 2, "ecolor": "black"})  # fmt: skip
            mark = significance_mark(results.test(method, results.baseline, task))
            axes.text(104, place, f"{mean:.1f}{mark}", va="center", fontsize=7)
            if method == results.baseline:
                axes.axvline(mean, color="black", lw=0.8, ls=":", zorder=0)
        axes.set_yticks(places, results.methods, fontsize=7)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.tick_params(labelsize=7, length=2)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat[len(tasks) :]:
        axes.set_visible(False)
    panels[0, 0].invert_yaxis()  # The baseline on top, as in the tables; shared by all.
    figure.suptitle(
        f"scores in %, with 95 % bootstrap intervals; dotted: {results.baseline}", fontsize=8, x=0.01, ha="left"
    )
    return figure


def label_points(
    axes: Axes, points: Mapping[str, Point], colors: Mapping[str, str], lines: Sequence[tuple[Point, Point]] = ()
) -> dict[str, Annotation]:
    """Write names beside points so that they cover neither each other nor a point, where there is room.

    Args:
        axes: With their final limits; the figure is laid out.
        points: Name → place in the axes' units.
        colors: Name → colour.
        lines: Start and end of level and upright lines that are better not covered.

    Returns:
        Name → its label.

    Raises:
        ValueError: If the axes belong to no figure.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("The axes belong to no figure; make them by figure.subplots().")
    FigureCanvasAgg(figure)  # Measures texts.
    figure.draw_without_rendering()
    inside = axes.get_window_extent()
    at = {name: axes.transData.transform(place) for name, place in points.items()}
    half = 5 * figure.dpi / 72  # of a marker
    taken = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in at.values()]
    for start, end in lines:
        (x, y), (to, up) = axes.transData.transform([start, end])
        taken.append(Bbox.from_extents(min(x, to) - 1, min(y, up) - 1, max(x, to) + 1, max(y, up) + 1))
    labels = {}
    for name in sorted(points, key=lambda name: (-at[name][1], at[name][0])):
        label = axes.annotate(name, points[name], xytext=(0, 0), textcoords="offset points", fontsize=8,
                              color=colors[name], path_effects=[withStroke(linewidth=2.5, foreground="white")],
                              zorder=4, annotation_clip=False)  # fmt: skip
        choices = []
        for number, (x, y) in enumerate(_PLACES):
            label.set_position((x, y))
            label.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
            label.set_verticalalignment("center" if y == 0 else "bottom" if y > 0 else "top")
            box = label.get_window_extent()
            covered = sum(_overlap(box, other) for other in taken) + box.width * box.height - _overlap(box, inside)
            choices.append(
                (covered, number, (x, y), label.get_horizontalalignment(), label.get_verticalalignment(), box)
            )
            if covered <= 0:
                break
        _, number, place, horizontal, vertical, box = min(choices, key=lambda choice: choice[:2])
        label.set(position=place, horizontalalignment=horizontal, verticalalignment=vertical)
        if number >= 8:  # Too far away to be taken for its point's without a line.
            axes.annotate("", points[name], xytext=place, textcoords="offset points", zorder=1,
                          arrowprops={"arrowstyle": "-", "lw": 0.6, "color": colors[name], "shrinkB": 4})  # fmt: skip
        taken.append(box)
        labels[name] = label
    figure.set_layout_engine("none")  # Labels must stay where there was room for them.
    return labels


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return 0.0 if common is None else float(common.width * common.height)


def _lowest(results: Results, task: str, metric: str) -> float:
    """The lowest bound of a task's scores; a correlation can be below zero."""
    scores = [
        summary.scores[metric] for summary in results.summaries if summary.task == task and metric in summary.scores
    ]
    return min((score.interval[0] if score.interval else score.mean or 0.0 for score in scores), default=0.0)


def _look(results: Results, method: str) -> tuple[str, str]:
    """Colour and marker of a method, the same in all figures."""
    place = results.methods.index(method)
    return _COLORS[place % len(_COLORS)], _MARKERS[place % len(_MARKERS)]


def _errors(mean: float, interval: tuple[float, float]) -> list[list[float]]:
    """Lengths of the two arms; a mean can lie outside of a percentile interval."""
    return [[max(mean - 100 * interval[0], 0.0)], [max(100 * interval[1] - mean, 0.0)]]


def _cost_axis(axes: Axes, results: Results, key: str, values: Sequence[float]) -> None:
    cost = next(cost for cost in COSTS if cost.key == key)
    label = one_line(cost.label)
    if key in MEASURED and (found := results.conditions(key)):
        label += f" ({', '.join(f'{name} {value}' for name, value in found[0].items())})"
    axes.set_xlabel(label)
    if min(values) > 0 and max(values) > _SPAN * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, cost.unit)))
