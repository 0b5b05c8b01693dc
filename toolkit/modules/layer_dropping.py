"""Layer dropping: keep the blocks that statistics of the layers say matter, and train those.

Class variability chooses them before any training (Xie et al. 2022, https://arxiv.org/abs/2210.10041); block influence,
similarity and probes are the alternatives, and fixed choices the baselines.
"""

import itertools
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from transformers import PreTrainedModel

from toolkit.evaluation import costs
from toolkit.models.encoder import transformer_blocks
from toolkit.models.layers import first_block_stays, keep_layers
from toolkit.modules.distillation import Distillation
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.training import Training
from toolkit.options.idle import refuse_idle
from toolkit.probing.layers import select_layer
from toolkit.pruning import layers
from toolkit.pruning.layers import LayerPlan
from toolkit.statistics.profile import LayerProfile, Profiling
from toolkit.tasks import Task

Score = Literal["variability", "influence", "similarity", "probe"]
Strategy = Literal[
    "drop", "window", "window_top", "run",
    "all", "top", "bottom", "random", "alternate", "symmetric", "train_top", "train_bottom", "train_random",
]  # fmt: skip
SCORED = ("drop", "window", "window_top", "run")  # The strategies that look at the data.


class LayerDropping(FineTuning):
    """Drop blocks of a pretrained network, then train what is left.

    Which blocks stay is decided by `choose` from a profile of the layers, or by a fixed strategy alone; `adopt` removes
    the others. A checkpoint remembers what was decided, and rebuilds the same architecture.

    Args:
        task: What the network predicts, its labels resolved (``TaskData.task``).
        network: A name on the hub, a folder, or ``minilm`` for the one in the ``demo`` extra.
        score: What decides: class variability ν of the layers, influence of the blocks, similarity (CKA) between
            layers, or a linear probe on the layers.
        strategy: ``drop`` keeps the blocks that the score says matter; ``window`` trains only the last ``keep`` blocks
            up to the best layer, reads that layer and drops what is above; ``window_top`` does the same and drops
            nothing; ``run`` drops the successive blocks that together change the direction of the states least.
            The baselines ask no score: ``top``, ``bottom``, ``random``, ``alternate`` and ``symmetric`` keep such
            blocks, ``train_top``, ``train_bottom`` and ``train_random`` keep all and train such blocks, ``all`` keeps
            and trains everything.
        keep: Blocks that stay; of the strategies that freeze blocks: that are trained. Null, where variability or a
            probe decides, drops what is above the best layer.
        tolerance: Take the first layer whose variability is within this share of the lowest, or whose cumulative
            probe loses less than this share of the score on all layers.
        statistics: How the layers are looked at.
        training: How the weights are trained.
        distillation: What is learned from a teacher beside the labels.

    Raises:
        ValueError: If the options contradict each other or the network's number of blocks.
    """

    def __init__(
        self,
        task: Task,
        network: str = "minilm",
        score: Score = "variability",
        strategy: Strategy = "drop",
        keep: int | None = None,
        tolerance: float = 0.0,
        statistics: Profiling = Profiling(),
        training: Training = Training(),
        distillation: Distillation = Distillation(),
    ) -> None:
        super().__init__(task, network, training, distillation)
        self.num_blocks: int = self.network.config.num_hidden_layers
        best = score in ("variability", "probe")
        if keep is not None and not 1 <= keep <= self.num_blocks:
            raise ValueError(f"model.keep is {keep}, but {network} has {self.num_blocks} blocks; keep 1 to that many.")
        if keep is None and strategy != "all" and not (strategy == "drop" and best):
            raise ValueError(
                f"model.strategy={strategy} with model.score={score} needs model.keep, a number of blocks."
            )
        if strategy in ("window", "window_top") and not best:
            raise ValueError(
                f"model.strategy={strategy} needs a best layer, which model.score={score} does not give; choose "
                "variability or probe."
            )
        if strategy == "run" and score != "influence":
            raise ValueError(
                f"model.strategy=run reads the angles between layers: set model.score=influence, not {score}."
            )
        if tolerance < 0:
            raise ValueError(f"model.tolerance must not be negative, but got {tolerance}; 0.05 means within 5 %.")
        if score == "probe" and tolerance >= 1:
            raise ValueError(
                f"model.tolerance is {tolerance}, but a probe can lose less than all of its score; 0.05 means 5 %."
            )
        if strategy not in SCORED:
            unasked = {"score": score, "tolerance": tolerance, "statistics": statistics}
            refuse_idle(LayerDropping, unasked, f"model.strategy={strategy}")
        elif not best or (strategy == "drop" and keep is not None):
            of = f"model.score={score}" if not best else f"model.keep={keep}"
            refuse_idle(LayerDropping, {"tolerance": tolerance}, of)
        if strategy == "all":
            refuse_idle(LayerDropping, {"keep": keep}, "model.strategy=all")
        blocks = transformer_blocks(self.network)  # What is no stack of blocks is refused before any statistics.
        freezes = strategy in ("window", "window_top") or strategy.startswith("train_")
        if freezes and len(blocks) != self.num_blocks:
            raise ValueError(_shared(self.network))
        self.score = score
        self.strategy = strategy
        self.keep = keep
        self.tolerance = tolerance
        self.statistics = statistics
        self.plan: LayerPlan | None = None
        self.training_macs: dict[str, int] = {}
        self.selection_cost: dict[str, int | float] = {}  # of the statistics, where there were any

    @property
    def needs_profile(self) -> bool:
        """Whether the choice depends on the data."""
        return self.strategy in SCORED

    def choose(self, profile: LayerProfile | None) -> LayerPlan:
        """Decide which blocks to keep and to train.

        Args:
            profile: Statistics of this network's layers; none for the baselines.

        Raises:
            ValueError: If a profile is needed and not given, or is of a network of another depth.
        """
        plan = self._chosen(profile)
        if first_block_stays(self.network) and plan.kept[0] != 0:
            kept, trained = ((0, *blocks[1:]) for blocks in (plan.kept, plan.trained))
            rank_zero_warn(f"Block 0 of this architecture has to stay: it is kept in place of block {plan.kept[0]}.")
            plan = LayerPlan(num_blocks=plan.num_blocks, kept=kept, trained=trained)
        return plan

    def _chosen(self, profile: LayerProfile | None) -> LayerPlan:
        if not self.needs_profile:
            return self._baseline()
        if profile is None or profile.num_blocks != self.num_blocks:
            given = "none" if profile is None else f"one of {profile.num_blocks} blocks"
            raise ValueError(
                f"model.strategy={self.strategy} needs a profile of the network's {self.num_blocks} blocks, but was "
                f"given {given}; take it with toolkit.statistics.profile.profile_layers."
            )
        if self.strategy == "run":
            return layers.select_around_run(profile.angular, self.keep or 0)
        if self.strategy == "drop" and self.keep is not None:
            return self._drop(profile, self.keep)
        layer = self._best_layer(profile)
        if self.strategy == "drop":
            return layers.select_truncated(self.num_blocks, layer)
        head: layers.Head = "chosen" if self.strategy == "window" else "top"
        return layers.select_window(self.num_blocks, layer, self.keep or 0, head)

    def _baseline(self) -> LayerPlan:
        if self.strategy == "all":
            return layers.select_all(self.num_blocks)
        choices: dict[str, Callable[[int, int], LayerPlan]] = {
            "top": layers.select_top,
            "bottom": layers.select_bottom,
            "random": partial(layers.select_random, seed=self.seed),
            "alternate": layers.select_alternate,
            "symmetric": layers.select_symmetric,
        }
        plan = choices[self.strategy.removeprefix("train_")](self.num_blocks, self.keep or 0)
        if self.strategy.startswith("train_"):
            return LayerPlan(num_blocks=self.num_blocks, kept=tuple(range(self.num_blocks)), trained=plan.kept)
        return plan

    def _best_layer(self, profile: LayerProfile) -> int:
        if self.score == "variability":
            return layers.best_layer(profile.variability, self.tolerance)
        scores = _scores_of_probes(profile.cumulative_probe)
        return max(1, select_layer(scores, scores[-1], self.tolerance))

    def _drop(self, profile: LayerProfile, keep: int) -> LayerPlan:
        if self.score == "influence":
            return layers.select_highest(profile.influence, keep)
        if self.score == "similarity":
            return layers.select_redundant(profile.similarity, keep)
        if self.score == "variability":
            return layers.select_falling(profile.variability, keep)
        # What each block adds to what can be read from the layers so far.
        scores = _scores_of_probes(profile.cumulative_probe)
        gains = [above - below for below, above in itertools.pairwise(scores)]
        return layers.select_highest(gains, keep)

    def adopt(self, plan: LayerPlan) -> None:
        """Drop the blocks that the plan does not keep, and freeze those that it does not train.

        Args:
            plan: For the network as it was loaded.

        Raises:
            ValueError: If a plan was applied before, is for another number of blocks, or cannot be carried out on this
                network. Nothing has changed then.
        """
        if self.plan is not None or plan.num_blocks != self.num_blocks:
            raise ValueError(
                f"The plan is for {plan.num_blocks} blocks, the network had {self.num_blocks}"
                + (" and was truncated before." if self.plan is not None else ".")
            )
        if not plan.trains_embeddings and len(transformer_blocks(self.network)) != self.num_blocks:
            raise ValueError(_shared(self.network))
        full = costs.training_macs(self.network)
        if len(plan.kept) < plan.num_blocks:
            keep_layers(self.network, plan.kept)
        elif self.strategy in ("drop", "window", "run"):
            rank_zero_warn(f"No block is dropped: {self.score} wants all {plan.num_blocks}. Give a smaller model.keep.")
        if not plan.trains_embeddings:
            blocks = transformer_blocks(self.network)
            self.network.base_model.requires_grad_(False)
            trained = [block for number, block in zip(plan.kept, blocks, strict=True) if number in plan.trained]
            # What stands between the last block and the head learns with the head.
            children = self.network.base_model.named_children()
            above = [module for name, module in children if re.search("pool|norm|ln_f", name)]
            for module in trained + above:
                module.requires_grad_(True)
        self.plan = plan
        self.training_macs = {"full": full, "chosen": costs.training_macs(self.network)}
        dropped = sorted(set(range(plan.num_blocks)) - set(plan.kept))
        rank_zero_info(
            f"kept blocks {_numbers(plan.kept)} of {plan.num_blocks} (dropped: {_numbers(dropped)}), trained "
            f"{_numbers(plan.trained)}; a training step costs "
            f"{self.training_macs['chosen'] / self.training_macs['full']:.0%} of full fine-tuning's multiplications"
        )

    def teacher_layers(self, student: int, teacher: int) -> list[int]:
        """Each layer that stayed learns from the same layer of a teacher of the original depth."""
        if self.plan is None or teacher != self.plan.num_blocks + 1:
            return super().teacher_layers(student, teacher)
        return [0, *(block + 1 for block in self.plan.kept)]

    def setup(self, stage: str) -> None:
        """Apply a plan that needs no statistics."""
        super().setup(stage)
        if stage == "fit" and self.plan is None and not self.needs_profile:
            self.adopt(self.choose(None))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer of fine-tuning, over what is trained.

        Raises:
            ValueError: If the choice needs statistics and was neither made nor found in a checkpoint.
        """
        if self.plan is None:
            raise ValueError(
                f"model.strategy={self.strategy} chooses by the data: call choose(profile) and adopt(plan) before the "
                "training, as the recipe layer_dropping does."
            )
        return super().configure_optimizers()

    def results(self) -> dict[str, Any]:
        """Which blocks stayed and were trained, and what a training step costs beside full fine-tuning."""
        if self.plan is None:
            return {}
        return {
            "blocks": f"{_numbers(self.plan.kept)} of {self.plan.num_blocks}",
            "blocks_trained": _numbers(self.plan.trained),
            "training_step": f"{self.training_macs['chosen'] / self.training_macs['full']:.1%} of a full one's MACs",
            "step_macs": self.training_macs,
            **self.selection_cost,
            "layers": {"kept": self.plan.kept, "trained": self.plan.trained, "of": self.plan.num_blocks},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put what was decided into the checkpoint."""
        if self.plan is not None:
            checkpoint["layers"] = {
                "kept": list(self.plan.kept), "trained": list(self.plan.trained), "of": self.plan.num_blocks
            }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Rebuild the architecture before its weights are loaded.

        Raises:
            ValueError: If the checkpoint is of no layer dropping, or of a network of another depth, or if other blocks
                were kept already than those of the checkpoint.
        """
        stored = checkpoint.get("layers")
        if stored is None:
            raise ValueError("The checkpoint does not say which blocks were kept; give one of a layer dropping.")
        super().on_load_checkpoint(checkpoint)
        plan = LayerPlan(num_blocks=stored["of"], kept=tuple(stored["kept"]), trained=tuple(stored["trained"]))
        if self.plan is None:
            self.adopt(plan)
        elif self.plan != plan:
            raise ValueError(
                f"The checkpoint keeps the blocks {_numbers(plan.kept)}, but {_numbers(self.plan.kept)} were kept here."
            )


def _scores_of_probes(scores: tuple[float, ...] | None) -> tuple[float, ...]:
    if scores is None:
        raise ValueError("The profile has no probes; take it with probe=True.")
    return scores


def _shared(network: PreTrainedModel) -> str:
    return (
        f"{type(network).__name__} shares its weights between blocks, so that single blocks cannot be frozen; choose "
        "model.strategy=drop."
    )


def _numbers(blocks: Any) -> str:
    return " ".join(map(str, blocks)) or "none"
