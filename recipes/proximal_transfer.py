"""Does a pattern that was learned in pre-training serve a task as well as one of its own (Guo et al. 2019)?"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from toolkit.data.tokenization import same_tokenizer
from toolkit.evaluation.report import Report
from toolkit.models.encoder import prunable_weights
from toolkit.models.loading import load_masked_lm
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.held_zeros import HeldZeros
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.pruning import masks
from toolkit.pruning.patterns import Blocks, Grouped, Pattern, check_pattern, prune_pattern, share_beside_pattern
from toolkit.recipe import CompressionRecipe
from toolkit.runs.experiment import Experiment

COMMAND = "python -m toolkit.run recipe={}_pretraining data.files=[TEXT] model.sparsity={} output=FOLDER"


@dataclass(kw_only=True)
class ProximalTransferRecipe(CompressionRecipe):
    """Compare a universal pattern of zeros with one of the task's own and with magnitude, at one sparsity and budget.

    Args:
        model: What is trained and pruned for the task alone; the other rows take the same options.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
        universal: Folder of a network that was pruned while pre-training, ``model`` in the folder of a
            ``proximal_pretraining`` run.
        baseline: Folder of a network that was pruned in another way while pre-training, ``model`` in the folder of a
            ``magnitude_pretraining`` run; null leaves its row out.
    """

    model: ProximalPruning
    universal: Path | None = None
    baseline: Path | None = None

    def experiment(self) -> Experiment:
        """Open the folder of the run.

        Raises:
            FileExistsError: If it holds something else.
            FileNotFoundError: If ``universal``, ``baseline`` or ``reference`` is no folder of a network.
            ValueError: If the sparsity or the pattern of a universal network is not the wanted one, no sparsity is
                wanted, or it has another tokenizer.
        """
        if self.model.sparsity is None:
            raise ValueError("Patterns are compared at one sparsity; set model.sparsity, and model.penalty=null.")
        if self.universal is None:
            command = COMMAND.format("proximal", self.model.sparsity)
            raise ValueError(
                f"No pre-trained pattern is given. Make one by `{command}`, and set universal=FOLDER/model."
            )
        self.check_universal("universal", self.universal, "proximal", self.model.sparsity)
        if self.baseline is not None:
            self.check_universal("baseline", self.baseline, "magnitude", self.model.sparsity)
        return super().experiment()

    def check_universal(self, option: str, folder: Path, method: str, sparsity: float) -> None:
        """See that a network can be compared with those that are made here.

        Args:
            option: That names its folder.
            folder: Of a network that was pruned while pre-training.
            method: By which it was pruned.
            sparsity: That it must have.

        Raises:
            FileNotFoundError: If it is no folder of a network.
            ValueError: If its sparsity or its pattern is not the wanted one, or it has another tokenizer.
        """
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"{option}={folder} is no folder of a network (no config.json). Make one by "
                f"`{COMMAND.format(method, sparsity)}`."
            )
        if not same_tokenizer(str(folder), self.data.network, self.data.task):
            raise ValueError(
                f"{option}={folder} has another tokenizer than model.network={self.data.network}, so it would "
                "read other words; set model.network to the network that it was made from."
            )
        weights = prunable_weights(load_masked_lm(str(folder)), self.model.targets)
        found = masks.sparsity(weights)
        if abs(found - sparsity) > 1e-3:
            raise ValueError(
                f"The network {option}={folder} has {found:.4f} of the targets at zero, but model.sparsity is "
                f"{sparsity}; set model.sparsity={found:.4f}, or prune it anew."
            )
        pattern = self.model.pattern
        check_pattern(pattern, weights)
        beside = share_beside_pattern(weights, pattern)
        # A few weights are zero by chance; but N:M is of use only where every group obeys it.
        if beside > (0 if isinstance(pattern, Grouped) else 1e-3):
            text = pattern_text(pattern)
            raise ValueError(
                f"The zeros of {option}={folder} do not lie in the pattern model.pattern={text}: {beside:.4f} of the "
                "targets contradict it, and rows of different patterns would be compared. Set model.pattern to that of "
                f"the folder, or prune it anew with recipe={method}_pretraining model.pattern={text}."
            )

    def run(self) -> Report:
        """Train networks at the same budget: uncompressed, and with zeros of five or six origins."""
        experiment = self.experiment()
        rows = [
            self.train_reference(experiment),
            experiment.train(self.held_pattern(self.universal), "universal_proximal", "universal_proximal"),
        ]
        if self.baseline is not None:
            rows.append(experiment.train(self.held_pattern(self.baseline), "universal_baseline", "universal_baseline"))
        rows += [
            experiment.train(self.universal_magnitude(), "universal_magnitude", "universal_magnitude"),
            experiment.train(self.model, "proximal_pruning", "proximal_pruning"),
            experiment.train(self.gradual("curvature"), "curvature_pruning", "curvature_pruning"),
            experiment.train(self.gradual("magnitude"), "magnitude_pruning", "magnitude_pruning"),
        ]
        return experiment.report(*rows)

    def held_pattern(self, folder: Path | None) -> FineTuning:
        """A network that was pruned while pre-training, its zeros held: the paper's protocol.

        Args:
            folder: Of the network.
        """
        held = replace(self.model.training_options, hold_zeros=True)
        return FineTuning(self.data.task, str(folder), held, self.model.distillation)

    def universal_magnitude(self) -> FineTuning:
        """The pretrained network without its smallest weights, pruned once before the training, the zeros held."""
        module = FineTuning(
            self.data.task, self.model.network_name, self.model.training_options, self.model.distillation
        )
        weights = prunable_weights(module.network, self.model.targets)
        assert self.model.sparsity is not None  # `experiment` says so.
        sizes = {name: weight.detach().abs() for name, weight in weights.items()}
        pruned = prune_pattern(sizes, self.model.sparsity, self.model.pattern)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.masked_fill_(pruned[name], 0)
        module.held = HeldZeros(weights, pruned)
        return module

    def gradual(self, score: Literal["magnitude", "curvature"]) -> MagnitudePruning:
        """Gradual pruning for the task alone, in the same window of steps; curvature is RPP's own criterion.

        Args:
            score: By which weights are pruned.
        """
        return MagnitudePruning(
            self.data.task,
            network=self.model.network_name,
            targets=self.model.targets,
            sparsity=self.model.sparsity,
            pattern=pattern_text(self.model.pattern),
            score=score,
            prune_start=self.model.prune_start,
            prune_fraction=self.model.prune_fraction,
            training=self.model.training_options,
            distillation=self.model.distillation,
        )


def pattern_text(pattern: Pattern) -> str:
    """The option that a pattern was read from."""
    if isinstance(pattern, Grouped):
        return f"{pattern.kept}:{pattern.size}"
    return f"{pattern.rows}x{pattern.columns}" if isinstance(pattern, Blocks) else "unstructured"


recipe = ProximalTransferRecipe
