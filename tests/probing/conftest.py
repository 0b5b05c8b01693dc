"""A small analysis of redundancy, with what is hard to show."""

import math

import pytest

from toolkit.probing.analysis import ClassNeurons, Cut, MinimalSet, RedundancyAnalysis, Windows


@pytest.fixture
def analysis() -> RedundancyAnalysis:
    """Three layers of four neurons; names with markup, and a score that is not a number."""
    return RedundancyAnalysis(
        network="models/<b>[red]",
        task="cola & co",
        metric="matthews_correlation",
        rows=12_345,
        dev_rows=678,
        sampled_rows=1000,
        num_layers=3,
        hidden_size=4,
        penalty=1e-3,
        oracle=0.8,
        independent=(0.1, 0.5, 0.7),
        cumulative=(0.1, 0.55, 0.8),
        similarity=((1.0, 0.9, 0.2), (0.9, 1.0, 0.3), (0.2, 0.3, 1.0)),
        constant=1,
        cuts=(Cut(threshold=0.1, kept=9, score=0.8), Cut(threshold=0.5, kept=3, score=math.nan)),
        windows=Windows(threshold=0.3, single=2, clusters=(1, 0, 2), neurons=(2, 0, 7), aligned=1),
        minimal=MinimalSet(ranking="surgeon", delta=0.01, neurons=(7, 2), score=0.796, path=((1, 0.5), (2, 0.796))),
        classes=(ClassNeurons(label="<i>[bold]", neurons=(7, 2), weights=(0.5, -0.25)),),
        sizes=(1, 6),
        scores={"norm": (0.5, 0.7), "random": (0.2, 0.75), "mutual_information": (0.6, 0.6)},
        overlap_size=3,
        overlap=((1.0, 2 / 3, 0.0), (2 / 3, 1.0, 1 / 3), (0.0, 1 / 3, 1.0)),
    )
