"""The grid of a comparison: methods × tasks × seeds, each cell a run of a recipe with options of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from toolkit import __version__
from toolkit.catalogue import recipe_class
from toolkit.comparison.methods import BASELINE, Budget, Method
from toolkit.data import TaskData
from toolkit.files.checksums import checksum
from toolkit.options.command_line import resolve
from toolkit.options.values import digest, options_of
from toolkit.tasks import Task

_OF_A_NETWORK = r"\.(safetensors|bin|txt|model)$|(config|tokenizer|vocab|_map).*\.json$"  # files that make one
_LIBRARIES = ("torch", "lightning", "transformers", "tokenizers")  # whose versions can change what a run computes


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid.

    Args:
        method: Name of the method.
        task: Name of the task.
        seed: Of the run.
        recipe: Name of the recipe.
        config: Its resolved options, in YAML.
        key: Stands for all that the run computes, and for the versions it computes it with.
        dense: Key of the cell whose network is the uncompressed reference, if it has one.
    """

    method: str
    task: str
    seed: int
    recipe: str
    config: str
    key: str
    dense: str | None = None


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is compared.

    Args:
        methods: Their names in the table differ.
        tasks: By name, or tasks of your own.
        seeds: Of the runs.
        budget: The same for all.
        data: Options ``data.*`` of all runs.
        model: Options ``model.*`` of all runs.
        trainer: Options ``trainer.*`` of all runs.
        baseline: What the others are compared with: the uncompressed network, which is always part of the grid.

    Raises:
        ValueError: If there is nothing to compare, or two methods have one name.
    """

    methods: Sequence[Method]
    tasks: Sequence[str | Task]
    seeds: Sequence[int] = (0,)
    budget: Budget = Budget()
    data: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    baseline: Method = Method(recipe=BASELINE)
    _digests: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("methods", "tasks", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; give at least one.")
        same = [method for method in self.methods if method.name == self.baseline.name and method != self.baseline]
        if any(method != Method(recipe=BASELINE) for method in same):
            raise ValueError(
                f"{self.baseline.name} is the name of the baseline: give the method a name of its own, or the "
                "baseline's options as baseline."
            )
        names = [method.name for method in self.methods]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two methods are called {twice[0]!r}; give each a name of its own.")
        if len(set(self.seeds)) != len(self.seeds) or len({_name(task) for task in self.tasks}) != len(self.tasks):
            raise ValueError("a task or a seed is given twice.")

    def task_data(self, task: str | Task) -> TaskData:
        """The data of a task, as most methods see it."""
        options = {key.removeprefix("data."): value for key, value in self.budget.options().items() if "data." in key}
        network = {"network": self.model["network"]} if "network" in self.model else {}
        return TaskData(task, **network, **{**self.data, **options})

    def cells(self) -> list[Cell]:
        """Every run, those of the uncompressed networks first.

        Raises:
            ValueError: If an option is unknown, or a value of the wrong type, or the data are broken.
        """
        found: list[Cell] = []
        fingerprints = {}
        for method in (self.baseline, *self.methods):  # Unknown options are named with the nearest that there is.
            for seed in self.seeds if method.folder is not None else self.seeds[:1]:
                folder = _folder(method, self.tasks[0], seed)
                resolve(method.recipe or "evaluation", **self._options(method, self.tasks[0], folder))
        for task in self.tasks:
            data = self.task_data(task)
            data.prepare_data()
            fingerprints[_name(task)] = [*data.fingerprints().values()]
        # Methods that come to the same run share it.
        for method in [self.baseline, *(method for method in self.methods if method.name != self.baseline.name)]:
            for task in self.tasks:
                resolved: dict[str, str] = {}
                for seed in self.seeds:
                    dense = next((cell for cell in found if (cell.task, cell.seed) == (_name(task), seed)), None)
                    found.append(self._cell(method, task, seed, dense, fingerprints[_name(task)], resolved))
        return found

    def _cell(
        self, method: Method, task: str | Task, seed: int, dense: Cell | None, data: list[str], resolved: dict[str, str]
    ) -> Cell:
        name = method.recipe or "evaluation"
        folder = _folder(method, task, seed)
        if str(folder) not in resolved:  # Seconds for a large grid, and the same for every seed.
            resolved[str(folder)] = resolve(name, **self._options(method, task, folder))
        config = resolved[str(folder)]
        if folder is None or "{seed}" in str(method.folder):  # A fixed network is judged once.
            config = re.sub(r"^seed_everything: .*$", f"seed_everything: {seed}", config, flags=re.MULTILINE)
        shares = dense is not None and _takes_reference(method)
        reference = dense.key if shares and dense else None
        versions = {library: version(library) for library in _LIBRARIES} | {"toolkit": __version__}
        return Cell(
            method=method.name,
            task=_name(task),
            seed=seed,
            recipe=name,
            config=config,
            key=digest([options_of(config), self._folders(config), versions, data, reference])[:16],
            dense=reference,
        )

    def _folders(self, config: str) -> dict[str, str]:
        """What the networks hold that the options name by their folders: it may change under the same name."""
        named = {str(value) for value in options_of(config).values() if isinstance(value, str)}
        for name in sorted(named):
            if name not in self._digests:
                is_network = (Path(name) / "config.json").is_file()
                self._digests[name] = folder_digest(Path(name)) if is_network else ""
        return {name: self._digests[name] for name in sorted(named) if self._digests[name]}

    def _options(self, method: Method, task: str | Task, folder: str | None) -> dict[str, Any]:
        options: dict[str, Any] = {"seed_everything": 0, "data.task": _plain(task), "timing.seconds": 0}
        for group in ("data", "model", "trainer"):
            options |= {f"{group}.{key}": value for key, value in getattr(self, group).items()}
        options |= self.budget.options()
        options |= method.options
        if folder is not None:
            if not Path(folder, "config.json").is_file():
                raise ValueError(f"method {method.name!r}: {folder} is no folder of a network (no config.json).")
            options = {key: value for key, value in options.items() if not key.startswith("model.")}
            options["model.network"] = folder
        return options


def _takes_reference(method: Method) -> bool:
    """Whether the grid's uncompressed network is the one that a method's recipe would train itself."""
    own = ("data.", "trainer.", "reference", "model.network")
    return (
        method.recipe is not None
        and hasattr(recipe_class(method.recipe), "train_reference")
        and not any(key.startswith(own) for key in method.options)
    )


def folder_digest(folder: Path) -> str:
    """Hash of what makes a network: its config, its tokenizer and its weights; reports and cards do not count.

    Args:
        folder: Of the network.
    """
    hashes = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and re.search(_OF_A_NETWORK, file.name):
            hashes[file.name] = checksum(file)
    return digest(hashes)


def _folder(method: Method, task: str | Task, seed: int) -> str | None:
    """Folder of a cell's network, of a method that is one."""
    if method.folder is None:
        return None
    wrong = ValueError(
        f"method {method.name!r}: {method.folder} has braces that stand for nothing; only {{task}} and {{seed}} do."
    )
    try:
        fields = [parts[1:] for parts in Formatter().parse(method.folder)]
    except ValueError as error:
        raise wrong from error
    # Not {seed.__class__} either, which format() would give as well.
    if any(field not in ((None, None, None), ("task", "", None), ("seed", "", None)) for field in fields):
        raise wrong
    return method.folder.format(task=_name(task), seed=seed)


def _name(task: str | Task) -> str:
    return task if isinstance(task, str) else task.name


def _plain(task: str | Task) -> Any:
    """A task as an option of a recipe."""
    return task if isinstance(task, str) else yaml.safe_load(yaml.safe_dump(_lists(asdict(task))))


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(part) for key, part in value.items()}
    return [_lists(part) for part in value] if isinstance(value, tuple | list) else value
