"""The selection of Dalvi et al. 2020 with the functions of NeuroX 1.0.9: what a user of NeuroX would write.

The steps, thresholds and numbers of neurons are those of the paper's released code
(https://github.com/fdalvi/analyzing-redundancy-in-pretrained-transformer-models), which calls the same functions.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.probing.selection import PAPER_SHARES

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
PROBE = {"lambda_l1": 1e-5, "lambda_l2": 1e-5, "num_epochs": 10, "batch_size": 128}


def select_by_neurox(
    neurox: Mapping[str, Any],
    train: tuple[Features, Labels],
    dev: tuple[Features, Labels],
    *,
    num_layers: int,
    stride: int = 1000,
    layer_loss: float = 0.01,
    loss: float = 0.01,
    threshold: float = 0.3,
) -> tuple[list[int], float]:
    """Select neurons: oracle, lowest layers, one of each cluster, ordering, smallest number that is enough.

    Args:
        neurox: Its modules ``linear_probe`` and ``clustering``.
        train: ``(R, F)``, layer by layer, and ``(R,)``.
        dev: The same, which decides.
        num_layers: L.
        stride: Steps of the sweep that orders neurons.
        layer_loss: Part of the oracle's score that may be lost by leaving out upper layers.
        loss: Part of the clusters' score that the last step may lose.
        threshold: Distance below which neurons are one cluster.

    Returns:
        The neurons, and their dev score over that of the oracle.
    """
    probes = neurox["linear_probe"]
    classes = {str(number): number for number in range(int(train[1].max()) + 1)}

    def fit(neurons: Any) -> tuple[Any, float]:
        part = np.ascontiguousarray(train[0][:, neurons])
        probe = probes.train_logistic_regression_probe(part, train[1], **PROBE)
        scores = probes.evaluate_probe(probe, np.ascontiguousarray(dev[0][:, neurons]), dev[1])
        return probe, float(scores["__OVERALL__"])

    total = train[0].shape[1]
    candidates = np.arange(total)
    _, oracle = fit(candidates)
    for layers in range(1, num_layers):
        below = np.arange(layers * total // num_layers)
        if fit(below)[1] > (1 - layer_loss) * oracle:
            candidates = below
            break
    independent, _ = neurox["clustering"].extract_independent_neurons(
        np.ascontiguousarray(train[0][:, candidates]), True, threshold
    )
    candidates = candidates[independent]
    probe, reference = fit(candidates)
    order = candidates[probes.get_neuron_ordering(probe, classes, stride)[0]]
    score = reference
    for share in PAPER_SHARES:
        number = int(share * total)
        if not 0 < number <= len(order):
            continue
        score = fit(order[:number])[1]
        if score > (1 - loss) * reference:
            return order[:number].tolist(), score / oracle
    return order.tolist(), score / oracle
