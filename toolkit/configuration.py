"""The one configuration system behind the three doors: jsonargparse, through Lightning's command line."""

import difflib
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch
import transformers
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_warn

from toolkit.catalogue import recipe_class, recipe_file, summary
from toolkit.class_paths import lightning_classes_only, refused_class
from toolkit.run_folder import flatten, is_first_process, show
from toolkit.yaml_options import LOADER, read_options

BUILT = {"model", "data", "trainer", "name", "config"}  # Fields of a recipe that are built, not given as options.
# A misspelt option is an error, not a guess, and so is a key that is given twice.
STRICT: dict[str, Any] = {"allow_abbrev": False, "exit_on_error": False, "parser_mode": LOADER}

# Warnings of libraries that say nothing to the user of a recipe.
NOISE = (
    r"(?s).*does not have many workers",  # Rows are tokenised once; collating them is cheap.
    r"(?s).*smaller than the logging interval",
    r"(?s).*is deprecated, use `isinstance\(treespec",
    r"(?s).*Checkpoint directory .* exists and is not empty",
)

# How jsonargparse says that an option is unknown: on the command line, in a file, in a subcommand's file.
UNKNOWN = r"unrecognized arguments: -*([\w.]+)|[Kk]ey \"?([\w.]+)\"? is not expected|not accept option '([\w.]+)'"


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
        """Refuse empty groups, and what would run code of a checkpoint: Lightning's commands read one if told to."""
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
        if options.logger is not None:
            kwargs.pop("logger", None)
        else:
            kwargs.setdefault("logger", False)
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
        """Run the whole recipe, of which ``Trainer.fit`` is one stage."""
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


def given(args: Sequence[str], *keys: str) -> Iterator[tuple[str, str]]:
    """The values that a command line gives for some keys, in its order.

    Example:
        >>> list(given(["fit", "--config", "mine.yaml", "--recipe=quickstart"], "--config", "--recipe"))
        [('--config', 'mine.yaml'), ('--recipe', 'quickstart')]
    """
    for word, following in zip(args, [*args, ""][1:], strict=True):
        key, equals, value = word.partition("=")
        if key in keys:
            yield key, value if equals else following


def check_files(args: Sequence[str]) -> None:
    """Read the files of options that a command line names, as the parser says neither file nor line of a mistake.

    Raises:
        ValueError: If one holds no plain values; the message names the file and the line.
    """
    for _, name in given(args, "--config"):
        if Path(name).is_file():
            read_options(Path(name))


def check_groups(options: Namespace, defaults: Namespace, prefix: str = "") -> None:
    """Refuse a group of options that is empty, such as ``budget:`` without a line below it.

    Args:
        options: As they were parsed.
        defaults: Of the parser.
        prefix: Of the keys.

    Raises:
        ValueError: If one is; the message names it.
    """
    for key, default in vars(defaults).items():
        if isinstance(default, Namespace):
            given = options.get(key)
            if given is None:
                raise ValueError(f"{prefix}{key} is empty; give options of it, or leave it out")
            if isinstance(given, Namespace):
                check_groups(given, default, f"{prefix}{key}.")


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


def explain(name: str, message: str, parser: Any) -> str:
    """Shorten a parser's message and name the nearest valid option.

    Args:
        name: Of the recipe.
        message: Of the parser.
        parser: Knows the options.
    """
    if refused := refused_class(message):
        return refused
    if empty := re.search(r'Key "([\w.]+)\.\w+" not found in namespace', message):
        return f"{empty[1]} is empty; give options of it, or leave it out"
    unknown = re.search(UNKNOWN, message)
    if unknown is None:
        return " ".join(message.split())
    key = next(filter(None, unknown.groups()))
    near = nearest(key, flatten(parser.get_defaults().as_dict()))
    hint = f"; did you mean {near}?" if near else f"; see python -m toolkit.run recipe={name} --help"
    return f"recipe {name} has no option {key}{hint}"


def nearest(key: str, options: Mapping[str, Any]) -> str | None:
    """The valid option that a misspelt one is nearest to.

    Example:
        >>> nearest("model.sparsty", {"model.sparsity": 0.8, "model.scope": "global"})
        'model.sparsity'
        >>> nearest("model.learning_rate", {"model.training.learning_rate": 1e-4, "model.sparsity": 0.8})
        'model.training.learning_rate'
    """
    last = key.rsplit(".", 1)[-1]
    for option in options:
        if option.rsplit(".", 1)[-1] == last:
            return option
    return next(iter(difflib.get_close_matches(key, options, 1, cutoff=0.6)), None)


def as_options(overrides: Mapping[str, Any]) -> list[str]:
    """Python values as options of the command line.

    Example:
        >>> as_options({"model": {"sparsity": 0.9}, "data.task": "mrpc", "reference": None})
        ['--model.sparsity=0.9', '--data.task=mrpc', '--reference=null']
    """
    options = []
    for key, value in overrides.items():
        if is_dataclass(value) and not isinstance(value, type):
            options.append(f"--{key}={json.dumps(asdict(value))}")
        elif isinstance(value, Mapping):
            options += as_options({f"{key}.{name}": part for name, part in value.items()})
        else:
            try:
                options.append(f"--{key}={value if isinstance(value, str | Path) else json.dumps(value)}")
            except TypeError as error:
                raise ValueError(
                    f"{key} takes values, not objects; give {{'class_path': ..., 'init_args': {{...}}}}, "
                    f"but got {value!r}."
                ) from error
    return options


def supported_precision(precision: Any, accelerator: str = "auto") -> Any:
    """Mixed bfloat16 where the hardware computes in it, else float32, with a warning."""
    if precision != "bf16-mixed":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("auto", "cpu"):
        supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    else:
        supported = True  # Lightning knows about other accelerators and says so.
    if not supported:
        rank_zero_warn("This hardware does not compute in bfloat16; trainer.precision=32-true replaces bf16-mixed.")
        return "32-true"
    return precision


class ProgressBar(RichProgressBar):
    """Lightning's rich progress bar, without the logger's version number."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Loss and scores, to three digits."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


def run_recipe(recipe: Any) -> None:
    """Run a recipe and print what it found; parts of it that failed make an exit status of 1."""
    result = recipe.run()
    show(result)
    if getattr(result, "failures", ()):
        raise SystemExit(1)


@contextmanager
def user_errors() -> Iterator[None]:
    """Say what is wrong in one or two lines and exit with status 1; ``TOOLKIT_TRACEBACK=1`` shows the traceback too."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_ours)
    transformers.utils.logging.disable_progress_bar()
    for message in NOISE:
        warnings.filterwarnings("ignore", message)
    try:
        yield
    except KeyboardInterrupt:
        if is_first_process():
            print("interrupted; the same command with resume=true continues", file=sys.stderr)
        raise SystemExit(130) from None
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


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop Lightning's lines about devices and its advertisements, which come with every trainer."""
    return not re.match(r"(GPU|TPU|HPU|💡|.Trainer|Using |Loading .train_dataloader)", record.getMessage())
