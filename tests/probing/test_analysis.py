"""What an analysis of redundancy found: stored and read again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.probing.analysis import Cut, RedundancyAnalysis


def test_what_is_written_is_read(analysis: RedundancyAnalysis, tmp_path: Path) -> None:
    analysis.write(tmp_path / "analysis.json")
    assert [file.name for file in tmp_path.iterdir()] == ["analysis.json"]
    content = json.loads((tmp_path / "analysis.json").read_text(), parse_constant=pytest.fail)
    assert content["cuts"][1] == {"threshold": 0.5, "kept": 3, "score": None}
    found = RedundancyAnalysis.read(tmp_path / "analysis.json")
    assert found.cuts[1].score != found.cuts[1].score  # not a number
    whole = (analysis.cuts[0], Cut(threshold=0.5, kept=3, score=0.0))
    assert replace(found, cuts=whole) == replace(analysis, cuts=whole)


def test_places_and_shares(analysis: RedundancyAnalysis) -> None:
    assert analysis.total == 12
    assert [analysis.place(neuron) for neuron in (0, 3, 4, 11)] == ["0:0", "0:3", "1:0", "2:3"]
    assert [analysis.redundant(cut) for cut in analysis.cuts] == [0.25, 0.75]


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"schema": 1}', '{"schema": 0, "cuts": []}'])
def test_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "analysis.json").write_text(text)
    with pytest.raises(ValueError, match="no analysis of redundancy; delete it"):
        RedundancyAnalysis.read(tmp_path / "analysis.json")
