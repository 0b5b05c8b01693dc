"""Does a pattern that was learned in pre-training serve a task as well as one of its own (Guo et al. 2019)?"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from toolkit.data.tokenization import fingerprint
from toolkit.evaluation.report import Report
from toolkit.experiment import Experiment
from toolkit.models.encoder import load_masked_lm, load_tokenizer, prunable_weights
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.held_zeros import HeldZeros
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.pruning import masks
from toolkit.pruning.patterns import Blocks, Grouped, Pattern, prune_pattern
from toolkit.recipe import CompressionRecipe

COMMAND = "python -m toolkit.run recipe=proximal_pretraining data.files=[TEXT] model.sparsity={} output=FOLDER"


@dataclass(kw_only=True)
class ProximalTransferRecipe(CompressionRecipe):
    """Compare a universal pattern of zeros with one of the task's own and with magnitude, at one sparsity and budget.

    Args:
        model: What is trained and pruned for the task alone; the other rows take the same options.
        reference: Folder of an uncompressed network that was fine-tuned on the task before; null trains one at the
            same budget.
        universal: Folder of a network that was pruned while pre-training, ``model`` in the folder of a
            ``proximal_pretraining`` run.
    """

    model: ProximalPruning
    universal: Path | None = None

    def experiment(self) -> Experiment:
        """Open the folder of the run.

        Raises:
            FileExistsError: If it holds something else.
            FileNotFoundError: If ``universal`` or ``reference`` is no folder of a network.
            ValueError: If the sparsity of the universal network is not the wanted one, none is wanted, or it has
                another tokenizer.
        """
        if self.model.sparsity is None:
            raise ValueError("Patterns are compared at one sparsity; set model.sparsity, and model.penalty=null.")
        command = COMMAND.format(self.model.sparsity)
        if self.universal is None:
            raise ValueError(
                f"No pre-trained pattern is given. Make one by `{command}`, and set universal=FOLDER/model."
            )
        if not (self.universal / "config.json").is_file():
            raise FileNotFoundError(
                f"universal={self.universal} is no folder of a network (no config.json). Make one by `{command}`."
            )
        if fingerprint(load_tokenizer(str(self.universal))) != fingerprint(load_tokenizer(self.data.network)):
            raise ValueError(
                f"universal={self.universal} has another tokenizer than model.network={self.data.network}, so it would "
                "read other words; set model.network to the network that it was made from."
            )
        found = masks.sparsity(prunable_weights(load_masked_lm(str(self.universal)), self.model.targets))
        if abs(found - self.model.sparsity) > 1e-3:
            raise ValueError(
                f"The universal network {self.universal} has {found:.4f} of the targets at zero, but model.sparsity is "
                f"{self.model.sparsity}; set model.sparsity={found:.4f}, or prune it anew."
            )
        return super().experiment()

    def run(self) -> Report:
        """Train five networks at the same budget: uncompressed, and with zeros of four origins."""
        experiment = self.experiment()
        return experiment.report(
            self.train_reference(experiment),
            experiment.train(self.universal_pattern(), "universal_proximal", "universal_proximal"),
            experiment.train(self.universal_magnitude(), "universal_magnitude", "universal_magnitude"),
            experiment.train(self.model, "proximal_pruning", "proximal_pruning"),
            experiment.train(self.gradual_magnitude(), "magnitude_pruning", "magnitude_pruning"),
        )

    def universal_pattern(self) -> FineTuning:
        """The network that was pruned while pre-training, its zeros held: the paper's protocol."""
        held = replace(self.model.training_options, hold_zeros=True)
        return FineTuning(self.data.task, str(self.universal), held, self.model.distillation)

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

    def gradual_magnitude(self) -> MagnitudePruning:
        """Gradual magnitude pruning for the task alone, in the same window of steps."""
        return MagnitudePruning(
            self.data.task,
            network=self.model.network_name,
            targets=self.model.targets,
            sparsity=self.model.sparsity,
            pattern=pattern_text(self.model.pattern),
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
