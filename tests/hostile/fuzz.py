"""Change valid files of every kind at random, and read them: ``python tests/hostile/fuzz.py --seconds 60 --seed 0``.

A file is survived if it is read, or refused by a ValueError or OSError that names the file, within thirty seconds and
a few gigabytes of memory, and nothing in it was run. The exit status is 1 if one was not.
"""

import argparse
import contextlib
import io
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.hostile.formats import Format, formats, mutated

SECONDS = 30  # For a file; a busy machine takes a second for most.
MEMORY = 6 * 2**30  # Beyond what the process has at the start.


class TooLong(BaseException):
    """A file took too long; no ``except Exception`` stops it."""


@dataclass
class Tally:
    """What became of the files of a kind."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def fuzz(folder: Path, tokenizer: Path, *, seconds: float, seed: int, only: str = "") -> dict[str, Tally]:
    """Try changed files of all kinds in turns, as long as there is time, and each at least once.

    Args:
        folder: Where the files are written; it is the current folder meanwhile.
        tokenizer: A folder with a small network and its tokenizer.
        seconds: Time.
        seed: Of the changes.
        only: Part of the names of the kinds that are tried.

    Returns:
        For each kind what became of its files.
    """
    draw = random.Random(seed)
    kinds = [kind for kind in formats(folder, tokenizer) if only in kind.name]
    valid = {kind.name: kind.file.read_bytes() for kind in kinds}
    tallies = {kind.name: Tally() for kind in kinds}
    before, end = Path.cwd(), time.monotonic() + seconds
    os.chdir(folder)
    try:
        for kind in kinds:
            kind.read()  # What is valid is read, or the rest says nothing.
        turns = [kind for kind in kinds for _ in range(kind.weight)]
        draw.shuffle(turns)
        turns = [*kinds, *turns]
        while turns:
            kind = turns.pop(0)
            turns = turns if turns or time.monotonic() > end else [kind for kind in kinds for _ in range(kind.weight)]
            content = mutated(kind, valid[kind.name], draw)
            kind.file.write_bytes(content)
            outcome, problem = attempt(kind, folder)
            kind.file.write_bytes(valid[kind.name])
            tallies[kind.name].counts[outcome] += 1
            if outcome == "failed":
                tallies[kind.name].failures.append(problem)
                (folder / f"failed-{sum(len(t.failures) for t in tallies.values())}-{kind.file.name}").write_bytes(
                    content
                )
            if time.monotonic() > end and all(tally.counts for tally in tallies.values()):
                break
    finally:
        os.chdir(before)
    return tallies


def attempt(kind: Format, folder: Path) -> tuple[str, str]:
    """Read a changed file.

    Returns:
        ``read``, ``refused`` or ``failed``, and of a failure what was raised.
    """
    try:
        with limited(), quiet():
            kind.read()
        outcome, problem = "read", ""
    except (ValueError, OSError) as error:
        # Options are known by their keys, which messages name; all other files by their paths.
        named = kind.name.startswith("YAML") or str(kind.file.parent) in str(error) or kind.file.name in str(error)
        outcome, problem = ("refused", "") if named else ("failed", f"names no file: {last_lines(error)}")
    except (Exception, TooLong) as error:
        outcome, problem = "failed", last_lines(error)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Of a library in Rust.
            raise
        outcome, problem = "failed", last_lines(error)
    if (folder / "EXECUTED").exists():
        (folder / "EXECUTED").unlink()
        outcome, problem = "failed", "what the file says was run"
    return outcome, problem


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raise `TooLong` when the time is over."""

    def stop(*_: object) -> None:
        raise TooLong(f"more than {SECONDS} seconds")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Warnings, logs and prints of thousands of broken files say nothing."""
    logging.disable(logging.CRITICAL)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def last_lines(error: BaseException) -> str:
    """Where an exception came from, and what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    own = next((frame for frame in reversed(frames) if "/toolkit/" in frame.filename), frames[-1])
    return f"{type(error).__name__} at {Path(own.filename).name}:{own.lineno}: {error!s:.200}"


def summary(tallies: dict[str, Tally]) -> str:
    """The table: for each kind of file how many were tried, read, refused, and failed."""
    lines = [f"{'format':<24}{'tried':>8}{'read':>8}{'refused':>9}{'failed':>8}"]
    total: Counter[str] = Counter()
    for name, tally in tallies.items():
        total.update(tally.counts)
        lines.append(line(name, tally.counts))
    lines += [line("all", total), f"tried {total.total():,}, survived {total.total() - total['failed']:,}"]
    for name, tally in tallies.items():
        lines += [f"{name}: {times} × {problem}" for problem, times in Counter(tally.failures).most_common(10)]
    return "\n".join(lines)


def line(name: str, counts: Counter[str]) -> str:
    """A line of the table."""
    return f"{name:<24}{counts.total():>8}{counts['read']:>8}{counts['refused']:>9}{counts['failed']:>8}"


def main(args: Sequence[str] | None = None) -> int:
    """Run the fuzzer with a network of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of the formats that are tried")
    parser.add_argument("--folder", type=Path, help="keeps the files that failed")
    given = parser.parse_args(args)
    from tests.hostile.small_tokenizer import write_tokenizer

    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        (folder / "own").mkdir(parents=True)
        write_tokenizer(folder / "own")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        tallies = fuzz(folder, folder / "own", seconds=given.seconds, seed=given.seed, only=given.only)
    print(summary(tallies))
    return int(any(tally.failures for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
