"""Draw an analysis of redundancy."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from toolkit.probing.analysis import RedundancyAnalysis
from toolkit.statistics.figures import draw_heat_map, draw_layer_similarity, plot_probes, save_figures


def draw_analysis(analysis: RedundancyAnalysis, folder: Path) -> list[Path]:
    """Write every figure of an analysis as PNG, each of them whole or not at all.

    Args:
        analysis: What to draw.
        folder: Where to.

    Returns:
        The files.
    """
    title = f"{analysis.network} on {analysis.task}"
    figures = {
        "layers": draw_oracle(analysis),
        "similarity": draw_layer_similarity(analysis.similarity, title),
        "redundancy": draw_redundancy(analysis),
        "windows": draw_windows(analysis),
        "rankings": draw_rankings(analysis),
    }
    if len(analysis.scores) > 1:
        figures["overlap"], _ = draw_heat_map(
            analysis.overlap,
            f"share of the first {analysis.overlap_size:,} neurons in common",
            title,
            [name.replace("_", " ") for name in analysis.scores],
        )
    return save_figures(figures, folder)


def draw_oracle(analysis: RedundancyAnalysis) -> Figure:
    """Draw the scores of probes on each layer and on all layers up to each.

    Args:
        analysis: What to draw.
    """
    figure, axes = _figure(analysis)
    plot_probes(axes, analysis.independent, analysis.cumulative, analysis.metric)
    axes.set_xlabel("layer (0: embeddings)")
    axes.set_xticks(np.arange(analysis.num_layers))
    return figure


def draw_redundancy(analysis: RedundancyAnalysis) -> Figure:
    """Draw the share of redundant neurons over the thresholds, with the score that the other neurons keep.

    Args:
        analysis: What to draw.
    """
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    shares, scores = figure.subplots(2, 1, sharex=True)
    places = np.arange(len(analysis.cuts))
    bars = shares.bar(places, [analysis.redundant(cut) for cut in analysis.cuts], width=0.6, color="tab:gray")
    shares.bar_label(bars, fmt=lambda share: f"{share:.0%}", fontsize=8)
    shares.set_ylim(0, 1.1)
    shares.yaxis.set_major_formatter(PercentFormatter(1))
    shares.set_ylabel("redundant neurons")
    shares.set_title(f"{analysis.network} on {analysis.task}", fontsize=10)
    scores.plot(places, [cut.score for cut in analysis.cuts], marker="o", label="one neuron of each cluster")
    scores.axhline(analysis.oracle, ls=":", color="black", label="all neurons")
    scores.set_ylabel(f"probe, {analysis.metric.replace('_', ' ')}")
    scores.set_xticks(places, [f"{cut.threshold:g}" for cut in analysis.cuts])
    scores.set_xlabel("threshold of the distance 1 − |r|")
    scores.legend(frameon=False)
    for axes in (shares, scores):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    return figure


def draw_windows(analysis: RedundancyAnalysis) -> Figure:
    """Draw how many clusters reach over how many layers.

    Args:
        analysis: What to draw.
    """
    figure, axes = _figure(analysis)
    windows = analysis.windows
    bars = axes.bar(np.arange(1, analysis.num_layers + 1), windows.clusters, width=0.7, color="tab:gray")
    axes.bar_label(bars, fontsize=8)
    axes.set_xticks(np.arange(1, analysis.num_layers + 1))
    axes.set_xlabel(f"layers that a cluster reaches over, at threshold {windows.threshold:g}")
    axes.set_ylabel("clusters of two neurons or more")
    return figure


def draw_rankings(analysis: RedundancyAnalysis) -> Figure:
    """Draw the score that the first neurons of each ranking keep, over their number.

    Args:
        analysis: What to draw.
    """
    figure, axes = _figure(analysis, height=4.2)
    markers = "osv^D<>pPX*h"
    ordered = sorted(analysis.scores.items(), key=lambda item: item[1], reverse=True)
    for number, (name, scores) in enumerate(ordered):
        axes.plot(
            analysis.sizes, scores, marker=markers[number % len(markers)], ms=5, label=name.replace("_", " "),
            color=f"C{number % 10}", ls="--" if number >= 10 else "-",
        )  # fmt: skip
    axes.axhline(analysis.oracle, ls=":", color="black", label="all neurons")
    axes.set_xscale("log")
    axes.set_xticks(analysis.sizes, [f"{size:,}" for size in analysis.sizes])
    axes.minorticks_off()
    axes.set_xlabel(f"neurons, of {analysis.total:,}")
    axes.set_ylabel(f"probe, {analysis.metric.replace('_', ' ')}")
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    return figure


def _figure(analysis: RedundancyAnalysis, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(f"{analysis.network} on {analysis.task}", fontsize=10)
    return figure, axes
