"""SIGTERM, which schedulers and containers send before they kill: it ends a run as Ctrl-C does.

Lightning by itself looks for it at the end of a batch of training alone, and leaves with the status 0. With several
processes its handler broadcasts that it came, whatever the others are about, and waits for ever where they wait for
another message of this one (seen in Lightning 2.6).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lightning import Callback, LightningModule, Trainer


class Termination:
    """A handler that raises what Ctrl-C raises, at once, and remembers that it was SIGTERM."""

    def __init__(self) -> None:
        self.awaited = self.received = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal; a second one, from a launcher beside the scheduler, is not heard."""
        self.received = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    @contextmanager
    def await_it(self) -> Iterator[None]:
        """A block that SIGTERM ends by a KeyboardInterrupt; only the main thread of a process has signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self)
        self.awaited, self.received = True, False
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
            self.awaited = False


TERMINATION = Termination()


class TakeTermination(Callback):
    """Takes SIGTERM back from a trainer, which has put a handler of its own around the one that it found."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After the trainer's handler was installed, and before anything else happens."""
        if TERMINATION.awaited and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, TERMINATION)
