"""Recipes: whole experiments, typed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer, seed_everything

from toolkit.data import TaskData
from toolkit.evaluation.costs import Timing
from toolkit.evaluation.report import Report, Row
from toolkit.models.sparse_storage import Saving
from toolkit.modules.fine_tuning import FineTuning
from toolkit.options.command_line import command_line
from toolkit.options.values import fingerprint, options_of
from toolkit.options.words import as_options
from toolkit.runs.experiment import Experiment
from toolkit.runs.stored_networks import ROW, check_network
from toolkit.runs.training_stage import TrainerFactory


def load(name: str, **overrides: Any) -> "Recipe":
    """Build the recipe called ``name`` with some of its values replaced.

    Args:
        name: Of the recipe.
        overrides: Options by their dotted keys, ``**{"data.task": "mrpc"}``, or nested, ``data={"task": "mrpc"}``.

    Raises:
        ValueError: If there is no such recipe or option, or a value is wrong.

    Example::

        report = load("fine_tuning", data={"size": 64}, trainer={"max_epochs": 1}).run()
        print(report.to_markdown())
    """
    recipe: Recipe = command_line(name, as_options(overrides)).recipe()
    return recipe


@dataclass(kw_only=True)
class Recipe(ABC):
    """An experiment in a folder of its own.

    Args:
        model: What is trained, compressed or looked at.
        data: The task.
        trainer: Makes a trainer; called once for each stage.
        output: Folder of the run; by default ``runs/RECIPE-TASK-`` and a hash of the options.
        resume: Continue the run in ``output`` where it was interrupted.
        timing: How the latency of the networks is measured, by the recipes that report it.
        name: Of the recipe.
        config: Every option as it was resolved, in YAML.
    """

    model: LightningModule
    data: TaskData
    trainer: TrainerFactory = Trainer
    output: Path | None = None
    resume: bool = False
    timing: Timing = Timing()
    name: str = ""
    config: str = ""

    @abstractmethod
    def run(self) -> Any:
        """Carry out the experiment; what it returns can be printed by rich, and is stored in the run's folder."""

    def folder(self) -> Path:
        """The folder of the run."""
        name = self.name or type(self).__name__
        return self.output or Path("runs") / f"{name}-{self.data.task.name}-{fingerprint(self.config)}"

    def experiment(self) -> Experiment:
        """Open the folder of the run, with the run's own seed: another recipe may have been loaded since this one was.

        Raises:
            FileExistsError: If it holds something else.
        """
        seed = options_of(self.config).get("seed_everything")
        if seed is not None and not isinstance(seed, bool):
            seed_everything(seed, verbose=False)
        return Experiment(
            self.folder(),
            self.data,
            self.trainer,
            self.config,
            resume=self.resume,
            timing=self.timing,
            saving=self.stored(),
        )

    def stored(self) -> Saving:
        """How the weights of compressed networks are stored."""
        return Saving()


@dataclass(kw_only=True)
class TrainingRecipe(Recipe):
    """Trains networks, and stores them.

    Args:
        saving: How the weights of compressed networks are stored.
    """

    saving: Saving = Saving()

    def stored(self) -> Saving:
        """As ``saving`` says."""
        return self.saving


@dataclass(kw_only=True)
class CompressionRecipe(TrainingRecipe):
    """Train, compress, recover, evaluate, save, report; the first row of the report is the uncompressed network.

    Args:
        model: What is trained and compressed.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
    """

    model: FineTuning
    reference: Path | None = None

    @abstractmethod
    def run(self) -> Report:
        """Carry out the experiment and report what it kept and what it cost."""

    def experiment(self) -> Experiment:
        """Open the folder of the run.

        Raises:
            FileExistsError: If it holds something else.
            FileNotFoundError: If ``reference`` is no folder.
            ValueError: If ``reference`` was stored with checksums and has others now.
        """
        if self.reference is not None and not (self.reference / "config.json").is_file():
            raise FileNotFoundError(
                f"reference={self.reference} is no folder of a fine-tuned network (no config.json)."
            )
        if self.reference is not None and (self.reference / ROW).is_file():  # Others come without checksums.
            remedy = f"Make it again, or delete {self.reference / ROW} if the weights were changed on purpose."
            check_network(self.reference, remedy)
        return super().experiment()

    def train_reference(self, experiment: Experiment) -> Row:
        """Row of the uncompressed network, which also teaches where the options say so."""
        if self.reference is not None:
            folder = self.reference
            row = experiment.measure(folder, "fine_tuning")
        else:
            folder = experiment.output / "reference"
            free = replace(self.model.training_options, hold_zeros=False)  # Uncompressed, whatever it came with.
            dense = FineTuning(self.data.task, self.model.network_name, free)
            row = experiment.train(dense, "fine_tuning", "reference")
        if self.model.distillation.teacher == "reference":
            self.model.distillation = replace(self.model.distillation, teacher=str(folder))
        return row
