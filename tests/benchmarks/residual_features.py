"""Synthetic hidden states of labelled words, for benchmarks that need any number of rows and neurons."""

import numpy as np

from toolkit.probing.layers import ArrayStates


def residual_features(num_rows: int, seed: int, *, layers: int = 7, size: int = 384, classes: int = 17) -> ArrayStates:
    """Layers that add to what is below them, as residual streams do; the classes are seen best in the middle.

    Args:
        num_rows: R.
        seed: Of the rows; the network is the same for all.
        layers: L.
        size: D.
        classes: C.
    """
    shape, draw = np.random.default_rng(0), np.random.default_rng(1 + seed)  # of the network, and of the rows
    labels = draw.integers(classes, size=num_rows)
    causes = shape.normal(size=(classes, 24))[labels] + 1.5 * draw.normal(size=(num_rows, 24))
    stream = np.zeros((num_rows, size))
    states = np.empty((num_rows, layers, size), dtype=np.float32)
    for layer in range(layers):
        clear = 1 - abs(layer - layers // 2) / layers
        mixing = shape.normal(size=(24, size)) * (shape.random(size=(24, size)) < 0.1)
        stream = 0.9 * stream + clear * causes @ mixing + 0.8 * draw.normal(size=stream.shape)
        states[:, layer] = stream + 0.3 * draw.normal(size=stream.shape)
    return ArrayStates(states, labels)
