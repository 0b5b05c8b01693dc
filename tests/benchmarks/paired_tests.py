"""Test every pair of the networks of one run, or of runs on several tasks, on the examples that they were judged on.

    python tests/benchmarks/paired_tests.py runs/recipe-sst2 runs/recipe-upos

By the task's first metric; Holm's correction is over all pairs of all runs. Of one training each: the tests say what is
sure of these networks, not what another seed would give.
"""

import argparse
import math
from itertools import combinations
from pathlib import Path

from toolkit.console import user_errors
from toolkit.evaluation.predictions import Judgement
from toolkit.evaluation.report import Report
from toolkit.evaluation.significance import PairedTest, holm, paired_test
from toolkit.runs.stored_networks import predictions_file

PERMUTATIONS_PER_TEST = 40  # So that a difference can be significant after the correction, however many there are.


def main() -> None:
    """Read the predictions, test, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="of runs with several networks")
    found: list[tuple[str, str, PairedTest]] = []
    with user_errors():
        pairs = [
            (folder, before.name, after.name)
            for folder in parser.parse_args().folders
            for before, after in combinations(Report.read(folder).rows, 2)
        ]
        resamples = max(5000, PERMUTATIONS_PER_TEST * len(pairs))
        for folder, *names in pairs:
            before, after = (Judgement.read(predictions_file(folder, name)) for name in names)
            test = paired_test([before], [after], before.metrics[0], resamples=resamples)
            found.append((before.name, f"{names[1]} less {names[0]}", test))
    print(f"| task | difference | points | 95 % | p | after Holm, {len(found)} tests |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for (task, names, test), adjusted in zip(found, holm([test.p_value for *_, test in found]), strict=True):
        low, high = (100 * bound for bound in test.interval)
        corrected = "–" if math.isnan(adjusted) else f"{adjusted:.3f}"
        print(
            f"| {task} | {names} | {100 * test.difference:+.1f} | {low:+.1f} to {high:+.1f} | {test.p_value:.4f} | "
            f"{corrected} |"
        )


if __name__ == "__main__":
    main()
