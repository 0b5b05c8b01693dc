"""Two processes with unequal shards give what one process gives, for every metric."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from toolkit.statistics.influence import BlockInfluence
from toolkit.statistics.similarity import LayerSimilarity
from toolkit.statistics.variability import ClassVariability


def results(rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What every metric says, twice, because the sums of a process must not be changed by asking."""
    similarity, influence = LayerSimilarity(3, 5), BlockInfluence(3)
    variability = ClassVariability(3, 5, 4, corrected=True)
    if len(labels):
        similarity.update(rows)
        influence.update(rows)
        variability.update(rows, labels)
    found: dict[str, Tensor] = {}
    for time in ("first", "again"):
        found |= {
            f"{time} similarity": similarity.compute(),
            f"{time} cosine": influence.compute(),
            f"{time} influence": influence.influence(),
            f"{time} angle": influence.angular(),
            f"{time} variability": variability.compute(),
        }
    return found


def run_process(rank: int, folder: Path, shards: list[list[int]]) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(shards)
    )
    data = torch.load(folder / "data")
    torch.save(results(data["rows"][:, shards[rank]], data["labels"][shards[rank]]), folder / f"result-{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("first", [23, 0], ids=["unequal", "one without rows"])
@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_two_processes_give_what_one_gives(first: int, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 4
    rows = torch.randn(3, 60, 5, generator=draw) + 3 * torch.randn(3, 4, 5, generator=draw)[:, labels]
    torch.save({"rows": rows, "labels": labels}, tmp_path / "data")
    shards = [list(range(first)), list(range(first, 60))]
    spawn(run_process, (tmp_path, shards), nprocs=2)
    expected = results(rows, labels)
    for rank in range(2):
        found = torch.load(tmp_path / f"result-{rank}")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-10, rtol=1e-10, msg=name)
