"""Correlation and clusters against NumPy, SciPy and average linkage spelled out, and their invariances."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from toolkit.probing.clustering import Clusters, ClusterTree, cluster_neurons, pearson


def features(num_rows: int = 300, num_neurons: int = 40, seed: int = 0) -> Tensor:
    """Correlated neurons of differing means and scales."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(num_rows, 6)) @ random.normal(size=(6, num_neurons))
    values += 0.7 * random.normal(size=values.shape)
    return torch.from_numpy(values * random.uniform(0.01, 100, num_neurons) + random.normal(size=num_neurons) * 50)


def partition(clusters: Clusters) -> set[frozenset[int]]:
    return {
        frozenset((clusters.assignment == number).nonzero().flatten().tolist())
        for number in range(len(clusters.representatives))
    }


def average_linkage(distance: NDArray[np.float64], threshold: float) -> set[frozenset[int]]:
    """Average linkage literally: merge the closest pair by the mean of all distances between them."""
    groups = [[neuron] for neuron in range(len(distance))]
    while len(groups) > 1:
        best = min(
            (distance[np.ix_(groups[i], groups[j])].mean(), i, j)
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        )
        if best[0] > threshold:
            break
        groups[best[1]] += groups.pop(best[2])
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize(("block_rows", "block_neurons"), [(2048, 2048), (37, 7), (300, 40), (1, 1)])
def test_correlation_is_numpys_whatever_the_blocks(block_rows: int, block_neurons: int) -> None:
    values = features()
    found, varying = pearson(values, block_rows, block_neurons)
    assert found.dtype == torch.float32
    assert varying.tolist() == list(range(40))
    np.testing.assert_allclose(found, np.corrcoef(values.numpy().T), atol=3e-7)
    assert torch.equal(found, found.T)
    assert bool((found.diagonal() == 1).all())


def test_correlation_survives_a_mean_far_from_zero() -> None:
    values = features().float()
    values[:, 3] = values[:, 3] / values[:, 3].std() + 4096  # a variance of E[x²] − E[x]² in float32 would be noise
    found, _ = pearson(values)
    np.testing.assert_allclose(found, np.corrcoef(values.double().numpy().T), atol=1e-6)


@pytest.mark.parametrize("threshold", [0.15, 0.3, 0.5, 0.7])
def test_clusters_are_scipys(threshold: float) -> None:
    values = features()
    distance = 1 - np.abs(np.corrcoef(values.numpy().T))
    np.fill_diagonal(distance, 0)
    labels = fcluster(linkage(squareform(distance, checks=False), "average"), threshold, "distance")
    expected = {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels)}
    found = cluster_neurons(values, threshold)
    assert partition(found) == expected
    assert 1 < len(expected) < 40  # the data must tell the thresholds apart
    assert found.redundant == pytest.approx(1 - len(expected) / 40)
    assert found.sizes.tolist() == [int((found.assignment == number).sum()) for number in range(len(expected))]


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6])
def test_clusters_are_those_of_the_definition(threshold: float) -> None:
    values = features(num_neurons=18, seed=1)
    distance = 1 - np.abs(np.corrcoef(values.numpy().T))
    assert partition(cluster_neurons(values, threshold)) == average_linkage(distance, threshold)


def test_one_tree_gives_every_threshold() -> None:
    values = features()
    tree = ClusterTree(values)
    counts = []
    for threshold in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        cut, alone = tree.cut(threshold), cluster_neurons(values, threshold)
        assert torch.equal(cut.assignment, alone.assignment)
        assert torch.equal(cut.representatives, alone.representatives)
        counts.append(len(cut.representatives))
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (40, 1)


def test_medoid_has_the_greatest_mean_correlation() -> None:
    values = features()
    found = cluster_neurons(values, 0.6)
    strength = np.abs(np.corrcoef(values.numpy().T))
    for number, representative in enumerate(found.representatives.tolist()):
        group = (found.assignment == number).nonzero().flatten().tolist()
        assert representative == max(group, key=lambda neuron: strength[neuron, group].mean())
    assert int(found.sizes.max()) > 2


def test_of_equal_medoids_the_first_is_kept() -> None:
    wave = torch.randn(100, generator=torch.Generator().manual_seed(0))
    found = cluster_neurons(torch.stack([torch.arange(100.0).cos(), 2 * wave, -wave, 0.7 * wave - 9], dim=1), 0.3)
    assert found.representatives.tolist() == [0, 1]


def test_duplicates_signs_scales_and_shifts_are_redundant() -> None:
    values = features(num_rows=5000, num_neurons=5)
    values[:, 0] = values[:, 0] ** 5  # heavy tails, where products in float32 are least exact
    copies = torch.cat([values, -values, 3.3 * values + 1.7, -0.1 * values + 100], dim=1)
    found = cluster_neurons(copies, 0.0)
    assert found.assignment.tolist() == 4 * list(range(5))
    assert found.representatives.tolist() == list(range(5))


