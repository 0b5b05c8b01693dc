"""Kill runs of every recipe at random moments, resume them, and compare what they end with.

    python -m tests.faults.kill_runs [--runs 50] [--recipes fine_tuning pipeline …] [--seed 0] [--folder FOLDER]

Each recipe runs once undisturbed. Then it is started again and again in folders of its own, with a cache of tokenised
data of its own. Between the moment its folder appears and the time that the undisturbed run took from there, drawn
evenly, SIGKILL ends its whole process group; the same command with ``resume=true`` carries it to its end. A run
survives if then every file of weights, of predictions and of figures (but those of time and memory) is there and equal,
bit for bit, and no other file. The exit status is 1 if one does not survive.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.processes import end, start, wait_for
from tests.faults.recipes import AFTER, OWN, make_network, results, words_of


@dataclass(frozen=True, kw_only=True)
class Killed:
    """A run that was killed and resumed.

    Args:
        recipe: Its name.
        moment: Of the kill, in seconds after the run's folder appeared.
        of: Seconds that the undisturbed run took from there.
        differences: Files that are missing, surplus or different at the end, or what the resumed run said.
    """

    recipe: str
    moment: float
    of: float
    differences: tuple[str, ...]

    @property
    def survived(self) -> bool:
        """Whether the resumed run ended with what the undisturbed one ended with."""
        return not self.differences


@dataclass
class Undisturbed:
    """A run that nobody killed.

    Args:
        words: Of its command line.
        seconds: That it took since its folder appeared.
        results: What it left behind, see :func:`tests.faults.recipes.results`.
    """

    words: list[str]
    seconds: float
    results: dict[str, str]


def run_undisturbed(recipe: str, folder: Path, done: dict[str, Undisturbed]) -> Undisturbed:
    """Run a recipe to the end once, after the one whose network it begins with.

    Args:
        recipe: Its name.
        folder: With ``network``; the run is ``RECIPE-00`` in it.
        done: What has run before; grows.

    Raises:
        RuntimeError: If it fails.
    """
    if recipe not in done:
        made = None
        if recipe in AFTER:
            before = AFTER[recipe][0]
            run_undisturbed(before, folder, done)
            made = folder / f"{before}-00"
        words, run = words_of(recipe, folder / "network", made), folder / f"{recipe}-00"
        process = start(words, run)
        began = wait_for(run, process)
        end(process, run)
        done[recipe] = Undisturbed(words, time.monotonic() - began, results(run))
    return done[recipe]


def run_killed(words: Sequence[str], folder: Path, moment: float) -> bool:
    """Start, kill, resume to the end.

    Args:
        words: Of the command line.
        folder: Of the run.
        moment: Seconds after the folder's appearance at which it is killed.

    Returns:
        Whether it was killed: it may have ended before.

    Raises:
        RuntimeError: If the resumed run fails.
    """
    process = start(words, folder)
    wait_for(folder, process)
    process.join(moment)
    if process.is_alive() and process.pid is not None:
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    killed = process.exitcode == -signal.SIGKILL
    end(start([*words, "resume=true"], folder), folder)
    return killed


def kill_runs(recipes: Sequence[str], runs: int, seed: int, folder: Path, console: Console) -> list[Killed]:
    """Kill and resume runs of recipes in turns.

    Args:
        recipes: Their names.
        runs: Number of all runs that are killed.
        seed: Of the moments.
        folder: For everything; it is empty.
        console: Where each run is told.
    """
    make_network(folder / "network")
    draw = random.Random(seed)
    done: dict[str, Undisturbed] = {}
    found: list[Killed] = []
    while len(found) < runs:
        recipe = recipes[len(found) % len(recipes)]
        whole = run_undisturbed(recipe, folder, done)
        seconds = whole.seconds
        moment, run = draw.uniform(0, seconds), folder / f"{recipe}-{len(found) + 1:02}"
        try:
            if not run_killed(whole.words, run, moment):
                console.print(f"{run.name}: had ended before it could be killed at {moment:.1f} s; drawn again")
                run.rename(run.with_name(f"{run.name}-ended-{time.monotonic_ns()}"))
                whole.seconds = moment  # The machine is less busy than it was.
                continue
            differences = different(whole.results, results(run))
        except RuntimeError as error:
            differences = (str(error),)
        found.append(Killed(recipe=recipe, moment=moment, of=seconds, differences=differences))
        told = "survived" if found[-1].survived else f"did NOT survive: {'; '.join(differences[:3])}"
        console.print(f"{run.name}: killed at {moment:.1f} of {seconds:.1f} s, {told}", markup=False, highlight=False)
    return found


def different(expected: dict[str, str], found: dict[str, str]) -> tuple[str, ...]:
    """Files in which two runs differ."""
    return (
        *(f"{name} is missing" for name in sorted(expected.keys() - found.keys())),
        *(f"{name} is left over" for name in sorted(found.keys() - expected.keys())),
        *(f"{name} differs" for name in sorted(expected.keys() & found.keys()) if expected[name] != found[name]),
    )


def summary(found: Sequence[Killed]) -> Table:
    """Recipe by recipe, how many runs were tried and how many survived."""
    table = Table("recipe", title="SIGKILL at random moments, resumed", title_justify="left")
    for name in ("tried", "survived", "killed at"):
        table.add_column(name, justify="right")
    for recipe in dict.fromkeys(run.recipe for run in found):
        own = [run for run in found if run.recipe == recipe]
        parts = sorted(round(100 * run.moment / run.of) for run in own)
        table.add_row(
            recipe, str(len(own)), str(sum(run.survived for run in own)), f"{', '.join(map(str, parts))} % of the run"
        )
    table.add_section()
    table.add_row("all", str(len(found)), str(sum(run.survived for run in found)), "")
    return table


def main() -> None:
    """Kill, resume, compare, and print how many were tried and survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--recipes", nargs="+", choices=OWN, default=list(OWN))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="an empty one; by default a temporary one")
    options = parser.parse_args()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="kill-runs-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    found = kill_runs(options.recipes, options.runs, options.seed, folder, console)
    console.print(summary(found))
    survived = sum(run.survived for run in found)
    content = {"seed": options.seed, "tried": len(found), "survived": survived, "runs": [asdict(run) for run in found]}
    (folder / "kill_runs.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    console.print(f"{folder / 'kill_runs.json'}", highlight=False, soft_wrap=True)
    raise SystemExit(0 if survived == len(found) else 1)


if __name__ == "__main__":
    main()
