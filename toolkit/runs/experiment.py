"""One run of a recipe: its folder, its training stages, what is saved and what is measured.

The folder of a run::

    config.yaml          every option as it was resolved, the recipe's name among them
    .data.json           fingerprints of the data that the run began with
    reference/           the uncompressed network, fine-tuned at the same budget
    model/               the compressed network (a recipe may save more, under other names)
    */row.json           a network's row of the report and checksums of its weights, written when its stage is complete
    predictions/         of each network on the judged sets, to be compared later
    checkpoints/ logs/   of the stages; checkpoints are deleted once a stage is complete
    report.json report.md
    layers.json layers.seconds layers.png similarity.png   where the layers of a network were looked at
    analysis.json analysis.html *.png       where its neurons were looked at
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from transformers import PreTrainedModel

from toolkit.console import is_first_process
from toolkit.data import TaskData
from toolkit.data.tokenization import same_tokenizer
from toolkit.evaluation import costs
from toolkit.evaluation.costs import Timing
from toolkit.evaluation.judging import judge
from toolkit.evaluation.metering import Meter, peak_memory, selection_cost
from toolkit.evaluation.report import Report, Row
from toolkit.files.writing import write_text
from toolkit.models import storage
from toolkit.models.encoder import max_positions
from toolkit.models.loading import load_network
from toolkit.models.sparse_storage import Saving
from toolkit.modules.fine_tuning import FineTuning
from toolkit.runs.faults import explained
from toolkit.runs.folder import check_data, check_folder, lock, sweep
from toolkit.runs.stored_networks import (
    ROW,
    Judging,
    check_network,
    measure_network,
    predictions_file,
    read_row,
    store_network,
)
from toolkit.runs.training_stage import TrainerFactory, discard_checkpoints, fit


class Written(Protocol):
    """What a run found, and how it is kept."""

    def write(self, file: Path) -> None:
        """Write it, as a whole or not at all."""

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read it again."""


Found = TypeVar("Found", bound=Written)