def test_scale_sign_and_shift_of_a_neuron_change_nothing() -> None:
    values = features()
    random = torch.Generator().manual_seed(0)
    factor = torch.randn(40, generator=random, dtype=torch.float64) * 10
    shift = torch.randn(40, generator=random, dtype=torch.float64) * 100
    before, after = cluster_neurons(values, 0.4), cluster_neurons(values * factor + shift, 0.4)
    assert torch.equal(before.assignment, after.assignment)
    assert torch.equal(before.representatives, after.representatives)


def test_order_of_neurons_changes_only_the_numbers() -> None:
    values = features()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    moved = partition(cluster_neurons(values[:, order], 0.4))
    assert {frozenset(int(order[place]) for place in group) for group in moved} == partition(
        cluster_neurons(values, 0.4)
    )


def test_constant_neurons_are_dropped_and_counted() -> None:
    values = features()
    without = torch.cat([values[:, :7], values[:, 8:39]], dim=1)
    values[:, 7], values[:, 39] = 0.1, 0.0  # 0.1 has a rounded mean: its computed variance is not 0
    found = cluster_neurons(values, 0.4)
    assert found.num_constant == 2
    assert (found.assignment < 0).nonzero().flatten().tolist() == [7, 39]
    assert not set(found.representatives.tolist()) & {7, 39}
    kept = torch.cat([found.assignment[:7], found.assignment[8:39]])
    assert torch.equal(kept, cluster_neurons(without, 0.4).assignment)


@pytest.mark.parametrize("num_varying", [0, 1])
def test_all_or_all_but_one_constant(num_varying: int) -> None:
    values = torch.ones(10, 4)
    values[:, 2] = torch.arange(10.0) if num_varying else 3.0
    found = cluster_neurons(values, 0.5)
    assert found.assignment.tolist() == [-1, -1, 0 if num_varying else -1, -1]
    assert found.representatives.tolist() == [2] * num_varying
    assert found.windows(torch.zeros(4)).tolist() == [1] * num_varying


def test_windows_count_layers_from_lowest_to_highest() -> None:
    assignment = torch.tensor([0, 1, 0, -1, 1, 2, 0])
    clusters = Clusters(threshold=0.3, assignment=assignment, representatives=torch.tensor([0, 1, 5]))
    assert clusters.windows(torch.tensor([0, 0, 1, 9, 3, 2, 1])).tolist() == [2, 4, 1]
    with pytest.raises(ValueError, match=r"\(3,\), expected \(7,\)"):
        clusters.windows(torch.zeros(3))


def test_random_representatives_are_members_and_follow_the_seed() -> None:
    tree = ClusterTree(features())
    chosen = [tree.cut(0.6, representative="random", seed=seed) for seed in (0, 0, 1)]
    for clusters in chosen:
        assert torch.equal(clusters.assignment[clusters.representatives], torch.arange(len(clusters.representatives)))
    assert torch.equal(chosen[0].representatives, chosen[1].representatives)
    assert not torch.equal(chosen[0].representatives, chosen[2].representatives)


def test_half_precision_is_read_exactly() -> None:
    values = (features() / 64).half()
    assert torch.equal(cluster_neurons(values, 0.4).assignment, cluster_neurons(values.double(), 0.4).assignment)


def test_errors_name_the_value() -> None:
    with pytest.raises(ValueError, match=r"threshold is 1\.2"):
        cluster_neurons(features(), 1.2)
    with pytest.raises(ValueError, match="representative is 'first'"):
        cluster_neurons(features(), 0.3, representative="first")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(1, 40\)"):
        cluster_neurons(features(num_rows=1), 0.3)
    broken = features()
    broken[3, 5] = float("inf")
    with pytest.raises(ValueError, match="neuron 5 has a value that is not finite"):
        cluster_neurons(broken, 0.3)


@pytest.mark.slow
def test_the_neurons_of_a_base_sized_encoder_fit_into_4_gib() -> None:
    """9,984 neurons: 13 layers of 768. Measured in a process of its own, with everything that it imports."""
    script = """
import resource, torch
from toolkit.probing.clustering import ClusterTree
random = torch.Generator().manual_seed(0)
values = torch.randn(2000, 9984, generator=random)
values[:, 5000:] += values[:, :4984]
tree = ClusterTree(values)
assert 5000 <= len(tree.cut(0.3).representatives) < 9984
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT)
"""
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    result = subprocess.run(
        [sys.executable, "-c", script.replace("UNIT", str(unit))], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < 4 * 2**30
