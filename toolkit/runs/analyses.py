"""Stages of a run that look at a network instead of training one: its layers, and its neurons."""

import shutil
from importlib.util import find_spec

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from transformers import PreTrainedModel

from toolkit.console import is_first_process
from toolkit.probing.analysis import RedundancyAnalysis
from toolkit.probing.options import RedundancyOptions
from toolkit.probing.page import write_page
from toolkit.probing.redundancy import analyse_network
from toolkit.runs.experiment import Experiment
from toolkit.statistics.profile import LayerProfile, Profiling, profile_layers


def profile(
    experiment: Experiment, network: PreTrainedModel, name: str, options: Profiling, *, probe: bool = False
) -> LayerProfile:
    """Look at the layers of a network, unless an earlier attempt did; write ``layers.json`` and the figures.

    Args:
        experiment: The run.
        network: With any head.
        name: Of the network.
        options: How its layers are looked at.
        probe: Whether to train linear probes, too.
    """
    output = experiment.output

    def compute() -> LayerProfile:
        rank_zero_info(f"{name}: looking at its layers")
        return profile_layers(
            network, experiment.data, name=name, folder=output, options=options, probe=probe,
            trainer=experiment.trainer,
        )  # fmt: skip

    found = experiment.analyse("layers.json", network, compute, LayerProfile)
    if is_first_process():
        for left in output.glob("statistics.ckpt*"):
            left.unlink()
        shutil.rmtree(output / "features", ignore_errors=True)
        if not (output / "similarity.png").is_file() and _can_draw("layers.png and similarity.png are not drawn"):
            from toolkit.statistics.figures import draw  # An extra, and a second of imports.

            draw(found, output)
    return found


def analyse_redundancy(
    experiment: Experiment, network: PreTrainedModel, name: str, options: RedundancyOptions
) -> RedundancyAnalysis:
    """Look at the neurons of a network, unless an earlier attempt did; write ``analysis.json``, figures, a page.

    Args:
        experiment: The run.
        network: With any head.
        name: Of the network.
        options: How its neurons are looked at.
    """
    output = experiment.output

    def compute() -> RedundancyAnalysis:
        rank_zero_info(f"{name}: looking at its neurons")
        return analyse_network(
            network, experiment.data, name=name, folder=output, options=options, seed=experiment.seed,
            trainer=experiment.trainer,
        )  # fmt: skip

    found = experiment.analyse("analysis.json", network, compute, RedundancyAnalysis)
    if is_first_process():
        shutil.rmtree(output / "features", ignore_errors=True)
        if _can_draw("figures are not drawn, and analysis.html holds tables only"):
            from toolkit.probing.figures import draw_analysis  # An extra, and a second of imports.

            draw_analysis(found, output)
        write_page(found, output)
    return found


def _can_draw(otherwise: str) -> bool:
    """Whether matplotlib is installed; a warning says what is missing without it."""
    if find_spec("matplotlib") is not None:
        return True
    rank_zero_warn(
        f"{otherwise}: matplotlib is not installed. Install the extra [plots]; the same command with resume=true then "
        "draws them."
    )
    return False
