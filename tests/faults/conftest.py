"""Small runs, and disks of their own for them."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Mount = Callable[[str], Path]


@pytest.fixture
def small(tiny_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options with which a run of any recipe takes a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    return {
        "seed_everything": 1,
        "data.task": "synthetic_sentiment",
        "data.size": 80,
        "data.limit_eval": 20,
        "data.batch_size": 16,
        "data.max_length": 32,
        "model.network": str(tiny_network),
        "trainer.max_epochs": 2,
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        "trainer.enable_progress_bar": False,
        "timing.seconds": 0,
        "output": "run",
    }


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a disk in memory, or change how it is mounted: ``mount("size=300k")``, then ``mount("remount,ro")``."""
    disk = tmp_path / "disk"
    disk.mkdir()
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    as_root = [] if is_root else ["sudo", "-n"]

    def mounted(options: str) -> Path:
        if not is_root and shutil.which("sudo") is None:
            pytest.skip("only root mounts disks, and there is no sudo")
        command = [*as_root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return disk

    yield mounted
    if os.path.ismount(disk):
        subprocess.run([*as_root, "umount", "--lazy", str(disk)], check=True)


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Say of each kind of fault how often it was tried and survived; what was skipped was not tried."""
    tried: dict[str, list[bool]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            file = Path(report.nodeid.split("::")[0])
            if file.parent.name == "faults":
                tried.setdefault(file.stem.removeprefix("test_"), []).append(outcome == "passed")
    if tried:
        terminalreporter.section("faults")
        for kind, survived in sorted(tried.items()):
            terminalreporter.line(f"{kind:20} {len(survived):3} tried, {sum(survived):3} survived")
