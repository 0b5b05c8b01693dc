"""Draw the profile of a network's layers."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

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
        axes[1].plot(layers, profile.probe, marker="o", label="each layer", color="tab:green")
        axes[1].plot(
            layers, profile.cumulative_probe, marker="s", ls="--", label="all layers so far", color="tab:olive"
        )
        axes[1].set_ylabel(f"probe, {str(profile.probe_metric).replace('_', ' ')}")
        axes[1].legend(frameon=False)

    # A block stands between the layer that it reads and the one that it writes.
    axes[-1].bar(layers[:-1] + 0.5, profile.influence, width=0.6, color="tab:gray")
    axes[-1].set_ylabel("block influence")
    axes[-1].set_xlabel("layer (0: embeddings); bars: blocks")
    axes[-1].set_xticks(layers)
    for panel in axes:
        panel.grid(alpha=0.3)
    figure.suptitle(f"{profile.network} on {profile.task}, {profile.rows:,} rows")
    return figure


def draw_similarity(profile: LayerProfile) -> Figure:
    """Draw linear CKA between all pairs of layers as a heat map.

    Args:
        profile: Of a network of B blocks.
    """
    similarity = np.array(profile.similarity)
    size = 1.8 + 0.45 * len(similarity)
    figure = Figure(figsize=(size + 1.0, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(similarity, vmin=0, vmax=1, cmap="viridis", origin="lower")
    layers = np.arange(len(similarity))
    axes.set_xticks(layers)
    axes.set_yticks(layers)
    axes.set_xlabel("layer (0: embeddings)")
    axes.set_ylabel("layer")
    if len(similarity) <= 13:
        for (row, column), value in np.ndenumerate(similarity):
            color = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, label="linear CKA")
    axes.set_title(f"{profile.network} on {profile.task}", fontsize=10)
    return figure


def draw(profile: LayerProfile, folder: Path) -> list[Path]:
    """Write ``layers.png`` and ``similarity.png``, each of them whole or not at all.

    Args:
        profile: What to draw.
        folder: Where to.

    Returns:
        The files.
    """
    files = []
    for name, figure in (("layers", draw_layers(profile)), ("similarity", draw_similarity(profile))):
        beside = folder / f".{name}.png"
        figure.savefig(beside, dpi=150)
        files.append(beside.replace(folder / f"{name}.png"))
    return files
