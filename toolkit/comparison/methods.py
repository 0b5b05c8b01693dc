"""What is compared, and how long it is trained."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from toolkit.catalogue import recipe_class, recipe_names
from toolkit.data import TaskData
from toolkit.evaluation.report import Report
from toolkit.options.values import flatten

BASELINE = "fine_tuning"
_GIVEN = ("data.task", "seed_everything", "output", "resume", "recipe", "timing")  # by the grid, to every run


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is compared: a recipe with options, or a network that is compressed already.

    Args:
        name: In the table; by default that of the recipe, or of the folder.
        recipe: Name of a recipe.
        options: Its options where they differ from the grid's, ``{model.sparsity: 0.6}``.
        folder: Of a network that was fine-tuned on the task, of this toolkit or of `transformers`; ``{task}`` and
            ``{seed}`` in it stand for those of a cell.

    Raises:
        ValueError: If there is neither a recipe nor a folder, or both.
    """

    name: str = ""
    recipe: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    folder: str | None = None

    def __post_init__(self) -> None:
        if (self.recipe is None) == (self.folder is None):
            raise ValueError(f"method {self.name!r} needs a recipe or a folder, one of the two.")
        object.__setattr__(self, "name", self.name or self.recipe or Path(str(self.folder)).name)
        object.__setattr__(self, "options", flatten(self.options))
        if self.recipe is not None and not makes_network(self.recipe):
            others = ", ".join(filter(makes_network, recipe_names()))
            raise ValueError(f"recipe {self.recipe} makes no network to compare; there are: {others}.")
        if taken := [key for key in self.options if key.startswith(_GIVEN)]:
            raise ValueError(f"method {self.name!r}: {taken[0]} is the comparison's own, no option of a method.")

    @classmethod
    def of(cls, method: "str | Method") -> "Method":
        """A method from its short form: the name of a recipe, or a path.

        Raises:
            ValueError: If it is the name of no recipe.

        Example:
            >>> Method.of("layer_dropping").recipe, Method.of("runs/{task}/model").name
            ('layer_dropping', 'runs/{task}/model')
        """
        if isinstance(method, Method):
            return method
        if method.lstrip().startswith(("{", "[")):  # A mapping that no method is, which the parser took for a name.
            raise ValueError(f"{method} is no method: give name, recipe and options, or name and folder.")
        return cls(name=method, folder=method) if "/" in method else cls(recipe=method)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long every network is trained, whatever the method.

    Args:
        steps: Optimizer steps; null leaves the recipes' own epochs.
        epochs: Passes over the training set.
        examples: Training sentences; drawn with ``data.split_seed``, the same for every method.

    Raises:
        ValueError: If steps and epochs are both given, or a number is not positive.
    """

    steps: int | None = None
    epochs: int | None = None
    examples: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("budget.steps and budget.epochs are both given; give one of the two.")
        for name, value in asdict(self).items():
            if value is not None and value < 1:
                raise ValueError(f"budget.{name} is {value}, but must be at least 1.")

    def options(self) -> dict[str, Any]:
        """The same as options of a recipe."""
        options: dict[str, Any] = {}
        if self.steps is not None:
            options |= {"trainer.max_steps": self.steps, "trainer.max_epochs": -1}
        if self.epochs is not None:
            options["trainer.max_epochs"] = self.epochs
        if self.examples is not None:
            options["data.limit_train"] = self.examples
        return options


def makes_network(recipe: str) -> bool:
    """Whether a recipe reports on networks for a labelled task, of which the last is the one that it makes.

    Args:
        recipe: Its name.

    Raises:
        ValueError: If there is no such recipe.

    Example:
        >>> makes_network("layer_dropping"), makes_network("layer_analysis"), makes_network("proximal_pretraining")
        (True, False, False)
    """
    made = recipe_class(recipe)
    return get_type_hints(made).get("data") is TaskData and get_type_hints(made.run).get("return") is Report
