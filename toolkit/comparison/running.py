"""Run the cells of a grid: the uncompressed networks first, then what needs them; what is done and whole is kept."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from toolkit.comparison.cells import Store
from toolkit.comparison.engine import Engine
from toolkit.comparison.grid import Cell
from toolkit.comparison.live import View

_LOOK = 0.5  # Seconds after which the view is refreshed even if nothing has ended.


def run_cells(cells: Sequence[Cell], store: Store, engine: Engine, folder: Path) -> None:
    """Run what is not done yet; a cell that fails leaves the others alone.

    Args:
        cells: All of the grid.
        store: Where they are kept.
        engine: What runs them.
        folder: For what the engine itself writes.
    """
    distinct = list({cell.key: cell for cell in cells}.values())
    with View(cells, engine.at_once) as view:
        waiting = []
        for cell in distinct:
            if store.is_done(cell.key) and store.is_whole(cell.key):
                view.kept(store.outcome(cell))
            else:
                waiting.append(cell)
        if not waiting:
            return
        with engine.started(folder) as submit:
            running: dict[Future[int], Cell] = {}
            while waiting or running:
                left = []
                for cell in waiting:
                    if engine.at_once is not None and len(running) >= engine.at_once:
                        left.append(cell)
                    elif cell.dense is None or store.is_done(cell.dense):
                        view.begun(cell)
                        running[submit(store.begin(cell))] = cell
                    elif cell.dense in {other.key for other in (*running.values(), *waiting)}:
                        left.append(cell)
                    else:
                        reason = "its uncompressed network failed"
                        store.fail(cell, reason)
                        view.ended(cell, None, reason)
                waiting = left
                ended, _ = wait(running, timeout=_LOOK, return_when=FIRST_COMPLETED)
                for future in ended:
                    cell = running.pop(future)
                    error = future.exception()
                    store.end(cell, future.result() if error is None else 1, error)
                    done = store.is_done(cell.key)
                    view.ended(cell, store.outcome(cell) if done else None, "" if done else store.failure(cell).reason)
