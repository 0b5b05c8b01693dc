"""Does a pattern that was learned in pre-training serve a task as well as one of its own (Guo et al. 2019)?"""

import inspect
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from toolkit.data.tokenization import same_tokenizer
from toolkit.evaluation.report import Report
from toolkit.models.encoder import prunable_weights
from toolkit.models.loading import load_masked_lm
from toolkit.modules.fine_tuning import FineTuning
from toolkit.modules.held_zeros import HeldZeros
from toolkit.modules.magnitude_pruning import MagnitudePruning
from toolkit.modules.proximal_pruning import ProximalPruning
from toolkit.pruning import masks
from toolkit.pruning.patterns import Grouped, check_pattern, pattern_text, prune_pattern, share_beside_pattern
from toolkit.recipe import CompressionRecipe
from toolkit.runs.experiment import Experiment


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
                wanted, or it has other weights or another tokenizer.
        """
        if self.model.sparsity is None:
            raise ValueError("Patterns are compared at one sparsity; set model.sparsity, and model.penalty=null.")
        if self.universal is None:
            raise ValueError(
                f"No pre-trained pattern is given. Make one by `{self.command('proximal')}`, and set "
                "universal=FOLDER/model."
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
            ValueError: If its sparsity or its pattern is not the wanted one, or it has other weights or another
                tokenizer.
        """
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"{option}={folder} is no folder of a network (no config.json). Make one by `{self.command(method)}`."
            )
        if not same_tokenizer(str(folder), self.data.network, self.data.task):
            raise ValueError(
                f"{option}={folder} has another tokenizer than model.network={self.data.network}, so it would "
                "read other words; set model.network to the network that it was made from."
            )
        network = load_masked_lm(str(folder))
        if unlike := _unlike(network, self.model.network):
            raise ValueError(
                f"{option}={folder} is another network than model.network={self.model.network_name}: {unlike}. Set "
                f"model.network to the network that it was made from, or make another by `{self.command(method)}`."
            )
        weights = prunable_weights(network, self.model.targets)
        found = masks.sparsity(weights)
        if abs(found - sparsity) > 1e-3:
            raise ValueError(
                f"The network {option}={folder} has {found:.4f} of the targets at zero, but model.sparsity is "
                f"{sparsity}; set model.sparsity={found:.4f}, or prune it anew by `{self.command(method)}`."
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
                f"the folder, or prune it anew by `{self.command(method)}`."
            )

    def command(self, method: str) -> str:
        """What prunes, while pre-training, a network that this run can compare with its own.

        Args:
            method: By which it is pruned: ``proximal`` or ``magnitude``.
        """
        model = self.model
        asked = {"network": model.network_name, "targets": model.targets, "pattern": pattern_text(model.pattern)}
        usual = inspect.signature(type(model)).parameters
        options = [f"model.{name}={value}" for name, value in asked.items() if value != usual[name].default]
        # N:M makes its own sparsity.
        options.append(f"model.sparsity={'null' if isinstance(model.pattern, Grouped) else model.sparsity}")
        words = [f"recipe={method}_pretraining", "data.files=[TEXT]", *map(shlex.quote, options), "output=FOLDER"]
        return " ".join(["python -m toolkit.run", *words])

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


def _unlike(network: PreTrainedModel, wanted: PreTrainedModel) -> str:
    """The first prunable weight that one of two networks lacks, or has in another shape; empty if there is none."""
    shapes = [
        {name: tuple(weight.shape) for name, weight in prunable_weights(each).items()} for each in (network, wanted)
    ]
    for name in {**shapes[1], **shapes[0]}:
        there, here = (f"shaped {each[name]}" if name in each else "absent" for each in shapes)
        if there != here:
            return f"{name} is {there} there and {here} here"
    return ""


recipe = ProximalTransferRecipe
