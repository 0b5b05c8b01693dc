"""Several recipes one after the other, each beginning with the network that the one before it made."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit.catalogue import recipe_class
from toolkit.evaluation import costs
from toolkit.evaluation.costs import Timing
from toolkit.evaluation.report import Report, Row
from toolkit.files.writing import replacing, write_text
from toolkit.models import storage
from toolkit.options.command_line import resolve
from toolkit.options.values import fingerprint, flatten
from toolkit.recipe import CompressionRecipe, load
from toolkit.runs.folder import check_folder, lock

SEVERAL = ("proximal_transfer", "quickstart")  # Recipes that make more than one network to go on with.
# What no stage may say, and what may be said in its place. A file of options could hold any of these.
_OWN = {
    "recipe": "the stage's recipe, beside its options",
    "config": "the options themselves",
    "output": "the pipeline's output",
    "resume": "the pipeline's resume",
    "seed_everything": "the pipeline's seed_everything",
    "timing": "the pipeline's timing",
    "data.task": "the pipeline's data.task",
    "model.network": "the pipeline's network",
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A recipe of a pipeline.

    Args:
        recipe: Its name.
        name: Of its row in the table; by default that of the recipe.
        options: Of the recipe, ``{model.keep: 4}``, where they differ from the pipeline's.

    Raises:
        ValueError: If the name cannot be a folder's, or an option is the pipeline's to give: task, network, seed,
            timing, output, resume.
    """

    recipe: str
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.recipe)
        if not re.fullmatch(r"\w[\w +.-]*", self.name):  # A folder is called by it.
            raise ValueError(f"stage {self.name!r}: a name has letters, digits, blanks and _ + - . only.")
        object.__setattr__(self, "options", flatten(self.options))
        for key in self.options:
            for own, instead in _OWN.items():
                if key == own or key.startswith(f"{own}."):
                    raise ValueError(f"stage {self.name!r}: {key} is no option of a stage; give {instead}.")


@dataclass(kw_only=True)
class PipelineRecipe:
    """Chain recipes: drop layers, then prune heads and neurons, then weights, then recover; report what each added.

    The uncompressed network is fine-tuned first; it is every stage's reference, and its teacher where a stage says
    ``model.distillation.teacher: reference``. Zeros that a stage made are held by those that follow.

    Args:
        stages: What is done, in this order.
        seed_everything: Of every stage.
        network: What the first stage begins with, and the uncompressed network.
        data: Options ``data.*`` of every stage.
        trainer: Options ``trainer.*`` of every stage.
        baseline: Options of the uncompressed network's fine-tuning, where they differ from the others':
            ``{model.training.learning_rate: 3e-5}``.
        timing: How the latency of all networks is measured beside each other in the end.
        output: Folder of the run; by default ``runs/pipeline-`` and a hash of the options.
        resume: Continue the run in ``output`` where it was interrupted.
        name: Of the recipe.
        config: Every option as it was resolved, in YAML.
    """

    stages: list[Stage]
    seed_everything: int = 0
    network: str = "minilm"
    data: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    baseline: dict[str, Any] = field(default_factory=dict)
    timing: Timing = Timing()
    output: Path | None = None
    resume: bool = False
    name: str = ""
    config: str = ""

    def folder(self) -> Path:
        """The folder of the run."""
        return self.output or Path("runs") / f"pipeline-{fingerprint(self.config)}"

    def run(self) -> Report:
        """Run the stages that are not done, measure all networks beside each other, report.

        Raises:
            ValueError: If a stage is no recipe that makes one network, two have one name, or an option is unknown or
                the pipeline's own.
        """
        chain = [Stage(recipe="fine_tuning", options=self.baseline), *self.stages]
        names = [stage.name for stage in chain]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages are called {max(names, key=names.count)!r}; give each a name of its own.")
        for stage in chain:  # What is wrong with a stage is said before anything is trained.
            check_stage(stage)
            resolve(stage.recipe, **self._options(stage, self.network))
        output = self.folder()
        check_folder(output, self.config, resume=self.resume)
        output.mkdir(parents=True, exist_ok=True)
        held = lock(output)
        try:
            write_text(output / "config.yaml", self.config)
            return self._run(chain, output)
        finally:
            held.release()

    def _run(self, chain: list[Stage], output: Path) -> Report:
        folders = [output / f"{number}-{stage.name}" for number, stage in enumerate(chain)]
        rows: list[Row] = []
        # The first stage begins, as the uncompressed network does, with the pretrained one.
        networks = [self.network, self.network, *(str(folder / "model") for folder in folders[1:])]
        for stage, network, folder in zip(chain, networks, folders, strict=False):
            options = self._options(stage, network, zeros=bool(rows) and rows[-1].sparsity > 0)
            if rows and "reference" not in options and stage.recipe != "fine_tuning":
                options["reference"] = folders[0] / "model"
            if options.get("model.distillation.teacher") == "reference":
                options["model.distillation.teacher"] = str(folders[0] / "model")
            report = load(stage.recipe, **options, output=folder, resume=True).run()
            rows.append(replace(report.rows[-1], name=stage.name))
        report = Report(tuple(rows))
        if self.timing.seconds:
            times = costs.timed([storage.load(folder / "model") for folder in folders], self.timing)
            report = Report(tuple(replace(row, latency_ms=time) for row, time in zip(rows, times, strict=True)))
        with replacing(output / "model") as staged:
            shutil.copytree(folders[-1] / "model", staged)
        report.write(output)
        return report

    def _options(self, stage: Stage, network: str, *, zeros: bool = False) -> dict[str, Any]:
        options: dict[str, Any] = {"seed_everything": self.seed_everything, "timing.seconds": 0}
        for group in ("data", "trainer"):
            options |= {f"{group}.{key}": value for key, value in getattr(self, group).items()}
        options["model.network"] = network
        if stage.recipe == "neuron_selection" and network != self.network:
            options["model.fine_tune"] = False  # The neurons of the stage before, not those of the reference.
        if zeros:
            options["model.training.hold_zeros"] = True
        return options | dict(stage.options)


def check_stage(stage: Stage) -> None:
    """Refuse a recipe that does not make one network for the task of the one before it.

    Raises:
        ValueError: With its name.
    """
    made = stage.recipe == "fine_tuning" or issubclass(recipe_class(stage.recipe), CompressionRecipe)
    if not made or stage.recipe in SEVERAL:
        raise ValueError(
            f"{stage.recipe} can be no stage of a pipeline: it does not make one network of the one before it. Every "
            f"stage is judged and measured anyway; run {stage.recipe} by itself on a stage's folder, such as "
            "output/1-NAME/model."
        )


recipe = PipelineRecipe
