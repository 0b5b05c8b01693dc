"""Figures of an analysis of redundancy show its numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from toolkit.probing.analysis import Cut, RedundancyAnalysis
from toolkit.probing.figures import draw_analysis, draw_oracle, draw_rankings, draw_redundancy, draw_windows
from toolkit.statistics.figures import draw_heat_map


def lines(figure: Figure, axes: int = 0) -> dict[str, list[float]]:
    return {str(line.get_label()): list(np.asarray(line.get_ydata())) for line in figure.axes[axes].lines}


def heights(figure: Figure) -> list[float]:
    return [patch.get_height() for patch in figure.axes[0].patches]  # type: ignore[attr-defined]


def test_every_figure_is_written_as_an_image(analysis: RedundancyAnalysis, tmp_path: Path) -> None:
    names = ["layers", "similarity", "redundancy", "windows", "rankings", "overlap"]
    assert [file.name for file in draw_analysis(analysis, tmp_path)] == [f"{name}.png" for name in names]
    assert sorted(file.stem for file in tmp_path.iterdir()) == sorted(names)
    for file in tmp_path.iterdir():
        image = imread(file)
        assert min(image.shape[:2]) > 300
        assert image[..., :3].std() > 0.05
    one = replace(analysis, scores={"norm": (0.5, 0.7)}, overlap=((1.0,),))
    assert "overlap.png" not in [file.name for file in draw_analysis(one, tmp_path)]


def test_figures_show_the_numbers(analysis: RedundancyAnalysis) -> None:
    probes = lines(draw_oracle(analysis))
    assert probes == {"each layer": list(analysis.independent), "all layers so far": list(analysis.cumulative)}
    analysis = replace(analysis, cuts=(analysis.cuts[0], Cut(threshold=0.5, kept=3, score=0.4)))
    figure = draw_redundancy(analysis)
    assert heights(figure) == [0.25, 0.75]
    assert lines(figure, 1) == {"one neuron of each cluster": [0.8, 0.4], "all neurons": [0.8, 0.8]}
    assert heights(draw_windows(analysis)) == [1, 0, 2]
    ranked = lines(draw_rankings(analysis))
    assert ranked.pop("all neurons") == [0.8, 0.8]
    assert ranked == {name.replace("_", " "): list(scores) for name, scores in analysis.scores.items()}


def test_heat_map_names_and_numbers_its_fields(analysis: RedundancyAnalysis) -> None:
    _, axes = draw_heat_map(analysis.overlap, "share", "title", ["one", "two", "three"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two", "three"]
    assert [text.get_text() for text in axes.texts][:3] == ["1.00", "0.67", "0.00"]
    np.testing.assert_array_equal(np.asarray(axes.images[0].get_array()), np.asarray(analysis.overlap))
    assert axes.yaxis_inverted()
    _, axes = draw_heat_map(np.eye(14), "share", "title")
    assert not axes.texts
    assert not axes.yaxis_inverted()
