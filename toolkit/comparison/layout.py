"""How the tables of a comparison are made of text: fields, sections, and how figures are written."""

from dataclasses import dataclass

from toolkit.comparison.costs import NONE
from toolkit.comparison.outcomes import Interval
from toolkit.comparison.summary import Score
from toolkit.comparison.testing import MethodTest

LOSS, GAIN = "↓", "↑"
_LABELS = {
    "accuracy": "accuracy", "f1": "F1", "matthews_correlation": "Matthews", "pearson": "Pearson",
    "spearman": "Spearman", "span_f1": "span F1",
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """What stands in one place of a table.

    Args:
        text: The figure.
        marks: Signs behind it, which the note explains.
    """

    text: str
    marks: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.marks}".strip()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table of text.

    Args:
        title: Of the table.
        header: Names of the columns, with line breaks.
        lines: The fields.
        note: What the reader has to know.
        words: How many columns, from the left, hold words.
        long: Whether it is for those who look closely: a page shows it when asked to, a screen not at all.
    """

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[Field, ...], ...]
    note: str
    words: int = 1
    long: bool = False


def written_score(score: Score | None, *, failed: bool = False) -> str:
    """Write a score in per cent with its deviation over seeds.

    Args:
        score: The score, if there is one.
        failed: Whether there is none because the cells failed.
    """
    if score is None:
        return "failed" if failed else NONE
    if score.mean is None:
        return "undefined"
    return f"{100 * score.mean:.1f}" + (f"±{100 * score.std:.1f}" if score.std is not None else "")


def written_interval(bounds: Interval | None, sign: str = "") -> str:
    """Write an interval in per cent.

    Args:
        bounds: The interval, if there is one.
        sign: ``+`` shows the sign of numbers above zero, too.
    """
    return NONE if bounds is None else f"[{100 * bounds[0]:{sign}.1f}, {100 * bounds[1]:{sign}.1f}]"


def written_test(test: MethodTest) -> list[str]:
    """Write a difference with its interval, its p-value, and that after the correction.

    Args:
        test: Of two methods.
    """
    difference = NONE if test.difference is None else f"{100 * test.difference:+.1f}"
    return [
        f"{difference} {written_interval(test.interval, '+')}",
        _probability(test.p_value),
        _probability(test.adjusted),
    ]


def significance_mark(test: MethodTest | None) -> str:
    """The mark of a method that is significantly worse or better than the baseline.

    Args:
        test: Against the baseline, if there is one.
    """
    if test is None or not test.significant or not test.difference:
        return ""
    return LOSS if test.difference < 0 else GAIN


def metric_label(metric: str) -> str:
    r"""The name of a metric as tables have it, broken where it names a set.

    Example:
        >>> metric_label("f1"), metric_label("accuracy_mismatched")
        ('F1', 'accuracy\nmismatched')
    """
    name = max((known for known in _LABELS if metric == known or metric.startswith(f"{known}_")), key=len, default="")
    rest = metric.removeprefix(name).replace("_", " ").strip()
    return "\n".join(part for part in (_LABELS.get(name, ""), rest) if part)


def one_line(text: str) -> str:
    """A name without its line breaks."""
    return text.replace("\n", " ")


def count_of(number: int, name: str) -> str:
    """A number of things."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _probability(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
