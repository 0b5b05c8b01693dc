"""Where cells run: processes of this machine, a Ray cluster, or SLURM; each cell in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import torch

from toolkit.comparison.worker import PARENT

Workers = int | Literal["ray", "slurm"]
Submit = Callable[[Path], "Future[int]"]
"""Begins a cell in a folder; the future gives its exit status."""

_GRACE = 10.0  # Seconds that a worker has to end after Ctrl-C.


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Runs cells.

    Args:
        workers: So many processes on this machine, ``ray`` for the cluster that RAY_ADDRESS names (or one on this
            machine), ``slurm`` for jobs of SLURM; on both, all nodes see the output folder under one path.
        threads: Of each worker; null shares the cores of this machine between its workers, and is 1 on Ray and SLURM.
        gpus: GPUs of each worker, on Ray and SLURM; processes on this machine take its GPUs in turns.
        minutes: Of SLURM, the longest that a cell may take.
        partition: Of SLURM.

    Raises:
        ValueError: If a number is out of its range.
        ModuleNotFoundError: If the engine's package is not installed.
    """

    workers: Workers = 1
    threads: int | None = None
    gpus: int = 0
    minutes: int = 240
    partition: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.workers, int) and self.workers < 1:
            raise ValueError(f"engine.workers is {self.workers}; give a number of processes, ray or slurm.")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"engine.threads is {self.threads}, but must be at least 1.")
        if self.gpus < 0:
            raise ValueError(f"engine.gpus is {self.gpus}, but must not be negative.")
        if self.minutes < 1:
            raise ValueError(f"engine.minutes is {self.minutes}, but must be at least 1.")
        needed = {"ray": "ray", "slurm": "submitit"}.get(str(self.workers))
        if needed is not None and find_spec(needed) is None:
            raise ModuleNotFoundError(
                f"engine.workers={self.workers} needs the package {needed}; install the extra [{self.workers}]."
            )

    @property
    def threads_each(self) -> int:
        """Threads of each worker, such that those of this machine do not fight for its cores."""
        if self.threads is not None:
            return self.threads
        if not isinstance(self.workers, int):
            return 1  # This machine says nothing of theirs.
        workers = self.workers
        # Not every system tells which cores a process may use.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // workers)

    @property
    def at_once(self) -> int | None:
        """How many cells run at a time; null where the engine decides."""
        return self.workers if isinstance(self.workers, int) else None

    @contextmanager
    def started(self, folder: Path) -> Iterator[Submit]:
        """Start the engine; what still runs when the block is left by an error is stopped.

        Args:
            folder: For what the engine itself writes.
        """
        if self.workers == "ray":
            with _ray(self) as submit:
                yield submit
        elif self.workers == "slurm":
            with _slurm(self, folder) as submit:
                yield submit
        else:
            with _processes(self) as submit:
                yield submit

    def environment(self) -> dict[str, str]:
        """Variables that a worker's libraries read before they are imported."""
        threads = str(self.threads_each)
        return {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
        }


def run_cell(cell: str, environment: dict[str, str], directory: str) -> int:
    """Run a cell in a process of its own, on whatever machine this is called.

    Args:
        cell: Its folder.
        environment: Variables of the process beside this one's.
        directory: That it runs in: relative paths of options are of there.

    Returns:
        Exit status.
    """
    with start_cell(Path(cell), environment, directory) as process:
        return process.wait()


def start_cell(cell: Path, environment: dict[str, str], directory: str | None = None) -> "subprocess.Popen[bytes]":
    """Start the process of a cell, in a group of its own, which ends when this process does.

    Args:
        cell: Its folder.
        environment: Variables of the process beside this one's.
        directory: That it runs in; by default this process's.
    """
    with (cell / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command(cell),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**os.environ, **environment, PARENT: str(os.getpid())},
            start_new_session=True,
        )


def command(cell: Path) -> list[str]:
    """What the process of a cell runs."""
    return [sys.executable, "-m", "toolkit.comparison.worker", str(cell)]


@contextmanager
def _processes(engine: Engine) -> Iterator[Submit]:
    workers = int(engine.workers)
    running: set[subprocess.Popen[bytes]] = set()
    gpus = visible_gpus()
    places: SimpleQueue[int] = SimpleQueue()  # One for each worker, so that no two share a GPU while one is idle.
    for place in range(workers):
        places.put(place)

    def run(cell: Path) -> int:
        place = places.get()
        environment = engine.environment()
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
        try:
            with start_cell(cell, environment) as process:
                running.add(process)
                try:
                    return process.wait()
                finally:
                    running.discard(process)
        finally:
            places.put(place)

    def submit(cell: Path) -> "Future[int]":
        return pool.submit(run, cell)

    with ThreadPoolExecutor(workers) as pool:
        try:
            yield submit
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                _stop(process)
            raise


def visible_gpus() -> list[str]:
    """What this process may use, each as ``CUDA_VISIBLE_DEVICES`` of a process that is to use it alone.

    They keep the names that the user or the scheduler gave them there, numbers or identifiers.
    """
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a worker with its children: at first as Ctrl-C does, for checkpoints to be written whole."""
    with contextlib.suppress(ProcessLookupError):  # It has ended meanwhile.
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _ray(engine: Engine) -> Iterator[Submit]:
    import ray  # An extra.

    begun = not ray.is_initialized()
    if begun:
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
    remote = ray.remote(num_cpus=engine.threads_each, num_gpus=engine.gpus, max_retries=0)(run_cell)
    references: list[Any] = []

    def submit(cell: Path) -> "Future[int]":
        references.append(remote.remote(str(cell.resolve()), engine.environment(), os.getcwd()))
        future: Future[int] = references[-1].future()
        return future

    try:
        yield submit
    except BaseException:
        for reference in references:
            ray.cancel(reference, force=True)
        raise
    finally:
        if begun:
            ray.shutdown()


@contextmanager
def _slurm(engine: Engine, folder: Path) -> Iterator[Submit]:
    import submitit  # An extra.

    executor = submitit.AutoExecutor(folder)
    executor.update_parameters(
        cpus_per_task=engine.threads_each,
        timeout_min=engine.minutes,
        **({"gpus_per_node": engine.gpus} if engine.gpus else {}),
        **({"slurm_partition": engine.partition} if engine.partition else {}),
    )
    jobs: list[Any] = []
    # Jobs of SLURM are no futures: a thread waits for each.
    with ThreadPoolExecutor(256) as waiting:

        def submit(cell: Path) -> "Future[int]":
            job = executor.submit(run_cell, str(cell.resolve()), engine.environment(), os.getcwd())
            jobs.append(job)
            return waiting.submit(job.result)

        try:
            yield submit
        except BaseException:
            waiting.shutdown(wait=False, cancel_futures=True)
            for job in jobs:
                job.cancel()
            raise
