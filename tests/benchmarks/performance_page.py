"""Draw the tables of docs/performance.md from what the benchmarks recorded.

    python tests/benchmarks/performance_page.py [runs/bench] [--page docs/performance.md]

Everything between the two marks of the page is replaced; the text around them is written by hand. Why a goal is missed
is written by hand, too: in ``reasons.yaml`` beside this file.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
PAGE = Path("docs/performance.md")
REASONS = Path(__file__).with_name("reasons.yaml")
ORDER = (
    "step_cost", "statistics_sentences", "statistics_words", "statistics_memory", "extraction", "extraction_neurox",
    "selection_neurox", "selection", "ranking_speed", "growth_neurons", "growth_rows", "latency", "storage_60",
    "storage_80", "storage_90", "sparsity_baselines", "ordering_table", "equal_macs",
)  # fmt: skip
Reasons = Mapping[str, Mapping[str, str]]
EXTRAPOLATED = "clustering, nine thresholds (extrapolated: nine times one)"
RENAMED = {"clustering, nine thresholds": EXTRAPOLATED}
"""Name of a step in earlier records → its name since, which says that it was not measured."""


def number(value: str | float | None) -> str:
    """A cell: three significant digits at least, whole numbers in full.

    Example:
        >>> number(1.02871), number(90864192), number(0.00412), number(None), number(1434.6)
        ('1.029', '90,864,192', '0.00412', '–', '1,435')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"


def named(text: str) -> str:
    """Name of a step, alone or behind a measure's colon, in today's words.

    Example:
        >>> named("NeuroX / here: clustering, one threshold")
        'NeuroX / here: clustering, one threshold'
    """
    before, colon, name = text.rpartition(": ")
    return f"{before}{colon}{RENAMED.get(name, name)}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> list[str]:
    """A table in Markdown, columns of numbers to the right."""
    right = [all(not isinstance(row[place], str) for row in rows) for place in range(len(columns))]
    lines = [[*columns], ["---:" if is_right else "---" for is_right in right]]
    lines += [[named(number(cell)) for cell in row] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def goal(measure: Mapping[str, Any]) -> str:
    """What is wanted of a measure."""
    signs = (("≤", measure["at_most"]), ("≥", measure["at_least"]))
    return ", ".join(f"{sign} {wanted:g}" for sign, wanted in signs if wanted is not None) or "–"


def missed(found: Mapping[str, Any]) -> list[str]:
    """The measures of a file whose goals are missed."""
    return [measure["what"] for measure in found["measures"] if measure["met"] is False]


def section(found: Mapping[str, Any], reasons: Mapping[str, str]) -> list[str]:
    """The part of the page that one file is about."""
    verdicts = {True: "met", False: "**missed**", None: "–"}
    units = {"×": "", "": ""}
    lines = [f"## {found['title']}", "", found["note"], ""]
    lines += table(
        ("what", "measured", "goal", ""),
        [
            (
                measure["what"],
                f"{number(measure['value'])} {units.get(measure['unit'], measure['unit'])}".rstrip(),
                goal(measure),
                verdicts[measure["met"]],
            )
            for measure in found["measures"]
        ],
    )
    shared: dict[str, list[str]] = {}  # One reason may stand for several goals.
    for what in missed(found):
        shared.setdefault(reasons[what].strip(), []).append(what)
    for reason, measures in shared.items():
        lines += ["", f"*{'; '.join(measures)}*: {reason}"]
    if found["table"]:
        lines += ["", *table(found["table"]["columns"], found["table"]["rows"])]
    return [*lines, "", "```bash", found["command"], "```", "", conditions(found), ""]


def conditions(found: Mapping[str, Any]) -> str:
    """On what was measured, and when."""
    hardware, versions = found["hardware"], found["versions"]
    bfloat16 = " with bfloat16" if hardware["bfloat16"] else ""
    return (
        f"{found['date']}; {found['threads']} thread of {hardware['cores']} cores of {hardware['processor']} "
        f"({hardware['instructions']}{bfloat16}), {hardware['memory_gib']} GiB; load average "
        f"{found['load_average']:.1f}; " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    )


def draw(folder: Path, reasons: Reasons) -> str:
    """All sections, in their order.

    Raises:
        ValueError: If a file is none of `ORDER`, there is none, or the reasons are not those of the missed goals.
    """
    files = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")}
    if not files or (unknown := [name for name in (*files, *reasons) if name not in ORDER]):
        raise ValueError(f"{folder} holds {', '.join(unknown) if files else 'no JSON file'}; expected some of {ORDER}.")
    needed = {(name, what) for name, found in files.items() for what in missed(found)}
    if wrong := sorted(needed ^ {(name, what) for name, given in reasons.items() for what in given}):
        listed = "".join(
            f"\n{name}: {what}{'' if (name, what) in needed else ' (is not missed)'}" for name, what in wrong
        )
        raise ValueError(f"A goal that is missed needs its reason in {REASONS.name}, and no other:{listed}")
    lines = [line for name in ORDER if name in files for line in section(files[name], reasons.get(name, {}))]
    if absent := [name for name in ORDER if name not in files]:
        lines += [f"Not measured yet: {', '.join(name.replace('_', ' ') for name in absent)}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/bench"))
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    before, begin, rest = options.page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        parser.error(f"{options.page} lacks the marks {BEGIN} and {END}")
    reasons: Reasons = yaml.safe_load(REASONS.read_text(encoding="utf-8"))
    try:
        drawn = draw(options.folder, reasons)
    except ValueError as error:
        sys.exit(str(error))
    options.page.write_text(f"{before}{BEGIN}\n\n{drawn}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
