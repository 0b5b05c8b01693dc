"""What the command line says when a run ends."""

import subprocess
import sys

INTERRUPTED = """
from lightning.pytorch.profilers import PassThroughProfiler
from toolkit.console import user_errors

def half_built():
    profiler = PassThroughProfiler.__new__(PassThroughProfiler)
    raise KeyboardInterrupt

with user_errors():
    half_built()
"""


def test_ctrl_c_within_the_making_of_a_trainer_leaves_no_traceback() -> None:
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert ended.stderr == "interrupted; the same command with resume=true continues\n"
