"""The analysis of redundancy as tables of text, whatever shows them, and as rich shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from toolkit.probing.analysis import RedundancyAnalysis


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table of text, to be shown by whatever shows it.

    Args:
        title: Of the table.
        header: Names of the columns.
        lines: The cells.
        note: What the reader has to know.
        figures: Names of the figures that show the same.
        text: Columns that hold words, not numbers.
    """

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    note: str
    figures: tuple[str, ...] = ()
    text: tuple[int, ...] = ()


def title(analysis: RedundancyAnalysis) -> str:
    """What was analysed."""
    size = f"{analysis.num_layers} layers of {analysis.hidden_size} neurons"
    return f"Redundancy of {analysis.network} on {analysis.task}: {size}"


def summary(analysis: RedundancyAnalysis) -> str:
    """What was measured on what, and the main results."""
    rows = f"{analysis.rows:,} rows"
    if analysis.sampled_rows < analysis.rows:
        rows += f", clusters and rankings made of {analysis.sampled_rows:,} of them"
    number, delta = len(analysis.minimal.neurons), analysis.minimal.delta
    first, last = analysis.cuts[0], analysis.cuts[-1]
    text = (
        f"Probes are trained on {rows}, and scored by {_words(analysis.metric)} on {analysis.dev_rows:,} rows of dev. "
        f"Oracle, the probe on all {analysis.total:,} neurons: {_score(analysis.oracle)}. "
        f"Redundant neurons: {_percent(analysis.redundant(first))} at threshold {first.threshold:g}, "
        f"{_percent(analysis.redundant(last))} at {last.threshold:g}"
    )
    if harmless := [cut for cut in analysis.cuts if cut.score > analysis.oracle - delta * abs(analysis.oracle)]:
        most = max(harmless, key=analysis.redundant)
        text += f"; up to {_percent(analysis.redundant(most))} cost less than {100 * delta:g} % of the oracle's score"
    return (
        f"{text}. Of the neurons of all layers {number:,} ({_percent(number / analysis.total)}) are enough for "
        f"{_score(analysis.minimal.score)}{_part(analysis.minimal.score, analysis.oracle, ', {} of the oracle')}."
    )


def sections(analysis: RedundancyAnalysis) -> tuple[Section, ...]:
    """The analysis as tables of text."""
    return tuple(show(analysis) for show in (_layers, _cuts, _windows, _classes, _scores, _overlap))


def as_rich(analysis: RedundancyAnalysis) -> Group:
    """The analysis as rich shows it, within 80 columns."""
    parts: list[Table | Text] = [Text(f"{title(analysis)}\n", style="bold"), Text(f"{summary(analysis)}\n")]
    for section in sections(analysis):
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        for column, name in enumerate(section.header):
            words = column in section.text
            table.add_column(Text(name), justify="left" if words else "right", no_wrap=not words)
        for line in section.lines:
            table.add_row(*map(Text, line))  # as Text, brackets in names are no markup
        parts += [Text(section.title, style="bold"), table, Text(f"{section.note}\n", style="dim")]
    return Group(*parts)


