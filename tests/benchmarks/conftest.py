"""What all benchmarks share: one thread, and NeuroX 1.0.9 where it is installed beside."""

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

NEUROX = {  # Module of each name that benchmarks use.
    "linear_probe": "neurox.interpretation.linear_probe",
    "clustering": "neurox.interpretation.clustering",
    "probeless": "neurox.interpretation.probeless",
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Of processors with few cores, threads that wait for each other would be measured."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def neurox_path() -> Iterator[str]:
    """The folder that NEUROX_PATH names, where modules are found while the benchmarks run.

    ``pip install --target FOLDER --no-deps NeuroX==1.0.9 imbalanced-learn sklearn-compat h5py svgwrite`` makes it.
    """
    folder = os.environ.get("NEUROX_PATH")
    if not folder:
        pytest.skip("NEUROX_PATH names no folder with NeuroX 1.0.9; see the command in tests/benchmarks/conftest.py")
    sys.path.append(folder)  # Behind everything else: it must not replace what is installed.
    yield folder
    sys.path.remove(folder)


@pytest.fixture(scope="session")
def neurox(neurox_path: str) -> dict[str, Any]:
    """NeuroX's modules."""
    return {name: importlib.import_module(path) for name, path in NEUROX.items()}
