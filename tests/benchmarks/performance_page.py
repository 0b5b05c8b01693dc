"""Draw the tables of docs/performance.md from what the benchmarks recorded.

    python tests/benchmarks/performance_page.py [runs/bench] [--page docs/performance.md]

The folder may hold some of the files only: the sections of the others stay as they are on the page. The text around the
two marks is written by hand. Why a goal is missed is written by hand, too: in ``reasons.yaml`` beside this file.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
SECTION = re.compile(r"^<!-- section: (\w+) -->\n", re.MULTILINE)
PAGE = Path("docs/performance.md")
REASONS = Path(__file__).with_name("reasons.yaml")
ORDER = (
    "step_cost", "statistics_sentences", "statistics_words", "statistics_memory", "extraction", "extraction_neurox",
    "selection_neurox", "selection", "ranking_speed", "growth_neurons", "growth_rows", "latency", "storage_60",
    "storage_80", "storage_90", "sparsity_baselines_sst2", "sparsity_baselines_mrpc", "ordering_table", "equal_macs",
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


def sections(tables: str) -> dict[str, str]:
    r"""Name of a file → its section of the page, from what stands between the two marks.

    Example:
        >>> sections("<!-- section: growth_rows -->\n## Growth\n\n<!-- section: latency -->\n## Latency\n")
        {'growth_rows': '## Growth', 'latency': '## Latency'}
    """
    _, *parts = SECTION.split(tables)
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


def draw(folder: Path, reasons: Reasons, kept: Mapping[str, str]) -> str:
    """All sections, in their order: of the files in the folder, and those kept of what is not measured again.

    Raises:
        ValueError: If a file or kept section is none of `ORDER`, there is no file, the reasons are not those of the
            missed goals, or the reason in a kept section is another one now.
    """
    files = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")}
    if not files or (unknown := [name for name in (*files, *kept, *reasons) if name not in ORDER]):
        raise ValueError(f"{folder} holds {', '.join(unknown) if files else 'no JSON file'}; expected some of {ORDER}.")
    needed = {(name, what) for name, found in files.items() for what in missed(found)}
    given = {(name, what): reason.strip() for name, texts in reasons.items() for what, reason in texts.items()}
    wrong = dict.fromkeys(needed - given.keys(), "")
    for (name, what), reason in given.items():
        if name in files:
            wrong |= {} if (name, what) in needed else {(name, what): " (is not missed)"}
        elif f"*: {reason}" not in kept.get(name, ""):
            wrong[name, what] = f" (not so on the page: draw it from its file, {name}.json)"
    if wrong:
        listed = "".join(f"\n{name}: {what}{why}" for (name, what), why in sorted(wrong.items()))
        raise ValueError(f"A goal that is missed needs its reason in {REASONS.name}, and no other:{listed}")
    drawn = dict(kept) | {name: "\n".join(section(found, reasons.get(name, {}))) for name, found in files.items()}
    parts = [f"<!-- section: {name} -->\n{drawn[name].strip()}\n" for name in ORDER if name in drawn]
    if absent := [name for name in ORDER if name not in drawn]:
        parts.insert(0, f"Not measured yet: {', '.join(name.replace('_', ' ') for name in absent)}.\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/bench"))
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    before, begin, rest = options.page.read_text(encoding="utf-8").partition(BEGIN)
    tables, end, after = rest.partition(END)
    if not (begin and end):
        parser.error(f"{options.page} lacks the marks {BEGIN} and {END}")
    reasons: Reasons = yaml.safe_load(REASONS.read_text(encoding="utf-8"))
    try:
        drawn = draw(options.folder, reasons, sections(tables))
    except ValueError as error:
        sys.exit(str(error))
    options.page.write_text(f"{before}{BEGIN}\n\n{drawn}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
