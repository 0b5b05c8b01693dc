"""One run of a recipe: its folder, its training stages, what is saved and what is measured.

The folder of a run::

    config.yaml          every option as it was resolved, the recipe's name among them
    reference/           the uncompressed network, fine-tuned at the same budget
    model/               the compressed network (a recipe may save more, under other names)
    */row.json           a network's row of the report, written when its stage is complete
    checkpoints/ logs/   of the stages; checkpoints are deleted once a stage is complete
    report.json report.md
    layers.json layers.png similarity.png   where the layers of a network were looked at
    analysis.json analysis.html *.png       where its neurons were looked at
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from rich.console import Console
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.data.tokenization import fingerprint as fingerprint_of
from toolkit.evaluation import costs
from toolkit.evaluation.judging import evaluate
from toolkit.evaluation.report import Report, Row
from toolkit.models import storage
from toolkit.models.encoder import (
    load_network,
    load_tokenizer,
    max_positions,
    prunable_weights,
    transformer_blocks,
)
from toolkit.modules.fine_tuning import FineTuning
from toolkit.probing.analysis import RedundancyAnalysis
from toolkit.probing.options import RedundancyOptions
from toolkit.probing.page import write_page
from toolkit.probing.redundancy import analyse_network
from toolkit.pruning.masks import sparsity
from toolkit.statistics.profile import LayerProfile, Profiling, profile_layers

TrainerFactory = Callable[..., Trainer]
LENGTH = 128  # Tokens of the sentence that MACs and latency are stated for, or as many as the network takes.
SAVE_EVERY = timedelta(minutes=5)  # Of a long epoch; what is lost to an interruption is at most this.
VOLATILE = ("output", "resume")  # Options that say nothing of what a run computes.


class Experiment:
    """The folder of one run, and the stages that fill it.

    A stage is complete when its folder holds ``row.json``; a resumed run goes on with the first stage that is not, at
    its last checkpoint.

    Args:
        output: The run's folder.
        data: The task.
        trainer: Makes a trainer; called once for each training stage, with the arguments that the stage adds.
        config: The resolved options as YAML, or an empty text where a recipe is built in code.
        resume: Whether the folder may hold this very run already.

    Raises:
        FileExistsError: If the folder holds another run, or this one without ``resume``.
    """

    def __init__(
        self, output: Path, data: TaskData, trainer: TrainerFactory, config: str = "", *, resume: bool = False
    ) -> None:
        self.output = output
        self.data = data
        self.trainer = trainer
        self.config = config
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        if is_first_process():
            check_folder(output, config, resume=resume)
        data.prepare_data()  # What is wrong with the files is said before anything is trained or written.
        data.setup("fit")
        self._folders: dict[str, Path] = {}  # Of the networks, by the names of their rows.
        self._is_new = not (output / "config.yaml").is_file()
        if is_first_process():
            output.mkdir(parents=True, exist_ok=True)
            write_text(output / "config.yaml", config)

    def train(self, module: FineTuning, name: str, folder: str = "model") -> Row:
        """Train, save and measure a network, unless an earlier attempt did.

        Args:
            module: What is trained.
            name: Of its row in the report.
            folder: Below the run's folder, where the network is saved.
        """
        target = self._folders[name] = self.output / folder
        if (target / "row.json").is_file():
            rank_zero_info(f"{name}: complete already, in {target}")
            return read_row(target)
        started = time.perf_counter()
        try:
            self._check_length(module.network)
            trainer = self._fit(module, name, folder)
        except Exception:
            self._discard_if_empty()
            raise
        if trainer.is_global_zero:
            extras = {
                "optimizer_steps": trainer.global_step,
                "training_seconds": round(time.perf_counter() - started, 1),
                **module.results(),
            }
            torch.nn.Module.to(module.network, trainer.strategy.root_device)  # Lightning leaves it on the CPU.
            self._save(module.network, name, target, extras)
            checkpoints = self.output / "checkpoints"
            shutil.rmtree(checkpoints / folder, ignore_errors=True)
            if checkpoints.is_dir() and not any(checkpoints.iterdir()):
                checkpoints.rmdir()
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
        if (target / "row.json").is_file():
            rank_zero_info(f"{name}: complete already, in {target}")
            return read_row(target)
        try:
            network, extras = make()
        except Exception:
            self._discard_if_empty()
            raise
        torch.nn.Module.to(network, self._device())
        if (
            not is_first_process()
        ):  # Nothing may wait for it: where all stages were complete, no process group is there.
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
        try:
            if fingerprint_of(load_tokenizer(str(folder))) != fingerprint_of(load_tokenizer(self.data.network)):
                raise ValueError(
                    f"{folder} has another tokenizer than {self.data.network}: it would be judged on other words."
                )
            network = load_network(str(folder), self.data.task, trained=True)
        except Exception:
            self._discard_if_empty()
            raise
        self._folders[name] = folder
        torch.nn.Module.to(network, self._device())
        return replace(self._row(network, name, {}), bytes=costs.bytes_on_disk(folder))

    def profile(self, network: PreTrainedModel, name: str, options: Profiling, *, probe: bool = False) -> LayerProfile:
        """Look at the layers of a network, unless an earlier attempt did; write ``layers.json`` and the figures.

        Args:
            network: With any head.
            name: Of the network.
            options: How its layers are looked at.
            probe: Whether to train linear probes, too.
        """
        file = self.output / "layers.json"
        if not file.is_file():
            try:
                self._check_length(network)
                rank_zero_info(f"{name}: looking at its layers")
                profile = profile_layers(
                    network, self.data, name=name, folder=self.output, options=options, probe=probe,
                    trainer=self.trainer,
                )  # fmt: skip
            except Exception:
                self._discard_if_empty()
                raise
            if is_first_process():
                profile.write(file)
        else:  # Written and read again it is the same; other processes may come here before it is written.
            profile = LayerProfile.read(file)
        if is_first_process():
            for left in (*self.output.glob("statistics.ckpt*"), *self.output.glob("features-*")):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        if is_first_process() and not (self.output / "similarity.png").is_file():
            if find_spec("matplotlib") is None:
                rank_zero_warn(
                    "layers.png and similarity.png are not drawn: matplotlib is not installed. Install the extra "
                    "[plots]; the same command with resume=true then draws them."
                )
            else:
                from toolkit.statistics.figures import draw  # An extra, and a second of imports.

                draw(profile, self.output)
        return profile

    def analyse_redundancy(self, network: PreTrainedModel, name: str, options: RedundancyOptions) -> RedundancyAnalysis:
        """Look at the neurons of a network, unless an earlier attempt did; write ``analysis.json``, figures, a page.

        Args:
            network: With any head.
            name: Of the network.
            options: How its neurons are looked at.
        """
        file = self.output / "analysis.json"
        if file.is_file():
            analysis = RedundancyAnalysis.read(file)
        else:
            try:
                self._check_length(network)
                rank_zero_info(f"{name}: looking at its neurons")
                analysis = analyse_network(
                    network, self.data, name=name, folder=self.output, options=options, seed=self.seed,
                    trainer=self.trainer,
                )  # fmt: skip
            except Exception:
                self._discard_if_empty()
                raise
        if is_first_process():
            analysis.write(file)
            for split in ("train", "dev"):
                shutil.rmtree(self.output / f"features-{split}", ignore_errors=True)
            if find_spec("matplotlib") is None:
                rank_zero_warn(
                    "figures are not drawn, and analysis.html holds tables only: matplotlib is not installed. Install "
                    "the extra [plots]; the same command with resume=true then draws them."
                )
            else:
                from toolkit.probing.figures import draw_analysis  # An extra, and a second of imports.

                draw_analysis(analysis, self.output)
            write_page(analysis, self.output)
        return analysis

    def report(self, *rows: Row) -> Report:
        """Measure the run's networks beside each other, and write the report.

        Args:
            rows: Of the networks that were trained or measured; the first is the uncompressed one.
        """
        report = Report(rows)
        if is_first_process():
            if (self.output / "report.json").is_file():
                written = Report.read(self.output)
                if [replace(row, latency_ms=None) for row in written.rows] == list(rows):
                    return written
            networks = [storage.load(self._folders[row.name]) for row in rows]
            for network in networks:
                torch.nn.Module.to(network, self._device())
            length = min([LENGTH, *(max_positions(network.config) or LENGTH for network in networks)])
            times = costs.latencies(networks, length=length)
            report = Report(tuple(replace(row, latency_ms=time) for row, time in zip(rows, times, strict=True)))
            report.write(self.output)
        return report

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
        kept = any(any(self.output.rglob(name)) for name in ("*.ckpt", "row.json", "layers.json"))
        if self._is_new and not kept and is_first_process():
            shutil.rmtree(self.output)

    def _fit(self, module: FineTuning, name: str, folder: str) -> Trainer:
        checkpoints = self.output / "checkpoints" / folder
        # Within the accumulation of a step's gradients nothing can be saved: they are in no checkpoint.
        moments: list[dict[str, Any]] = [{"save_on_train_epoch_end": True}]
        if self.trainer(logger=False, callbacks=[]).accumulate_grad_batches == 1:
            moments.append({"train_time_interval": SAVE_EVERY})
        trainer = self.trainer(
            default_root_dir=self.output,
            enable_model_summary=False,
            logger=CSVLogger(self.output / "logs", name=folder),
            callbacks=[
                ModelCheckpoint(checkpoints, filename="last", enable_version_counter=False, **when) for when in moments
            ],
        )
        last = checkpoints / "last.ckpt"
        rank_zero_info(f"{name}: {'going on from ' + str(last) if last.is_file() else 'training'}")
        try:
            trainer.fit(module, datamodule=self.data, ckpt_path=last if last.is_file() else None)
        except SystemExit as ended:
            if trainer.interrupted:  # Lightning turns Ctrl-C into an exit; the door says how to continue.
                raise KeyboardInterrupt from ended
            raise
        return trainer

    def _save(self, network: PreTrainedModel, name: str, target: Path, extras: Mapping[str, Any]) -> None:
        row = self._row(network, name, extras)
        torch.nn.Module.to(network, "cpu")  # Where it is compared, bit by bit, with what was saved.
        example = next(iter(self.data.loader("dev")))
        storage.save(
            network,
            self.data.tokenizer,
            target,
            config_yaml=self.config or None,
            card=model_card(row, network),
            example={key: value[:4] for key, value in example.items()},
            overwrite=True,  # An attempt may have ended between the saving and the row.
        )
        row = replace(row, bytes=costs.bytes_on_disk(target))
        write_text(target / "row.json", json.dumps(Report((row,)).to_json(), indent=2))

    def _row(self, network: PreTrainedModel, name: str, extras: Mapping[str, Any]) -> Row:
        # A network of selected neurons may have no block left.
        weights = prunable_weights(network) if len(transformer_blocks(network)) else {}
        length = min(LENGTH, max_positions(network.config) or LENGTH)
        return Row(
            name=name,
            task=self.data.task.name,
            seed=self.seed,
            scores=evaluate(network, self.data),
            parameters=costs.num_parameters(network),
            nonzero_parameters=costs.num_nonzero(network),
            sparsity=sparsity(weights) if weights else 0.0,
            total_sparsity=sparsity(dict(network.named_parameters())),
            macs=costs.macs(network, length=length),
            extras=dict(extras),
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


def check_folder(output: Path, config: str, *, resume: bool) -> None:
    """Refuse a folder that belongs to something else.

    Raises:
        FileExistsError: If the folder holds another run, this one without ``resume``, or no run at all.
    """
    stored = output / "config.yaml"
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not stored.is_file():
        raise FileExistsError(f"{output} is not empty and no run's folder; choose another with output=FOLDER.")
    changed = changed_options(stored.read_text(encoding="utf-8"), config)
    if changed:
        raise FileExistsError(
            f"{output} holds another run ({'; '.join(changed[:3])}); choose another folder with output=FOLDER."
        )
    if not resume:
        raise FileExistsError(f"{output} holds this very run; continue it with resume=true, or choose another output.")


def changed_options(stored: str, config: str) -> list[str]:
    """Options that differ between two configurations, as ``key: old there, new here``.

    Example:
        >>> changed_options("model: {sparsity: 0.8}", "model: {sparsity: 0.9}")
        ['model.sparsity: 0.8 there, 0.9 here']
    """
    there, here = (flatten(yaml.safe_load(text) or {}) for text in (stored, config))
    return [
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if key not in VOLATILE and there.get(key) != here.get(key)
    ]


def fingerprint(config: str) -> str:
    """Eight letters that stand for everything a run computes.

    Example:
        >>> fingerprint("resume: true") == fingerprint("{resume: false, output: here}") != fingerprint("model: {}")
        True
    """
    options = {key: value for key, value in flatten(yaml.safe_load(config) or {}).items() if key not in VOLATILE}
    return hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()[:8]


def flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by their dotted keys.

    Example:
        >>> flatten({"model": {"sparsity": 0.8}, "resume": True})
        {'model.sparsity': 0.8, 'resume': True}
    """
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def read_row(folder: Path) -> Row:
    """Row of the network that is saved in a folder."""
    return Report.read(folder / "row.json").rows[0]


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and rename it, so that it is there as a whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def model_card(row: Row, network: PreTrainedModel) -> str:
    """What a saved network is, in Markdown."""
    scores = "\n".join(f"| {metric} | {value:.4f} |" for metric, value in row.scores.items())
    head = type(network).__name__
    auto = "AutoModelForTokenClassification" if "Token" in head else "AutoModelForSequenceClassification"
    return f"""# {row.name} on {row.task}

Made with the Lightning compression toolkit; `recipe.yaml` holds every option of the run (seed {row.seed}).

| score on the judged set | |
| --- | --- |
{scores}
| sparsity of the prunable weights | {row.sparsity:.4f} |
| parameters | {row.parameters:,} |
| of them not zero | {row.nonzero_parameters:,} |

```python
from transformers import {auto}, AutoTokenizer

network = {auto}.from_pretrained("this folder")
tokenizer = AutoTokenizer.from_pretrained("this folder")
```
"""
