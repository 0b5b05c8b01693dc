"""The one configuration system behind the three doors: jsonargparse, through Lightning's command line."""

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields
from typing import Any, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from toolkit.catalogue import recipe_class, recipe_file, summary
from toolkit.console import ProgressBar, run_recipe
from toolkit.options.checks import check_files, check_groups
from toolkit.options.class_paths import lightning_classes_only
from toolkit.options.messages import explain
from toolkit.options.precision import supported_precision
from toolkit.options.words import as_options
from toolkit.options.yaml_options import LOADER
from toolkit.termination import TakeTermination

BUILT = {"model", "data", "trainer", "name", "config"}  # Fields of a recipe that are built, not given as options.
# A misspelt option is an error, not a guess, and so is a key that is given twice.
STRICT: dict[str, Any] = {"allow_abbrev": False, "exit_on_error": False, "parser_mode": LOADER}


class RecipeCLI(LightningCLI):
    """Lightning's command line over a recipe's module, data and own fields.

    The recipe's YAML file holds the defaults.

    Args:
        name: Of the recipe.
        args: Options, ``--key=value`` each.
        run: Whether the options begin with a subcommand (fit, validate, test, predict) and it is run.

    Raises:
        ValueError: If an option is unknown or its value is wrong; the message names the nearest option.
    """

    def __init__(self, name: str, args: Sequence[str], *, run: bool = False) -> None:
        self.name = name
        self.command = args[0] if run and args else None
        check_files(args)
        self.recipe_class = recipe_class(name)
        types = get_type_hints(self.recipe_class)
        defaults = {"default_config_files": [recipe_file(name)]}
        first = defaults | {
            "usage": f"python -m toolkit.run recipe={name} [key=value ...]",
            "description": f"{summary(name)} Options are key=value, several at once.",
        }
        try:
            with warnings.catch_warnings(), lightning_classes_only():
                # Lightning warns that the command line is there as well, but its launcher of processes needs it.
                warnings.filterwarnings("ignore", "LightningCLI's args parameter")
                super().__init__(
                    types["model"],
                    types["data"],
                    save_config_callback=None,
                    auto_configure_optimizers=False,
                    trainer_defaults={"use_distributed_sampler": False},
                    parser_kwargs=STRICT | (dict.fromkeys(self.subcommands(), STRICT | defaults) if run else first),
                    args=list(args),
                    run=run,
                )
        except ArgumentError as error:
            raise ValueError(self._explain(str(error))) from error

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Put what is particular to the recipe before Lightning's long list."""
        parser.add_argument("--recipe", default=self.name, help="The recipe, by its name.")
        parser.add_class_arguments(self.recipe_class, skip=BUILT)
        parser.add_lightning_class_args(self._model_class, "model")
        parser.add_lightning_class_args(self._datamodule_class, "data")
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{key}": value for key, value in self.trainer_defaults.items()})
        parser.link_arguments("model.network", "data.network")
        parser.link_arguments("data.task", "model.task", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Check groups, and let no checkpoint run code: Lightning's commands read one if told to.

        Raises:
            ValueError: If a group is empty, or a checkpoint would be read from elsewhere or without ``weights_only``.
        """
        options = self.config.get(str(self.subcommand), self.config)
        check_groups(options, self._parser(self.subcommand).get_defaults())
        if options.get("weights_only") is False:
            raise ValueError("weights_only=false would run whatever code a checkpoint holds; leave it out.")
        if "://" in str(options.get("ckpt_path")):
            raise ValueError(f"ckpt_path={options.ckpt_path} is on another machine; download it, and give the file.")
        if "weights_only" in options:
            options["weights_only"] = True

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make a trainer of its own callbacks, with a rich progress bar, and of a precision the hardware has."""
        options = self._get(self.config_init, "trainer")
        callbacks = [*deepcopy(options.callbacks or []), *kwargs.pop("callbacks", [])]
        bar = any(isinstance(callback, RichProgressBar) for callback in callbacks)
        if options.enable_progress_bar is not False and not bar:
            callbacks.append(ProgressBar())
        callbacks.append(TakeTermination())
        stages_own = kwargs.pop("logger", False)
        # As the callbacks, a logger is each stage's own: of one for all, nobody could tell the stages apart.
        own = stages_own is False or options.logger is None
        kwargs["logger"] = stages_own if own else deepcopy(options.logger)
        kwargs.setdefault("precision", supported_precision(options.precision, options.accelerator))
        return super().instantiate_trainer(callbacks=callbacks, **kwargs)

    def recipe(self) -> Any:
        """Build the recipe that the options describe."""
        own = {field.name for field in fields(self.recipe_class)} - BUILT
        return self.recipe_class(
            model=self.model,
            data=self.datamodule,
            trainer=self.instantiate_trainer,
            name=self.name,
            config=self.resolved(),
            **{name: self._get(self.config_init, name) for name in own},
        )

    def resolved(self) -> str:
        """Every option as YAML, which this command line reads again."""
        config = self.config.get(str(self.subcommand), self.config)
        options = {key: value for key, value in config.items() if key not in ("config", "ckpt_path", "weights_only")}
        with lightning_classes_only():
            dumped: str = self._parser(self.subcommand).dump(
                Namespace({key: options[key] for key in options}), skip_none=False, skip_validation=True
            )
        return dumped

    def fit(self, model: Any = None, datamodule: Any = None, ckpt_path: str | None = None, **_: Any) -> None:
        """Run the whole recipe, of which ``Trainer.fit`` is one stage.

        Args:
            model: Of the recipe, which has it already.
            datamodule: Likewise.
            ckpt_path: Must be left out.

        Raises:
            ValueError: If ``ckpt_path`` is given.
        """
        if ckpt_path is not None:
            raise ValueError("a recipe finds its checkpoints itself; use --resume=true in place of --ckpt_path.")
        run_recipe(self.recipe())

    def _explain(self, message: str) -> str:
        parser = self._subcommand_parsers[self.command] if self.command in self.subcommands() else self.parser
        return explain(self.name, message, parser)


class Resolving(RecipeCLI):
    """The same command line without the objects: options are checked and resolved, no network is loaded."""

    def _set_seed(self) -> None:
        """Nothing is drawn."""

    def instantiate_classes(self) -> None:
        """Nothing is built."""


class PlainCLI:
    """The command line of a recipe that trains nothing itself and runs other recipes.

    Args:
        name: Of the recipe.
        args: Options, ``--key=value`` each.

    Raises:
        ValueError: If an option is unknown or its value is wrong; the message names the nearest option.
    """

    def __init__(self, name: str, args: Sequence[str]) -> None:
        self.recipe_class = recipe_class(name)
        check_files(args)
        self.parser = ArgumentParser(
            default_config_files=[recipe_file(name)],
            usage=f"python -m toolkit.run recipe={name} [key=value ...]",
            description=f"{summary(name)} Options are key=value, several at once.",
            **STRICT,
        )
        self.parser.add_argument("--config", action="config", help="A file of options.")
        self.parser.add_argument("--recipe", default=name, help="The recipe, by its name.")
        self.parser.add_class_arguments(self.recipe_class, skip=BUILT - {"model", "data", "trainer"})
        try:
            with lightning_classes_only():
                self.config = self.parser.parse_args(list(args))
        except ArgumentError as error:
            raise ValueError(explain(name, str(error), self.parser)) from error
        check_groups(self.config, self.parser.get_defaults())

    def recipe(self) -> Any:
        """Build the recipe that the options describe."""
        with lightning_classes_only():
            options = self.parser.instantiate_classes(self.config)
            config = self.parser.dump(self.config, skip_none=False, skip_validation=True)  # It looks classes up, too.
        return self.recipe_class(
            name=options.recipe,
            config=config,
            **{key: value for key, value in vars(options).items() if key not in ("config", "recipe")},
        )


def command_line(name: str, args: Sequence[str]) -> RecipeCLI | PlainCLI:
    """The command line of a recipe.

    Args:
        name: Of the recipe.
        args: Options, ``--key=value`` each.
    """
    return RecipeCLI(name, args) if has_module(name) else PlainCLI(name, args)


def has_module(name: str) -> bool:
    """Whether a recipe has a LightningModule of its own, and does not run other recipes.

    Args:
        name: Of the recipe.
    """
    module = get_type_hints(recipe_class(name)).get("model")
    return isinstance(module, type) and issubclass(module, LightningModule)


def resolve(name: str, **overrides: Any) -> str:
    """Every option of a recipe as YAML, without building anything.

    Args:
        name: Of the recipe.
        overrides: Options by their dotted keys.

    Raises:
        ValueError: If there is no such recipe or option, or a value has the wrong type.
    """
    return Resolving(name, as_options(overrides)).resolved()
