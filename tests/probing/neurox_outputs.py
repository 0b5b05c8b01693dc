"""What NeuroX 1.0.9 computes of a small example, recorded in ``neurox_outputs.json``.

    NEUROX_PATH=FOLDER python -m tests.probing.neurox_outputs

writes it again; the command in ``tests/benchmarks/conftest.py`` makes the folder.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

FILE = Path(__file__).with_suffix(".json")
CLASSES, NEURONS, STRIDE, THRESHOLD = 4, 24, 1000, 0.3


def example() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Activations ``(R, F)``, whose second half is the first with noise, labels ``(R,)`` and weights ``(C, F)``."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 300)
    causes = rng.normal(size=(300, NEURONS // 2)) + 2 * rng.normal(size=(CLASSES, NEURONS // 2))[labels]
    noise = rng.uniform(0, 2, NEURONS // 2) * rng.normal(size=causes.shape)
    features = np.concatenate([causes, noise - causes], 1)
    return features.astype(np.float32), labels, rng.normal(size=(CLASSES, NEURONS)).astype(np.float32)


def record() -> dict[str, Any]:
    """Orderings by a probe's weights and by class means, and clusters."""
    features, labels, weight = example()
    linear, clustering, probeless = (
        importlib.import_module(f"neurox.interpretation.{name}") for name in ("linear_probe", "clustering", "probeless")
    )
    probe = linear.LinearProbe(NEURONS, CLASSES)
    probe.linear.weight.data = torch.from_numpy(weight)
    names = {str(number): number for number in range(CLASSES)}
    order, cutoffs = linear.get_neuron_ordering(probe, names, STRIDE)
    return {
        "ordering": [int(neuron) for neuron in order],
        "cutoffs": sorted({int(cutoff) for cutoff in cutoffs}),
        "probeless": [int(neuron) for neuron in probeless.get_neuron_ordering(features, labels)],
        "clusters": [int(number) for number in clustering.create_correlation_clusters(features, True, THRESHOLD)],
    }


if __name__ == "__main__":
    sys.path.append(os.environ["NEUROX_PATH"])
    FILE.write_text(json.dumps(record()) + "\n", encoding="utf-8")