def _layers(analysis: RedundancyAnalysis) -> Section:
    minimal = analysis.minimal
    of_layer = [0] * analysis.num_layers
    for neuron in minimal.neurons:
        of_layer[neuron // analysis.hidden_size] += 1
    return Section(
        title="Layers",
        header=("layer", "probe", "probe so far", "CKA below", "minimal set"),
        lines=tuple(
            (
                str(layer),
                _score(analysis.independent[layer]),
                _score(analysis.cumulative[layer]),
                f"{analysis.similarity[layer][layer - 1]:.3f}" if layer else "",
                str(of_layer[layer]),
            )
            for layer in range(analysis.num_layers)
        ),
        note="Layer 0: embeddings. Probes on each layer, and on all layers so far; CKA with the layer below. Minimal "
        f"set: how many of its {len(minimal.neurons):,} neurons are in the layer. They are the first of the ranking "
        f"{_words(minimal.ranking)}, the fewest that lose less than {100 * minimal.delta:g} % of the oracle's score by "
        "a standard error at least. Dev decided on them, so their own score there is a little too good.",
        figures=("layers", "similarity"),
    )


def _cuts(analysis: RedundancyAnalysis) -> Section:
    return Section(
        title="Redundant neurons",
        header=("threshold", "kept", "redundant", "score of the kept", "of the oracle's"),
        lines=tuple(
            (
                f"{cut.threshold:g}",
                f"{cut.kept:,}",
                _percent(analysis.redundant(cut)),
                _score(cut.score),
                _part(cut.score, analysis.oracle),
            )
            for cut in analysis.cuts
        ),
        note="Neurons are merged while the mean distance 1 − |r| of their clusters is at most the threshold; one "
        f"of each cluster is kept. Neurons that never change, never kept: {analysis.constant:,}.",
        figures=("redundancy",),
    )


def _windows(analysis: RedundancyAnalysis) -> Section:
    windows = analysis.windows
    return Section(
        title=f"Windows of the clusters at threshold {windows.threshold:g}",
        header=("layers", "clusters", "share of clusters", "neurons"),
        lines=tuple(
            (str(width), f"{clusters:,}", _percent(clusters / max(sum(windows.clusters), 1)), f"{neurons:,}")
            for width, (clusters, neurons) in enumerate(zip(windows.clusters, windows.neurons, strict=True), start=1)
        ),
        note="From the lowest layer of a cluster to its highest, both counted. Clusters of two neurons or more; "
        f"{windows.single:,} neurons are alone. {windows.aligned:,} of {sum(windows.clusters):,} clusters are one "
        "dimension of the hidden states in several layers.",
        figures=("windows",),
    )


def _classes(analysis: RedundancyAnalysis) -> Section:
    return Section(
        title="Top neurons of each class",
        header=("class", "layer:dimension, largest weight first"),
        lines=tuple(
            (
                top.label,
                "  ".join(
                    f"{'−' if weight < 0 else '+'}{analysis.place(neuron)}"
                    for neuron, weight in zip(top.neurons, top.weights, strict=True)
                ),
            )
            for top in analysis.classes
        ),
        note="By the absolute weights of the oracle on standardised neurons; the sign is the weight's. Of two classes "
        "the other has the same with the other sign. Classes without training rows have no neurons.",
        text=(0, 1),
    )


def _scores(analysis: RedundancyAnalysis) -> Section:
    ordered = sorted(analysis.scores.items(), key=lambda item: item[1], reverse=True)
    return Section(
        title="Rankings at equal numbers of neurons",
        header=("ranking", *(f"{size:,} ({100 * size / analysis.total:.2g} %)" for size in analysis.sizes)),
        lines=tuple((_words(name), *map(_score, scores)) for name, scores in ordered),
        note="Score of a probe on the first neurons of each ranking of all neurons; in brackets, their part of all. Of "
        "two classes, correlation analysis and norm are the same order.",
        figures=("rankings",),
        text=(0,),
    )


def _overlap(analysis: RedundancyAnalysis) -> Section:
    names = tuple(analysis.scores)
    return Section(
        title=f"Overlap of the rankings' first {analysis.overlap_size:,} neurons",
        header=("", "ranking", *map(str, range(1, len(names) + 1))),
        lines=tuple(
            (str(row + 1), _words(name), *("" if column == row else f"{100 * value:.0f}" for column, value in line))
            for row, (name, line) in enumerate(zip(names, map(enumerate, analysis.overlap), strict=True))
        ),
        note=f"Neurons in common, in %; by chance {_percent(analysis.overlap_size / analysis.total)}.",
        figures=("overlap",),
        text=(1,),
    )


def _score(value: float) -> str:
    return f"{100 * value:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _part(score: float, oracle: float, text: str = "{}") -> str:
    """Part of the oracle's score; nothing if that is 0."""
    return text.format(_percent(score / oracle)) if oracle else ""


def _words(name: str) -> str:
    return name.replace("_", " ")
