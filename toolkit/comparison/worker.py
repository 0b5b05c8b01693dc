"""One cell of a grid, in a process of its own: ``python -m toolkit.comparison.worker CELL``."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

PARENT = "TOOLKIT_PARENT"  # Process whose end ends the worker, too.


def follow_parent(seconds: float = 1.0) -> None:
    """End this process and its children as soon as the one that started it is gone.

    A comparison that was killed leaves no workers behind that would write into its cells when it is started again.

    Args:
        seconds: How often to look.
    """
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(seconds)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def main(folder: Path) -> None:
    """Run the cell's recipe, or go on with it."""
    follow_parent()
    from toolkit.console import user_errors  # Seconds of imports, in which the parent may end.
    from toolkit.options.command_line import RecipeCLI  # Seconds of imports, in which the parent may end.

    with user_errors():
        recipe = (folder / "recipe").read_text(encoding="utf-8").strip()
        RecipeCLI(recipe, [f"--config={folder / 'options.yaml'}"]).recipe().run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
