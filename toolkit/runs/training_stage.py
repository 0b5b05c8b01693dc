"""A training stage of a run: one trainer, and checkpoints that are whole or are not used."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, Trainer
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_info

from toolkit.evaluation.metering import Meter
from toolkit.files.sealed import is_sealed, save_sealed
from toolkit.modules.fine_tuning import FineTuning

TrainerFactory = Callable[..., Trainer]
SAVE_EVERY = timedelta(minutes=5)  # Of a long epoch; what is lost to an interruption is at most this.


class SealedCheckpoints(TorchCheckpointIO):
    """Checkpoints that carry a checksum, and are written beside their place on the same disk.

    Lightning writes to the system's folder for temporary files and moves from there. Where that is another disk, the
    move is a copy, and an interruption leaves half a checkpoint in place of the one before it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint, as a whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_sealed(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint: tensors and plain values, no objects whose making runs code.

        Raises:
            ValueError: If it is not what was written, or holds something else.
        """
        if not is_sealed(Path(path)):
            raise ValueError(
                f"The checkpoint {path} is damaged: its checksum is not that of its content. Delete it, and the same "
                "command with resume=true trains this stage again from its beginning."
            )
        try:
            stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # Whatever a forged archive makes torch raise.
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"The checkpoint {path} holds no state of a training ({reason:.120}). Delete it, and the "
                "same command with resume=true trains this stage again from its beginning."
            ) from error
        return stored


def fit(
    module: FineTuning,
    data: LightningDataModule,
    make_trainer: TrainerFactory,
    output: Path,
    name: str,
    folder: str,
    meter: Meter,
) -> Trainer:
    """Train, from the last checkpoint of an earlier attempt if there is one.

    Args:
        module: What is trained.
        data: What on.
        make_trainer: Makes the trainer.
        output: Folder of the run.
        name: Of the stage, for the screen.
        folder: Below ``checkpoints`` and ``logs`` of the run, for those of the stage.
        meter: Counts what the training costs.

    Returns:
        The trainer, behind its training.

    Raises:
        ValueError: If the last checkpoint is damaged.
    """
    checkpoints = output / "checkpoints" / folder
    # Within the accumulation of a step's gradients nothing can be saved: they are in no checkpoint.
    moments: list[dict[str, Any]] = [{"save_on_train_epoch_end": True}]
    if make_trainer(logger=False, callbacks=[]).accumulate_grad_batches == 1:
        moments.append({"train_time_interval": SAVE_EVERY})
    trainer = make_trainer(
        default_root_dir=output,
        enable_model_summary=False,
        logger=CSVLogger(output / "logs", name=folder),
        callbacks=[
            meter,
            *(ModelCheckpoint(checkpoints, filename="last", enable_version_counter=False, **when) for when in moments),
        ],
    )
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # Not one that the user chose, or a strategy needs.
        trainer.strategy.checkpoint_io = SealedCheckpoints()
    last = checkpoints / "last.ckpt"
    rank_zero_info(f"{name}: {'going on from ' + str(last) if last.is_file() else 'training'}")
    trainer.fit(module, datamodule=data, ckpt_path=last if last.is_file() else None)
    return trainer


def discard_checkpoints(output: Path, folder: str) -> None:
    """Delete the checkpoints of a stage that is complete.

    Args:
        output: Folder of the run.
        folder: Of the stage, below ``checkpoints``.
    """
    checkpoints = output / "checkpoints"
    shutil.rmtree(checkpoints / folder, ignore_errors=True)
    if checkpoints.is_dir() and not any(checkpoints.iterdir()):
        checkpoints.rmdir()
