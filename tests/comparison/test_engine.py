"""Engines: cells in processes of their own, so many at a time, which leave nothing running behind."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from toolkit.comparison import engine
from toolkit.comparison.engine import Engine, run_cell
from toolkit.comparison.worker import PARENT

PRINT = "import os; print(os.environ['OMP_NUM_THREADS'], flush=True)"


@pytest.fixture
def cells(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
    return folders


def running(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let every cell run some code instead of a recipe; ``sys.argv[1]`` is its folder."""
    monkeypatch.setattr(engine, "command", lambda cell: [sys.executable, "-c", code, str(cell)])


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ends(pid: int, seconds: float = 20) -> bool:
    """Whether a process ends in time."""
    limit = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    return not is_alive(pid)


def test_status_and_log_of_each_cell(cells: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch, f"{PRINT}; import sys; sys.exit(int(sys.argv[1][-1]))")
    with Engine(workers=2, threads=3).started(cells[0]) as submit:
        futures = [submit(cell) for cell in cells]
        assert [future.result(60) for future in futures] == [0, 1, 2, 3]
    assert [(cell / "log.txt").read_text() for cell in cells] == ["3\n"] * 4


@pytest.mark.parametrize(
    ("named", "expected"), [(None, ["0", "1"]), ("2,3", ["2", "3"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b"])]
)
def test_workers_take_the_gpus_that_this_process_may_use(
    named: str | None, expected: list[str], cells: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    running(monkeypatch, "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])")
    with Engine(workers=2).started(cells[0]) as submit:
        assert [future.result(60) for future in [submit(cell) for cell in cells]] == [0] * 4
    assert {(cell / "log.txt").read_text().strip() for cell in cells} == set(expected)


def test_no_more_workers_than_asked_for(cells: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, time, pathlib; p = pathlib.Path(sys.argv[1]); t = time.time(); time.sleep(0.3); "
    running(monkeypatch, f"{code} (p / 'times').write_text(f'{{t}} {{time.time()}}')")
    with Engine(workers=2).started(cells[0]) as submit:
        for future in [submit(cell) for cell in cells]:
            future.result(60)
    spans = [tuple(map(float, (cell / "times").read_text().split())) for cell in cells]
    at_once = [sum(begin <= moment < end for begin, end in spans) for moment, _ in spans]
    assert max(at_once) == 2


def test_an_error_stops_the_workers_and_their_children(cells: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import subprocess, sys, pathlib, os; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "(pathlib.Path(sys.argv[1]) / 'pids').write_text(f'{os.getpid()} {child.pid}'); child.wait()"
    )
    running(monkeypatch, code)

    def interrupted() -> None:
        with Engine(workers=1).started(cells[0]) as submit:
            for cell in cells[:2]:
                submit(cell)
            while not (cells[0] / "pids").is_file() or not (cells[0] / "pids").read_text():
                time.sleep(0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(ends(int(pid)) for pid in (cells[0] / "pids").read_text().split())
    assert not (cells[1] / "log.txt").exists()  # It was never begun.


def test_a_worker_ends_with_the_process_that_started_it(cells: list[Path]) -> None:
    follower = (
        "import os, sys, time, pathlib; from toolkit.comparison.worker import follow_parent; follow_parent(0.05); "
        "pathlib.Path(sys.argv[1], 'pid').write_text(str(os.getpid())); time.sleep(600)"
    )
    code = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {follower!r}, sys.argv[1]], start_new_session=True, "
        f"env={{**os.environ, {PARENT!r}: str(os.getpid())}})\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(cells[0])])
    file = cells[0] / "pid"
    limit = time.monotonic() + 60
    while (not file.is_file() or not file.read_text()) and time.monotonic() < limit:
        time.sleep(0.05)
    worker = int(file.read_text())
    assert is_alive(worker)
    parent.kill()
    parent.wait()
    assert ends(worker)


def test_workers_share_the_cores_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [Engine(workers=workers).threads_each for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert Engine(workers=2, threads=5).environment()["OMP_NUM_THREADS"] == "5"
    assert Engine(workers=3).at_once == 3
    assert Engine(workers="ray").threads_each == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert [Engine(workers=workers).threads_each for workers in (1, 2, 16)] == [6, 3, 1]
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert Engine().threads_each == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"workers": 0}, r"engine\.workers is 0"),
        ({"threads": 0}, r"engine\.threads is 0"),
        ({"gpus": -1}, r"engine\.gpus is -1"),
        ({"minutes": 0}, r"engine\.minutes is 0"),
    ],
)
def test_what_is_no_engine(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Engine(**options)


@pytest.mark.parametrize(("workers", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed(workers: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs the package {package}; install the extra \[{workers}\]"):
        Engine(workers=workers)


def test_a_process_in_the_way_of_a_cluster(cells: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch, f"{PRINT}; print(os.getcwd()); import sys; sys.exit(5)")
    assert run_cell(str(cells[0]), {"OMP_NUM_THREADS": "7"}, str(tmp_path)) == 5
    assert (cells[0] / "log.txt").read_text() == f"7\n{tmp_path}\n"


@pytest.mark.slow
def test_ray_runs_cells_on_a_cluster_of_two_nodes(cells: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.cluster_utils import Cluster

    # What a worker on another node runs cannot be patched from here: it is a cell that names no recipe.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        for cell in cells:
            (cell / "recipe").write_text("no_such_recipe\n")
        with Engine(workers="ray", threads=1).started(cells[0]) as submit:
            futures = [submit(cell) for cell in cells]
            assert [future.result(300) for future in futures] == [1] * 4
        for cell in cells:
            assert "there is no recipe 'no_such_recipe'" in (cell / "log.txt").read_text()
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_slurm_runs_cells_as_jobs(cells: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import submitit

    # Without SLURM, submitit's own executor for one machine takes the same jobs.
    monkeypatch.setattr(submitit, "AutoExecutor", lambda folder: submitit.LocalExecutor(folder))
    monkeypatch.setattr(submitit.LocalExecutor, "update_parameters", lambda self, **_: None)
    for cell in cells[:2]:
        (cell / "recipe").write_text("no_such_recipe\n")
    with Engine(workers="slurm", threads=1).started(tmp_path / "jobs") as submit:
        futures = [submit(cell) for cell in cells[:2]]
        assert [future.result(300) for future in futures] == [1, 1]
    assert "there is no recipe 'no_such_recipe'" in (cells[0] / "log.txt").read_text()
