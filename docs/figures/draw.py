"""Draw the figures of the method pages, from the tables of ``docs/results.md`` and from runs.

``python docs/figures/draw.py RUNS [NAME ...]`` writes ``NAME.svg`` beside this file. RUNS holds the runs whose commands
stand under the figures, in the folders that those commands name. Lines and letters are grey: pages are light or dark.
"""

import argparse
import csv
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from toolkit.data import TaskData
from toolkit.data.batching import Collate, evaluation_loader
from toolkit.evaluation.costs import macs, num_parameters
from toolkit.models.inputs import network_inputs
from toolkit.models.loading import load_network
from toolkit.models.pretrained import resolve_network
from toolkit.models.structure import Structure, keep_structure, whole_structure
from toolkit.pruning.activations import input_norms, wanda_scores
from toolkit.pruning.masks import mask_smallest_per_row
from toolkit.tasks import find_task

HERE = Path(__file__).parent
GREY = "#7f7f7f"
STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "legend.frameon": False,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "figures",
}


def table(heading: str, first: str, after: str = "") -> dict[str, list[str]]:
    """A table of ``docs/results.md``: the first cell of each row → the others, the heads of the columns among them.

    Args:
        heading: The section's, whole.
        first: Of the table's row of heads, its first cell.
        after: Text that stands before the table.
    """
    text = (HERE.parent / "results.md").read_text(encoding="utf-8")
    section = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        raise ValueError(f"results.md has no section {heading!r}.")
    text = section[1].partition(after)[2] if after else section[1]
    for block in text.split("\n\n"):
        rows = [[cell.replace("**", "").strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        if block.startswith("|") and rows[0][0] == first:
            return {row[0]: row[1:] for row in (rows[0], *rows[2:])}
    raise ValueError(f"Section {heading!r} of results.md has no table that begins with {first!r}.")


def number(cell: str) -> float:
    """The first number of a cell."""
    found = re.search(r"-?\d+(\.\d+)?", cell)
    if found is None:
        raise ValueError(f"{cell!r} has no number.")
    return float(found[0])


def logged(run: Path, stage: str, column: str) -> tuple[list[int], list[float]]:
    """Steps and values that a stage of a run logged."""
    with (run / "logs" / stage / "version_0" / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[column]]
    return [int(row["step"]) for row in rows], [float(row[column]) for row in rows]


def block_weights(folder: str | Path) -> dict[str, torch.Tensor]:
    """The matrices of a stored BERT's blocks, by the part of their names that its head does not change."""
    weights = load_file(Path(folder) / "model.safetensors")
    return {
        name.removeprefix("bert."): weight
        for name, weight in weights.items()
        if "encoder.layer" in name and weight.ndim == 2
    }


def fine_tuning(runs: Path, figure: Figure) -> None:
    """Loss and dev accuracy of three seeds."""
    left, right = figure.subplots(1, 2)
    for seed in range(3):
        run = runs / f"sparsity/sst2-dense-{seed}"
        left.plot(*logged(run, "model", "loss"), label=f"seed {seed}")
        steps, scores = logged(run, "model", "dev_accuracy")
        right.plot(steps, np.multiply(scores, 100), marker="o")
    left.set(xlabel="optimizer step", ylabel="loss of a batch")
    right.set(xlabel="optimizer step", ylabel="dev accuracy, %")
    left.legend()


def proximal_pruning(runs: Path, figure: Figure) -> None:
    """Sizes of the weights that are left."""
    axes = figure.subplots()
    edges = np.linspace(0, 0.2, 101)
    for name, label in {
        "dense": "fine-tuned",
        "gradual-magnitude-80": "gradual, by magnitude",
        "rpp--adam-s-metric-80": "RPP, Adam's metric",
    }.items():
        weights = block_weights(runs / f"sparsity/sst2-{name}-0/model").values()
        sizes = torch.cat([weight[weight != 0].abs() for weight in weights])
        axes.stairs(np.histogram(sizes.numpy(), edges)[0] / 1e6, edges, label=label, linewidth=1.5)
    axes.set(xlabel="size |w| of the weights that are not zero", ylabel="million weights", xlim=(0, 0.2))
    axes.legend()


def magnitude_pruning(runs: Path, figure: Figure) -> None:
    """Accuracy over sparsity."""
    found = table("SST-2 at 60, 80 and 90% sparsity", "")
    axes = figure.subplots()
    names = ("gradual, by curvature", "RPP, Adam's metric (default)", "gradual, by magnitude (default)")
    for place, name in enumerate(names):
        means, deviations = zip(*(map(number, cell.split("±")) for cell in found[name]), strict=True)
        axes.errorbar(np.array((60, 80, 90)) + 0.2 * (place - 1), means, deviations, marker="o", capsize=3, label=name)
    axes.set(xlabel="zeros, %", ylabel="accuracy, %", xticks=(60, 80, 90))
    axes.legend()


def movement_pruning(runs: Path, figure: Figure) -> None:
    """Where the weights that are kept come from."""
    before = block_weights(resolve_network("minilm"))
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for panel, (name, label) in zip(
        axes, {"gradual": "gradual magnitude", "movement": "movement"}.items(), strict=True
    ):
        after = block_weights(runs / name / "model")
        start, end = (torch.cat([weights[key].flatten() for key in after]).numpy()[::97] for weights in (before, after))
        kept = end != 0
        panel.plot(start[kept][:2500], (end - start)[kept][:2500], ls="", marker=".", markersize=2, rasterized=True)
        panel.set(xlabel="pretrained weight", title=label, xlim=(-0.2, 0.2), ylim=(-0.005, 0.005))
    axes[0].set_ylabel("moved by")


def wanda_pruning(runs: Path, figure: Figure) -> None:
    """What share of the weights of each input goes, beside the input's norm."""
    folder = str(runs / "sparsity/sst2-dense-0/model")
    data = TaskData("sst2", network=folder, limit_train=1000)
    data.prepare_data()
    network = load_network(folder, data.task, trained=True).eval()
    name = "bert.encoder.layer.3.attention.self.query.weight"
    layer = network.get_submodule(name.rpartition(".")[0])
    rows = data.split("train").select(range(128))
    loader = evaluation_loader(rows, Collate(data.tokenizer, data.task.kind), 64)
    norms = input_norms(network, {name: layer}, (network_inputs(batch) for batch in loader))[name]
    weight = layer.weight.detach()
    order = norms.argsort().numpy()
    axes = figure.subplots()
    for scores, label in ((wanda_scores(weight, norms), "Wanda"), (weight.abs(), "magnitude")):
        pruned = mask_smallest_per_row(scores, round(0.6 * scores.numel())).float().mean(0).numpy()
        axes.plot(norms.numpy()[order], 100 * pruned[order], ls="", marker=".", label=label, rasterized=True)
    axes.set(xscale="log", xlabel="norm of the input", ylabel="its weights that are pruned, %")
    axes.legend()


def structured_pruning(runs: Path, figure: Figure) -> None:
    """Parameters and multiplications over the share of neurons and heads that is gone."""
    axes = figure.subplots(1, 2, sharey=True)
    shares = (0, 0.25, 0.5, 0.75)
    for panel, what in zip(axes, ("feed-forward neurons", "neurons and heads"), strict=True):
        costs = []
        for share in shares:
            network = load_network("minilm", find_task("sst2"))
            whole = whole_structure(network)
            neurons = tuple(own[: round(len(own) * (1 - share))] for own in whole.neurons)
            heads = whole.heads
            if "heads" in what:
                heads = tuple(own[: round(len(own) * (1 - share))] for own in whole.heads)
            keep_structure(network, Structure(heads=heads, neurons=neurons))
            costs.append((num_parameters(network), macs(network)))
        for relative, label in zip(
            np.array(costs).T / np.array(costs)[0][:, None], ("parameters", "MACs"), strict=True
        ):
            panel.plot(np.multiply(shares, 100), 100 * relative, marker="o", label=label)
        panel.set(xlabel=f"{what} removed, %", ylim=(0, 105))
    axes[0].set_ylabel("left, %")
    axes[0].legend()


def layer_dropping(runs: Path, figure: Figure) -> None:
    """Three of six blocks, chosen in four ways."""
    found = table("Blocks chosen by class variability", "")
    tasks = ("SST-2", "QNLI", "UPOS", "chunking")
    columns = [found[""].index(task) for task in tasks]
    axes = figure.subplots()
    methods = ("variability", "random", "bottom (012)", "top (345)")
    for place, method in enumerate(methods):
        cells = [found[method][column].split("±") for column in columns]
        axes.errorbar(
            np.arange(len(tasks)) + 0.15 * (place - 1.5),
            [number(cell[0]) for cell in cells],
            [number(cell[1]) for cell in cells],
            fmt="o",
            ecolor=GREY,
            label=method,
        )
    for place, column in enumerate(columns):
        dense = number(found["uncompressed"][column])
        axes.hlines(dense, place - 0.4, place + 0.4, color=GREY, ls=":", label="" if place else "uncompressed")
    axes.set(xticks=range(len(tasks)), xticklabels=tasks, ylabel="score, %")
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1, handlelength=1.2)


def neuron_selection(runs: Path, figure: Figure) -> None:
    """How many neurons are enough on nine tasks."""
    found = table("Few neurons that are enough", "task")
    found.pop("mean")
    heads = found.pop("task")
    share, kept = heads.index("share"), heads.index("kept")
    axes = figure.subplots()
    colors = ["lightgrey" if task == "RTE" else "tab:blue" for task in found]  # It was not learned.
    bars = axes.barh(list(found), [number(row[share]) for row in found.values()], color=colors)
    axes.bar_label(bars, [f"kept {row[kept]}" for row in found.values()], padding=3, color=GREY, fontsize=9)
    axes.set(xlabel="neurons that are selected, % of 2,688 (light: not learned)", xlim=(0, 15))
    axes.invert_yaxis()


def redundancy_analysis(runs: Path, figure: Figure) -> None:
    """Probes on the first neurons of each ranking."""
    found = table("Few neurons that are enough", "", after="The same for UPOS")
    counts = [number(head) for head in found.pop("")]
    axes = figure.subplots()
    for name, row in found.items():
        if name in (
            "optimal brain surgeon (default)",
            "Gaussian",
            "correlation analysis (paper)",
            "probeless",
            "random",
        ):
            axes.semilogx(counts, [number(cell) for cell in row], marker="o", label=name)
    axes.set(xlabel="neurons", ylabel="accuracy of a probe, %", xticks=counts, xticklabels=[f"{k:.0f}" for k in counts])
    axes.minorticks_off()
    axes.legend()


def proximal_pretraining(runs: Path, figure: Figure) -> None:
    """Loss of masked tokens with and without pruning, a mean over ten logged batches."""
    axes = figure.subplots()
    for stage, label in {"dense": "without pruning", "model": "RPP, 60 % zeros at the end"}.items():
        steps, losses = logged(runs / "universal-0.6", stage, "loss")
        axes.plot(steps[9:], np.convolve(losses, np.ones(10) / 10, "valid"), label=label)
    axes.axvspan(120, 720, color=GREY, alpha=0.15, lw=0, label="window of pruning")
    axes.set(xlabel="optimizer step", ylabel="loss of masked tokens")
    axes.legend()


def quality_size(runs: Path, figure: Figure) -> None:
    """Accuracy over the size of the file, and over multiplications."""
    found = table("Quality, size and speed on SST-2", "")
    heads = found.pop("")
    families: dict[str, list[list[str]]] = {}  # Rows "60 % zeros, by curvature" and so on are one line.
    for name, row in found.items():
        families.setdefault(re.sub(r"^\d+ % ", "", name), []).append(row)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, head in zip(panels, ("MB", "MACs"), strict=True):
        column = heads.index(head)
        for place, (family, rows) in enumerate(families.items()):
            means, deviations = zip(*(map(number, row[0].split("±")) for row in rows), strict=True)
            sizes = [number(row[column]) for row in rows]
            axes.errorbar(sizes, means, deviations, marker="osD^vPX*"[place], ls=":", capsize=3, label=family)
    panels[0].set(xlabel="MB on disk", ylabel="accuracy, %")
    panels[1].set(xlabel="G multiply-accumulates")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)


DRAWN: dict[str, Callable[[Path, Figure], None]] = {
    function.__name__: function
    for function in (
        fine_tuning,
        layer_dropping,
        neuron_selection,
        structured_pruning,
        proximal_pruning,
        proximal_pretraining,
        magnitude_pruning,
        movement_pruning,
        wanda_pruning,
        redundancy_analysis,
        quality_size,
    )
}


def main() -> None:
    """Draw all figures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DRAWN)}; without one, all")
    options = parser.parse_args()
    with matplotlib.rc_context(STYLE):
        for name in options.names or DRAWN:
            figure = Figure(figsize=(6.8, 2.9), layout="constrained")
            DRAWN[name](options.runs, figure)
            for axes in figure.axes:
                axes.grid(color=GREY, alpha=0.25)
                axes.set_axisbelow(True)
            figure.savefig(HERE / f"{name}.svg", dpi=150, metadata={"Date": None})


if __name__ == "__main__":
    main()
