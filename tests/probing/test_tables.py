"""The tables of an analysis of redundancy."""

from dataclasses import replace

from rich.console import Console

from toolkit.probing.analysis import RedundancyAnalysis
from toolkit.probing.tables import sections, summary


def printed(analysis: RedundancyAnalysis, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(analysis)
    return capture.get()


def test_summary_says_what_was_measured_on_what(analysis: RedundancyAnalysis) -> None:
    said = summary(analysis)
    assert "12,345 rows, clusters and rankings made of 1,000 of them" in said
    assert "matthews correlation on 678 rows of dev" in said
    assert "25.0 % at threshold 0.1, 75.0 % at 0.5; up to 25.0 % cost less than 1 %" in said
    assert "2 (16.7 %) are enough for 79.60, 99.5 % of the oracle" in said
    assert "made of" not in summary(replace(analysis, sampled_rows=12_345))
    assert ", 99.5 %" not in summary(replace(analysis, oracle=0.0))


def test_tables_hold_every_number(analysis: RedundancyAnalysis) -> None:
    layers, cuts, windows, classes, scores, overlap = sections(analysis)
    assert layers.lines == (
        ("0", "10.00", "10.00", "", "1"), ("1", "50.00", "55.00", "0.900", "1"), ("2", "70.00", "80.00", "0.300", "0"),
    )  # fmt: skip
    assert cuts.lines == (("0.1", "9", "25.0 %", "80.00", "100.0 %"), ("0.5", "3", "75.0 %", "nan", "nan %"))
    assert windows.lines == (("1", "1", "33.3 %", "2"), ("2", "0", "0.0 %", "0"), ("3", "2", "66.7 %", "7"))
    assert classes.lines == (("<i>[bold]", "+1:3  −0:2"),)
    assert scores.header == ("ranking", "1 (8.3 %)", "6 (50 %)")
    assert [line[0] for line in scores.lines] == ["mutual information", "norm", "random"]
    assert overlap.lines[0] == ("1", "norm", "", "67", "0")
    assert all(len(line) == len(section.header) for section in sections(analysis) for line in section.lines)


def test_eighty_columns_hold_every_table(analysis: RedundancyAnalysis) -> None:
    names = [f"a_ranking_of_name_{number:02}" for number in range(11)]
    wide = replace(
        analysis,
        hidden_size=896,
        sizes=(27, 54, 1_344, 2_688),
        scores=dict.fromkeys(names, (0.1, 0.2, 0.3, 0.4)),
        overlap=((0.99,) * 11,) * 11,
        classes=(replace(analysis.classes[0], neurons=tuple(range(896, 932)), weights=(1.0,) * 36),),
    )
    text = printed(wide)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert all(name.replace("_", " ") in text for name in names)
    assert text.count("+1:") == 36


def test_names_are_no_markup(analysis: RedundancyAnalysis) -> None:
    text = printed(analysis)
    assert "models/<b>[red]" in text
    assert "<i>[bold]" in text
