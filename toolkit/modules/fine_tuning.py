"""Fine-tuning of a pretrained network on a task, the reference of every compression method."""

import os
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from toolkit.data.batching import BatchLoader
from toolkit.data.task_data import TaskData
from toolkit.data.tokenization import same_tokenizer
from toolkit.metrics import task_metrics
from toolkit.models.encoder import prunable_weights
from toolkit.models.inputs import network_inputs
from toolkit.models.loading import load_network
from toolkit.modules.distillation import Distillation, hidden_states_loss, logits_loss, matching_layers
from toolkit.modules.divergence import origin
from toolkit.modules.held_zeros import HeldZeros
from toolkit.modules.labels import label_loss, rows_with_labels
from toolkit.modules.training import Training, decay_groups
from toolkit.pruning import masks
from toolkit.tasks import Task


class FineTuning(LightningModule):
    """Train all weights of a pretrained network on a labelled task.

    The randomness of a training step is a function of seed, epoch, batch and process alone, and the data's order one
    of seed and epoch: a run that is resumed, at any step, ends with the same weights, bit for bit, as one that was
    never interrupted.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        training: How the weights are trained.
        distillation: What is learned from a teacher beside the labels.
    """

    def __init__(
        self,
        task: Task,
        network: str = "minilm",
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        super().__init__()
        self.task = task
        self.training_options = training
        self.distillation = distillation
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # A fresh head depends on the seed, not on what was built before it.
            self.network: PreTrainedModel = self.load_student(network)
        self.network_name = network
        self.held = HeldZeros({})
        if training.hold_zeros:
            weights = prunable_weights(self.network)
            self.held = HeldZeros(weights, masks.zeros(weights))
            if not masks.sparsity(weights):
                rank_zero_warn(f"training.hold_zeros holds nothing: the blocks of {network} have no zeros.")
        self.num_steps = 0  # Optimizer steps of the whole run, known once it starts.
        self.metrics = self.make_metrics()
        self._loader_states: list[dict[str, Any]] = []
        self._teacher: list[PreTrainedModel] = []  # In a list, it is neither trained nor put into checkpoints.
        if distillation.teacher not in (None, "reference"):
            self._take_teacher(distillation.teacher)  # What is wrong with it is said now, not after other stages.

    def load_student(self, name: str) -> PreTrainedModel:
        """The network that is trained, with a head for the task.

        Args:
            name: On the hub, of a folder, or ``minilm``.
        """
        return load_network(name, self.task, dropout=self.training_options.dropout)

    def load_teacher(self, name: str) -> PreTrainedModel:
        """A network that was trained for the task.

        Args:
            name: On the hub, or of a folder.
        """
        return load_network(name, self.task, trained=True)

    def make_metrics(self) -> dict[str, MetricCollection]:
        """The task's metrics, for each set that is scored."""
        return {split: task_metrics(self.task, sync_on_compute=False) for split in ("dev", *self.task.judged)}

    def results(self) -> dict[str, Any]:
        """What the training itself has to report, for the row of the report."""
        return {}

    def setup(self, stage: str) -> None:
        """Load the teacher before training.

        Args:
            stage: ``fit``, or another one, which needs no teacher.

        Raises:
            ValueError: If the teacher is the reference of a run, and there is no run; or if it reads other words.
        """
        teacher = self.distillation.teacher
        if stage == "fit" and teacher is not None and not self._teacher:
            if teacher == "reference":
                raise ValueError(
                    "model.distillation.teacher=reference is the uncompressed network of a recipe's run; "
                    "outside a recipe give the folder or the name of a fine-tuned network."
                )
            self._take_teacher(teacher)

    def _take_teacher(self, name: str) -> None:
        if not same_tokenizer(name, self.network_name, self.task):
            raise ValueError(
                f"The teacher {name} has another tokenizer than {self.network_name}, so it would read other words; "
                "give a teacher of the same family."
            )
        self._teacher.append(self.load_teacher(name).eval().requires_grad_(False))

    def on_fit_start(self) -> None:
        """Put the teacher beside the student, and switch dropout on: transformers loads networks without.

        Raises:
            ValueError: If the precision is float16, or the weights are not in float32.
        """
        if self.trainer.precision == "16-mixed":
            # The fused AdamW skips such a step inside its kernel and calls the hooks after it all the same.
            raise ValueError("trainer.precision=16-mixed skips steps that overflow; use bf16-mixed or 32-true.")
        if any(weight.dtype != torch.float32 for weight in self.network.parameters()):
            raise ValueError(
                f"trainer.precision={self.trainer.precision} rounds the weights themselves, and small steps and "
                "thresholds vanish; use bf16-mixed or 32-true."
            )
        self.to_weights()
        self.network.train()

    def to_weights(self) -> None:
        """Put beside the weights what is no part of the module: the teacher, and the state of methods that prune."""
        self.held.to_weights()
        for teacher in self._teacher:
            torch.nn.Module.to(teacher, self.device)

    def teardown(self, stage: str) -> None:
        """Follow the weights, which Lightning has moved to the CPU: what stays on a GPU takes its memory."""
        self.to_weights()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note where in its epoch the run was interrupted, if it was within one."""
        loops = checkpoint["loops"]["fit_loop"]
        if not loops["epoch_loop.batch_progress"]["is_last_batch"]:
            self._loader_states = loops["state_dict"].get("combined_loader", [])

    def on_train_start(self) -> None:
        """Send the loader there.

        Lightning does so itself only where nothing asked for the loader before it restores its loops; but the number of
        steps, which the learning rate's schedule needs, comes from the loader.
        """
        for state in self._loader_states:
            cast(BatchLoader, self.trainer.train_dataloader).load_state_dict(state)
        self._loader_states = []

    def on_train_epoch_start(self) -> None:
        """Choose the epoch's order of batches by the epoch's own number.

        Lightning chooses it by how many epochs it has processed, and counts an empty one among them where a run that
        ``max_steps`` limits is resumed at the end of an epoch.
        """
        loader = self.trainer.train_dataloader
        if isinstance(loader, BatchLoader):
            loader.sampler.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Make the randomness of the step a function of seed, epoch, batch and process."""
        entropy = np.random.SeedSequence([self.seed, self.current_epoch, batch_idx, self.global_rank])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch.

        Raises:
            FloatingPointError: If the loss is not finite; it names step and layer.
        """
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"The loss is {loss.item()} at optimizer step {self.global_step} (epoch {self.current_epoch}, batch "
                f"{batch_idx}): {origin(self.network, network_inputs(batch))}. Lower model.training.learning_rate, set "
                "trainer.gradient_clip_val, or compute in trainer.precision=32-true."
            )
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drop the gradients of the weights that are held at zero."""
        self.held.drop_gradients()

    def on_train_epoch_end(self) -> None:
        """Make sure that they are still zero.

        Raises:
            RuntimeError: If the optimizer moved one.
        """
        self.held.check(self.trainer.optimizers[0])

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Loss of the labels and, with a teacher, of its logits and hidden states.

        Args:
            batch: Inputs of the network, and ``labels``.

        Returns:
            A scalar in float32. The mean of several processes' is the loss of their batches together.
        """
        inputs = network_inputs(batch)
        hidden = bool(self._teacher) and self.distillation.hidden_weight > 0
        output = self.network(**inputs, output_hidden_states=hidden)
        student, labels = rows_with_labels(output.logits, batch["labels"], self.task)
        of_rows, of_tokens = self.shares(labels, inputs["attention_mask"])
        loss = of_rows * label_loss(student, labels, self.task)
        for teacher in self._teacher:
            with torch.no_grad():
                guide = teacher(**inputs, output_hidden_states=hidden)
            target, _ = rows_with_labels(guide.logits, batch["labels"], self.task)
            kind = "values" if self.task.kind == "regression" else "classes"
            soft = logits_loss(student, target, self.distillation.temperature, kind)  # type: ignore[arg-type]
            loss = (1 - self.distillation.weight) * loss + self.distillation.weight * of_rows * soft
            if hidden:
                layers = self.teacher_layers(len(output.hidden_states), len(guide.hidden_states))
                learnt = tuple(guide.hidden_states[layer] for layer in layers)
                states = hidden_states_loss(output.hidden_states, learnt, inputs["attention_mask"])
                loss = loss + self.distillation.hidden_weight * of_tokens * states
        return loss

    def shares(self, labels: Tensor, mask: Tensor) -> tuple[float, float]:
        """How much this process's means weigh among those of all processes, each of which calls this once a batch.

        Processes have batches of as many sentences, but of different numbers of words, tokens or masked tokens, and
        DistributedDataParallel averages their gradients as if they were equal.

        Args:
            labels: ``(N,)``, of the rows that this process's loss is the mean of.
            mask: ``(B, T)``, 1 for a token.

        Returns:
            Rows, and tokens, of this process, each divided by those of a process on average: 1 of a single process.
        """
        trainer = self._trainer
        if trainer is None or trainer.world_size == 1:
            return 1.0, 1.0
        own = torch.stack([labels.new_tensor(len(labels), dtype=torch.float32), mask.sum().float()])
        mean = trainer.strategy.reduce(own.clone(), reduce_op="mean")
        rows, tokens = (own / mean.clamp(min=1)).tolist()
        return rows, tokens

    def teacher_layers(self, student: int, teacher: int) -> list[int]:
        """Teacher's layer that each of the student's learns from, where hidden states are distilled."""
        return matching_layers(student, teacher)

    def on_validation_epoch_start(self) -> None:
        """Begin to count anew.

        The sums of an earlier ``Trainer.validate``, although they are zero, are tensors of inference mode, to which the
        validations of a training cannot add.
        """
        self.metrics["dev"].reset()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Score a batch of the dev set."""
        self._score(batch, "dev")

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the dev set; every process has seen all of it."""
        self._log_scores("dev")

    def on_test_epoch_start(self) -> None:
        """Begin to count anew."""
        for split in self.task.judged:
            self.metrics[split].reset()

    def test_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score a batch of a judged set."""
        self._score(batch, self.task.judged[dataloader_idx])

    def on_test_epoch_end(self) -> None:
        """Log the scores of each judged set."""
        for split in self.task.judged:
            self._log_scores(split)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Logits of a batch and the rows of the data they belong to."""
        return {"index": batch["index"], "logits": self.network(**network_inputs(batch)).logits.float()}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over two groups of weights, with a schedule that counts optimizer steps.

        Raises:
            ValueError: If the run has no end.
        """
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ValueError("The schedule needs the number of steps; set trainer.max_epochs or trainer.max_steps.")
        self.num_steps = int(steps)
        optimizer = AdamW(
            decay_groups(self.network, self.training_options.weight_decay),
            lr=self.training_options.learning_rate,
            fused=True,  # Five times as fast as the default on CPUs.
        )
        scheduler = self.schedule(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def schedule(self, optimizer: AdamW) -> LambdaLR:
        """Linear warm-up and decay over all steps of the run."""
        warmup = round(self.training_options.warmup_fraction * self.num_steps)
        scheduler: LambdaLR = get_linear_schedule_with_warmup(optimizer, warmup, self.num_steps)
        return scheduler

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm of all gradients, also where Lightning refuses to.

        Lightning's mixed precision refuses every fused optimizer, because those unscale float16 gradients themselves;
        bfloat16 has no scale, so nothing is wrong there.
        """
        if gradient_clip_val and self.trainer.precision == "bf16-mixed" and gradient_clip_algorithm in (None, "norm"):
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _score(self, batch: Mapping[str, Tensor], split: str) -> None:
        logits, targets = self.network(**network_inputs(batch)).logits.float(), batch["labels"]
        if self.task.kind == "tagging":
            logits = logits.argmax(-1)
            data = getattr(self.trainer, "datamodule", None)
            if isinstance(data, TaskData):
                # Words behind max_length, in their sentences: -1 is no label, hence an error.
                lost = data.lost_labels(split, batch["index"]).to(targets.device)
                logits = torch.cat([logits, torch.full_like(lost, -1)], dim=1)
                targets = torch.cat([targets, lost], dim=1)
        elif self.task.kind == "regression":
            logits = logits.squeeze(-1)
        # Moved here, not registered as a submodule: a module's precision would cast the metric's sums.
        self.metrics[split].to(self.device).update(logits, targets)

    def _log_scores(self, split: str) -> None:
        scores = self.metrics[split].compute()
        self.log_dict({f"{split}_{name}": value.float() for name, value in scores.items()}, prog_bar=True)
        self.metrics[split].reset()
