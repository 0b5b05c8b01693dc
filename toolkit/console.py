"""What a run shows: its result, its progress, and its errors in a line or two; one process of several speaks."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import transformers
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import RichProgressBar
from rich.console import Console
from rich.text import Text

from toolkit.termination import TERMINATION

READABLE = {".csv", ".html", ".json", ".md", ".png"}

# Warnings of libraries that say nothing to the user of a recipe.
NOISE = (
    r"(?s).*does not have many workers",  # Rows are tokenised once; collating them is cheap.
    r"(?s).*smaller than the logging interval",
    r"(?s).*is deprecated, use `isinstance\(treespec",
    r"(?s).*Checkpoint directory .* exists and is not empty",
)


def is_first_process() -> bool:
    """Whether this process is the only one, or the one of several that writes and prints.

    Lightning's launcher, torchrun and SLURM set one of these variables before the process group exists.
    """
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))


def show(result: Any) -> None:
    """Print something that rich can print, in the first process only."""
    if is_first_process():
        Console().print(result)


class ProgressBar(RichProgressBar):
    """Lightning's rich progress bar with epochs counted from 1, no version number, and the last epoch's own metrics.

    The bar looks at the metrics before a module's ``on_train_epoch_end`` logs any, so that it would end with, say, the
    sparsity of the last epoch but one.
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look once more."""
        self._update_metrics(trainer, pl_module)
        self.refresh()
        super().on_train_end(trainer, pl_module)

    def _get_train_description(self, current_epoch: int) -> str:
        last = self.trainer.max_epochs or 0  # -1 where steps are counted, and None where neither is.
        description = f"Epoch {current_epoch + 1}" + (f"/{last}" if last > 0 else "")
        return description.ljust(len(self.validation_description))  # Of equal width, so that the bar stays in place.

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Loss and scores, to three digits."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


def saved(folder: Path) -> str:
    """Say what a run left in its folder: networks, and files that are read by people or programs.

    Args:
        folder: Of the run.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     for file in ("model/config.json", "report.md", "config.yaml"):
        ...         (Path(name) / file).parent.mkdir(exist_ok=True)
        ...         (Path(name) / file).touch()
        ...     print(saved(Path(name)).removeprefix(f"Saved in {name}: "))
        model/, report.md
    """
    networks = sorted(f"{file.parent.name}/" for file in folder.glob("*/config.json"))
    files = sorted(file.name for file in folder.iterdir() if file.suffix in READABLE and not file.name.startswith("."))
    return f"Saved in {folder}: {', '.join([*networks, *files])}"


def run_recipe(recipe: Any) -> None:
    """Run a recipe and print what it found and where it is.

    Args:
        recipe: A `toolkit.recipe.Recipe`.

    Raises:
        SystemExit: With status 1, if parts of it failed.
    """
    result = recipe.run()
    show(result)
    show(Text(saved(recipe.folder())))
    if getattr(result, "failures", ()):
        raise SystemExit(1)


@contextmanager
def user_errors() -> Iterator[None]:
    """Say what is wrong in one or two lines; ``TOOLKIT_TRACEBACK=1`` shows the traceback too.

    Raises:
        SystemExit: With status 1 for what a user can mend, 130 for Ctrl-C, 143 for SIGTERM.
    """
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_ours)
    transformers.utils.logging.disable_progress_bar()
    for message in NOISE:
        warnings.filterwarnings("ignore", message)
    try:
        with TERMINATION.await_it():
            yield
    except KeyboardInterrupt:
        sys.unraisablehook = partial(_unless_half_built, sys.unraisablehook)
        if is_first_process():
            print("interrupted; the same command with resume=true continues", file=sys.stderr)
        raise SystemExit(143 if TERMINATION.received else 130) from None
    except (
        ValueError,
        OSError,
        MemoryError,
        FloatingPointError,
        ModuleNotFoundError,
        MisconfigurationException,
    ) as error:
        if os.environ.get("TOOLKIT_TRACEBACK"):
            raise
        message = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(1) from error


def _unless_half_built(otherwise: Callable[[Any], object], unraisable: Any) -> None:
    """Say nothing of a profiler of Lightning that ends before it has begun: Ctrl-C fell into its constructor."""
    if getattr(unraisable.object, "__qualname__", None) != "Profiler.__del__":
        otherwise(unraisable)


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop Lightning's lines about devices and its advertisements, which come with every trainer."""
    return not re.match(r"(GPU|TPU|HPU|💡|.Trainer|Using |Loading .train_dataloader)", record.getMessage())
