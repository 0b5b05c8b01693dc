"""Draw the profile of a network's layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from toolkit.files.writing import replacing
from toolkit.statistics.profile import LayerProfile


def draw_layers(profile: LayerProfile) -> Figure:
    """Draw class variability, probe scores and block influence over the layers.

    Args:
        profile: Of a network of B blocks.
    """
    panels = 2 if profile.probe is None else 3
    figure = Figure(figsize=(6.4, 2.1 * panels + 0.6), layout="constrained")
    axes = figure.subplots(panels, 1, sharex=True)
    layers = np.arange(profile.num_blocks + 1)

    variability = np.array(profile.variability)
    finite = variability[np.isfinite(variability)]
    axes[0].plot(layers, variability, marker="o", color="tab:blue")
    if len(finite) and finite.min() > 0 and finite.max() > 10 * finite.min():
        axes[0].set_yscale("log")
    if np.isfinite(variability[1:]).any():
        lowest = int(np.nanargmin(variability[1:])) + 1
        axes[0].plot(
            lowest, variability[lowest], marker="o", markersize=11, fillstyle="none", ls="", color="tab:red",
            label=f"lowest: layer {lowest}",
        )  # fmt: skip
        axes[0].legend(frameon=False)
    axes[0].set_ylabel("class variability ν")

    if profile.probe is not None and profile.cumulative_probe is not None:
        plot_probes(axes[1], profile.probe, profile.cumulative_probe, str(profile.probe_metric))

    # A block stands between the layer that it reads and the one that it writes.
    axes[-1].bar(layers[:-1] + 0.5, profile.influence, width=0.6, color="tab:gray")
    axes[-1].set_ylabel("block influence")
    axes[-1].set_xlabel("layer (0: embeddings); bars: blocks")
    axes[-1].set_xticks(layers)
    for panel in axes:
        panel.grid(alpha=0.3)
    figure.suptitle(f"{profile.network} on {profile.task}, {profile.rows:,} rows")
    return figure


def plot_probes(axes: Axes, independent: Sequence[float], cumulative: Sequence[float], metric: str) -> None:
    """Plot the scores of linear probes over the layers.

    Args:
        axes: Where to.
        independent: Of a probe on each layer.
        cumulative: Of a probe on all layers up to each.
        metric: Name of the score.
    """
    layers = np.arange(len(independent))
    axes.plot(layers, independent, marker="o", label="each layer", color="tab:green")
    axes.plot(layers, cumulative, marker="s", ls="--", label="all layers so far", color="tab:olive")
    axes.set_ylabel(f"probe, {metric.replace('_', ' ')}")
    axes.legend(frameon=False)


def draw_similarity(profile: LayerProfile) -> Figure:
    """Draw linear CKA between all pairs of layers as a heat map.

    Args:
        profile: Of a network of B blocks.
    """
    return draw_layer_similarity(profile.similarity, f"{profile.network} on {profile.task}")


def draw_layer_similarity(similarity: ArrayLike, title: str) -> Figure:
    """Draw linear CKA between all pairs of L layers as a heat map.

    Args:
        similarity: ``(L, L)``.
        title: Of the figure.
    """
    figure, axes = draw_heat_map(similarity, "linear CKA", title)
    axes.set_xlabel("layer (0: embeddings)")
    axes.set_ylabel("layer")
    return figure


def draw_heat_map(values: ArrayLike, label: str, title: str, names: Sequence[str] | None = None) -> tuple[Figure, Axes]:
    """Draw a square matrix of shares or similarities, from 0 to 1, as a heat map.

    Args:
        values: ``(N, N)``; up to 13 × 13 numbers are written into their fields.
        label: What the values are.
        title: Of the figure.
        names: Of the N rows and columns, from top to bottom; without them they are numbered, from bottom to top.
    """
    matrix = np.asarray(values, dtype=np.float64)
    size = 1.8 + 0.45 * len(matrix)
    figure = Figure(figsize=(size + 1.0, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix, vmin=0, vmax=1, cmap="viridis", origin="lower" if names is None else "upper")
    places = np.arange(len(matrix))
    axes.set_xticks(places)
    axes.set_yticks(places)
    if names is not None:
        axes.set_xticklabels(names, rotation=45, ha="right")
        axes.set_yticklabels(names)
    if len(matrix) <= 13:
        for (row, column), value in np.ndenumerate(matrix):
            color = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, label=label)
    axes.set_title(title, fontsize=10)
    return figure, axes


def draw(profile: LayerProfile, folder: Path) -> list[Path]:
    """Write ``layers.png`` and ``similarity.png``, each of them whole or not at all.

    Args:
        profile: What to draw.
        folder: Where to.

    Returns:
        The files.
    """
    return save_figures({"layers": draw_layers(profile), "similarity": draw_similarity(profile)}, folder)


def save_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write figures as PNG, each of them whole or not at all.

    Args:
        figures: By the names of their files, without the ending.
        folder: Where to.

    Returns:
        The files.
    """
    files = []
    for name, figure in figures.items():
        files.append(folder / f"{name}.png")
        with replacing(files[-1]) as staged:
            figure.savefig(staged, dpi=150)
    return files
