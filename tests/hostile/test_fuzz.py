"""A short run of the fuzzer; ``python tests/hostile/fuzz.py --seconds 600`` is a long one."""

import random
from pathlib import Path

import pytest

from tests.hostile.formats import Format
from tests.hostile.fuzz import attempt, fuzz, summary
from tests.hostile.mutations import ADDED, in_bytes, in_json
from tests.hostile.small_tokenizer import write_tokenizer


def test_every_kind_of_file_survives(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    write_tokenizer(tmp_path / "own")
    tallies = fuzz(tmp_path, tmp_path / "own", seconds=4, seed=0)
    print(summary(tallies))
    assert len(tallies) == 29
    assert all(tally.counts.total() for tally in tallies.values())
    assert not any(tally.failures for tally in tallies.values()), summary(tallies)


@pytest.mark.parametrize(
    ("body", "outcome", "said"),
    [
        ("pass", "read", ""),
        ("raise ValueError('x.tsv, line 1: no')", "refused", ""),
        ("raise ValueError('no')", "failed", "names no file"),
        ("raise KeyError('x.tsv')", "failed", "KeyError"),
        ("(folder / 'EXECUTED').write_text('')", "failed", "was run"),
    ],
)
def test_the_fuzzer_sees_what_goes_wrong(body: str, outcome: str, said: str, tmp_path: Path) -> None:
    kind = Format("x", tmp_path / "x.tsv", lambda: exec(body, {"folder": tmp_path}))
    found, problem = attempt(kind, tmp_path)
    assert found == outcome
    assert said in problem


def test_changes_depend_on_the_seed_alone() -> None:
    content = b"a\tb\nc\td\n" * 20
    changed = [in_bytes(content, random.Random(seed)) for seed in (1, 1, 2)]
    assert changed[0] == changed[1] != changed[2]


def test_configs_get_entries_that_they_did_not_have() -> None:
    found = b"".join(in_json(b'{"a": {"b": 1}}', random.Random(seed)) for seed in range(500))
    assert all(f'"{key}": '.encode() in found for key, _ in ADDED)