class Experiment:
    """The folder of one run, and the stages that fill it.

    A stage is complete when its folder holds ``row.json``; a resumed run goes on with the first stage that is not, at
    its last checkpoint. A network that was damaged since its stage was completed is refused.

    Args:
        output: The run's folder.
        data: The task.
        trainer: Makes a trainer; called once for each training stage, with the arguments that the stage adds.
        config: The resolved options as YAML, or an empty text where a recipe is built in code.
        resume: Whether the folder may hold this very run already.
        timing: How the networks' latency is measured.
        saving: How the compressed networks' weights are stored; the uncompressed one's are stored as they are.

    Raises:
        FileExistsError: If the folder holds another run, or this one without ``resume``, or is in use.
    """

    def __init__(
        self,
        output: Path,
        data: TaskData,
        trainer: TrainerFactory,
        config: str = "",
        *,
        resume: bool = False,
        timing: Timing = Timing(),
        saving: Saving = Saving(),
    ) -> None:
        self.output = output
        self.data = data
        self.trainer = trainer
        self.config = config
        self.timing = timing
        self.saving = saving
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        if is_first_process():
            check_folder(output, config, resume=resume)
        with explained(data.cache, "data.cache"):
            data.prepare_data()  # What is wrong with the files is said before anything is trained or written.
            data.setup("fit")
        # Scores of a network and further figures, where not the sets of a labelled task judge it.
        self.judging: Judging | None = None
        self._folders: dict[str, Path] = {}  # Of the networks, by the names of their rows.
        self._is_new = not (output / "config.yaml").is_file()
        if is_first_process():
            with explained(output):
                output.mkdir(parents=True, exist_ok=True)
                self._lock = lock(output)
                check_folder(output, config, resume=resume)  # Another process may have been faster.
                sweep(output)
                write_text(output / "config.yaml", config)
                check_data(output, data.fingerprints())

    def train(self, module: FineTuning, name: str, folder: str = "model") -> Row:
        """Train, save and measure a network, unless an earlier attempt did.

        Args:
            module: What is trained.
            name: Of its row in the report.
            folder: Below the run's folder, where the network is saved.
        """
        target = self._folders[name] = self.output / folder
        if (target / ROW).is_file():
            return self._complete(name, target)
        with self.stage():
            self._check_length(module.network)
            meter = Meter()
            trainer = fit(module, self.data, self.trainer, self.output, name, folder, meter)
            if trainer.is_global_zero:
                seconds = round(meter.elapsed(), 1)
                torch.nn.Module.to(module.network, trainer.strategy.root_device)  # Lightning leaves it on the CPU.
                extras = {
                    "optimizer_steps": trainer.global_step,
                    "training_seconds": seconds,
                    **meter.results(module.network),
                    **module.results(),
                }
                self._save(module.network, name, target, extras)
                discard_checkpoints(self.output, folder)
            trainer.strategy.barrier()  # The other processes read the folder, too.
        return read_row(target)

    def build(
        self, make: Callable[[], tuple[PreTrainedModel, dict[str, Any]]], name: str, folder: str = "model"
    ) -> Row:
        """Make, save and measure a network that is not trained any more, unless an earlier attempt did.

        Args:
            make: Gives the network and what the report says of its making.
            name: Of its row in the report.
            folder: Below the run's folder, where the network is saved.
        """
        target = self._folders[name] = self.output / folder
        if (target / ROW).is_file():
            return self._complete(name, target)
        with self.stage():
            network, extras = make()
            extras = {**extras, "peak_memory": peak_memory(self._device())}
            torch.nn.Module.to(network, self._device())
            if not is_first_process():
                # Nothing may wait for it: where all stages were complete, no process group is there.
                return self._row(network, name, extras)
            self._save(network, name, target, extras)
        return read_row(target)

    def measure(self, folder: Path, name: str) -> Row:
        """Measure a network that was fine-tuned before, in another run or elsewhere.

        Args:
            folder: Holds the network, with a head for the task.
            name: Of its row in the report.

        Raises:
            ValueError: If it was not fine-tuned on the task, or reads with another tokenizer.
        """
        with self.stage():
            if not same_tokenizer(str(folder), self.data.network, self.data.task):
                raise ValueError(
                    f"{folder} has another tokenizer than {self.data.network}: it would be judged on other words."
                )
            network = load_network(str(folder), self.data.task, trained=True)
            self._folders[name] = folder
            torch.nn.Module.to(network, self._device())
            return replace(self._row(network, name, {}), bytes=costs.bytes_on_disk(folder))

    def analyse(self, file: str, network: PreTrainedModel, compute: Callable[[], Found], kind: type[Found]) -> Found:
        """Look at a network, unless an earlier attempt did.

        Args:
            file: Below the run's folder, where what was found is written.
            network: What is looked at.
            compute: Looks at it.
            kind: Reads and writes what was found.
        """
        path = self.output / file
        if path.is_file():
            return kind.read(path)
        started = time.perf_counter()
        with self.stage():
            self._check_length(network)
            found = compute()
            if is_first_process():
                write_text(path.with_suffix(".seconds"), f"{time.perf_counter() - started:.3f}\n")
                found.write(path)
        return found

    def selection_cost(
        self, file: str, network: PreTrainedModel, splits: Sequence[str] = ("train",)
    ) -> dict[str, int | float]:
        """What `analyse` cost, in the words of the report; empty in all processes but the first, which reports.

        Args:
            file: Below the run's folder, where what was found is written.
            network: What was looked at, whole.
            splits: That it was looked at on.
        """
        seconds = (self.output / file).with_suffix(".seconds")
        if not is_first_process():
            return {}
        return selection_cost(network, self.data, splits, float(seconds.read_text(encoding="utf-8")))

    def report(self, *rows: Row) -> Report:
        """Measure the run's networks beside each other, and write the report.

        Args:
            rows: Of the networks that were trained or measured; the first is the uncompressed one.
        """
        report = Report(rows)
        if not is_first_process():
            return report
        with explained(self.output):
            written = self._written_report()
            if written and [replace(row, latency_ms=None) for row in written.rows] == list(rows):
                return written
            if self.timing.seconds:
                networks = [storage.load(self._folders[row.name]) for row in rows]
                for network in networks:
                    torch.nn.Module.to(network, self._device())
                times = costs.timed(networks, self.timing)
                report = Report(tuple(replace(row, latency_ms=time) for row, time in zip(rows, times, strict=True)))
            report.write(self.output)
        return report

    def _written_report(self) -> Report | None:
        """What an earlier attempt reported; ``None`` if there is none, or none that can be read."""
        if not (self.output / "report.json").is_file():
            return None
        try:
            return Report.read(self.output)
        except ValueError as error:
            rank_zero_warn(f"{str(error).partition(';')[0]}; it is written again.")
            return None

    @contextmanager
    def stage(self) -> Iterator[None]:
        """A block of the run: if it fails before there is anything to continue, the folder is gone, and free again.

        Of what is wrong with the machine, the error says what to do.
        """
        try:
            with explained(self.output):
                yield
        except Exception:
            self._discard_if_empty()
            raise

    def _complete(self, name: str, target: Path) -> Row:
        """Row of a network that an earlier attempt made, whose predictions are made again if they are lost.

        Raises:
            ValueError: If the network is not what was stored.
        """
        check_network(target)
        rank_zero_info(f"{name}: complete already, in {target}")
        predictions = predictions_file(self.output, name)
        if self.judging is None and is_first_process() and not predictions.is_file():
            network = storage.load(target)
            torch.nn.Module.to(network, self._device())
            with explained(self.output):
                judge(network, self.data).write(predictions)
        if is_first_process():
            discard_checkpoints(self.output, str(target.relative_to(self.output)))  # It may have ended before that.
        return read_row(target)

    def _device(self) -> torch.device:
        return self.trainer(logger=False, callbacks=[]).strategy.root_device

    def _check_length(self, network: PreTrainedModel) -> None:
        positions = max_positions(network.config)
        if positions is not None and self.data.max_length > positions:
            raise ValueError(
                f"data.max_length={self.data.max_length} is more than the network's {positions} positions."
            )

    def _discard_if_empty(self) -> None:
        """Leave no folder behind of a run that failed before there was anything to continue."""
        kept = any(any(self.output.rglob(name)) for name in ("*.ckpt", ROW, "layers.json", "features.json"))
        if self._is_new and not kept and is_first_process():
            shutil.rmtree(self.output, ignore_errors=True)  # The error that is being raised is the one to be read.

    def _save(self, network: PreTrainedModel, name: str, target: Path, extras: Mapping[str, Any]) -> None:
        store_network(
            network,
            target,
            self.data,
            lambda stored: self._row(stored, name, extras),
            config=self.config,
            saving=Saving() if target.name == "reference" else self.saving,
        )

    def _row(self, network: PreTrainedModel, name: str, extras: Mapping[str, Any]) -> Row:
        return measure_network(network, name, self.data, self.output, extras, seed=self.seed, judging=self.judging)
