r"""Redundancy among neurons, and how few are enough for a task: the study of Dalvi et al. 2020.

https://arxiv.org/abs/2004.04010. How similar layers are and what each knows of the task; how many neurons repeat
others, and what a probe on one neuron of each cluster loses; how few of the neurons of all layers are enough; which
neurons stand for a class. Beyond the paper, rankings of neurons are compared with each other at equal numbers.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.probing.analysis import ClassNeurons, Cut, MinimalSet, RedundancyAnalysis, Windows
from toolkit.probing.clustering import Clusters, ClusterTree
from toolkit.probing.layers import LayerStates, layer_scores, lowest_score
from toolkit.probing.linear import Probe, named_score, probe_score
from toolkit.probing.options import RedundancyOptions
from toolkit.probing.registry import rank
from toolkit.probing.sizing import smallest_enough
from toolkit.probing.stages import PENALTIES, Probing
from toolkit.statistics.features import extract_features
from toolkit.statistics.similarity import LayerSimilarity

_CHUNK = 1024  # rows whose CKA is computed at once


def analyse_network(
    network: PreTrainedModel,
    data: TaskData,
    *,
    name: str,
    folder: Path,
    options: RedundancyOptions = RedundancyOptions(),
    seed: int = 0,
    trainer: Callable[..., Trainer] = Trainer,
) -> RedundancyAnalysis:
    """Extract the features of train and dev, and analyse them: :func:`analyse_states`.

    CKA between layers is that of the means of the sentences' tokens, collected while the features are written.

    Args:
        network: A network of `transformers`, with any head.
        data: The task.
        name: Of the network.
        folder: Of the run; its folder ``features``, from which an interrupted run goes on, is used unless the options
            name another.
        options: How the neurons are looked at.
        seed: Of the draw of rows, and of the random ranking.
        trainer: Makes the trainer that runs the passes.
    """
    task = data.task
    options.compared(len(task.labels) or None)  # refuses what is not there before any work is done
    similarity = LayerSimilarity(network.config.num_hidden_layers + 1, network.config.hidden_size)
    root = options.features or folder / "features"
    extraction: dict[str, Any] = {
        "dtype": options.features_dtype, "pooling": options.pooling, "words": options.words, "trainer": trainer
    }  # fmt: skip
    train = extract_features(network, data, "train", root / "train", statistics=[similarity], **extraction)
    dev = extract_features(network, data, "dev", root / "dev", **extraction)
    has_bar = trainer(logger=False, callbacks=[]).progress_bar_callback is not None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=not (has_bar and getattr(rank_zero_only, "rank", 0) == 0)) as progress:
        bar = progress.add_task("", total=None)

        def step(description: str, number: int, total: int) -> None:
            progress.update(bar, description=description, completed=number, total=total)

        return analyse_states(
            train,
            dev,
            network=name,
            task=task.name,
            labels=task.labels,
            # Spans need whole sentences; words are scored one by one.
            metric="accuracy" if task.kind == "tagging" else task.metrics[0],
            options=options,
            similarity=similarity.compute(),
            seed=seed,
            step=step,
        )


def analyse_states(
    train: LayerStates,
    dev: LayerStates,
    *,
    network: str,
    task: str,
    labels: Sequence[str],
    metric: str,
    options: RedundancyOptions = RedundancyOptions(),
    similarity: Tensor | None = None,
    seed: int = 0,
    step: Callable[[str, int, int], None] = lambda description, number, total: None,
) -> RedundancyAnalysis:
    """Analyse the redundancy among the neurons of a network.

    The L2 penalty of a probe is the one of `PENALTIES` that is best on dev; probes on layers have the oracle's.

    Args:
        train: Labelled hidden states that probes, clusters and rankings are made of.
        dev: Those that probes are scored on.
        network: Name of the network.
        task: Name of the task.
        labels: Names of the classes; none for a regression.
        metric: Name of a score of :func:`toolkit.probing.linear.named_score`.
        options: How the neurons are looked at.
        similarity: ``(L, L)`` CKA between the layers; that of the rows of ``train`` if it is not given.
        seed: Of the draw of rows, and of the random ranking.
        step: Told what begins, how many steps are done, and how many there are.

    Raises:
        ValueError: If the splits do not fit each other, or all neurons are constant.
    """
    num_classes = len(labels) or None
    names = options.compared(num_classes)
    total = 5 + len(options.thresholds) + len(names) + (options.ranking not in names)
    started: list[str] = []

    def begin(description: str) -> None:
        step(description, len(started), total)
        started.append(description)

    score = named_score(metric, num_classes)
    probing = Probing(train, dev, None, num_classes, score, PENALTIES, None)
    (features, dev_features), (targets, dev_targets) = probing.features, probing.targets
    shape = probing.num_layers, probing.hidden_size

    def measure(neurons: Tensor) -> float:
        probe, _ = probing.fit(neurons, search=True)
        return probe_score(probe, dev_features[:, neurons], dev_targets, score)

    begin("oracle")
    oracle = probing.stage("oracle", torch.arange(probing.total)).dev
    classes = _classes(probing.probe, labels, options.top)
    begin("layers")
    layers = layer_scores(train, dev, num_classes=num_classes, score=score, l2=probing.penalty)
    begin("similarity of layers")
    if similarity is None:
        similarity = _similarity(features.unflatten(1, shape))

    begin("correlation of neurons")
    rows = _drawn(len(targets), options.rows, seed)
    if rows is not None:
        features, targets = features[rows], targets[rows]
    tree = ClusterTree(features)
    cuts = []
    for threshold in options.thresholds:
        begin(f"clusters at {threshold:g}")
        clusters = tree.cut(threshold)
        if not len(clusters.representatives):
            raise ValueError(f"all {clusters.num_constant} neurons are constant; check the features.")
        kept = clusters.representatives
        cuts.append(Cut(threshold=threshold, kept=len(kept), score=measure(kept)))
    windows = _windows(tree.cut(options.window_threshold), *shape)
    del tree

    sizes = tuple(dict.fromkeys(max(1, round(share * probing.total)) for share in options.shares))
    orders, scores = {}, {}
    for ranking in dict.fromkeys((*names, options.ranking)):
        begin(f"ranking: {ranking.replace('_', ' ')}")
        orders[ranking] = rank(ranking, features, targets, num_classes, l2=probing.penalty, seed=seed)
        if ranking in names:
            scores[ranking] = tuple(measure(orders[ranking][:size]) for size in sizes)
    common = max(1, round(options.overlap_share * probing.total))

    begin("minimal set")
    order, delta = orders[options.ranking], options.delta
    bar = lowest_score(oracle, delta)
    number, path = smallest_enough(
        lambda k: probing.measure(order[:k], delta), len(order), bar, caution=1.0, whole=oracle
    )
    return RedundancyAnalysis(
        network=network,
        task=task,
        metric=metric,
        rows=len(probing.targets[0]),
        dev_rows=len(dev_targets),
        sampled_rows=len(targets),
        num_layers=probing.num_layers,
        hidden_size=probing.hidden_size,
        penalty=probing.penalty,
        oracle=oracle,
        independent=tuple(map(float, layers.independent)),
        cumulative=tuple(map(float, layers.cumulative)),
        similarity=tuple(map(tuple, similarity.tolist())),
        constant=clusters.num_constant,
        cuts=tuple(cuts),
        windows=windows,
        minimal=MinimalSet(
            ranking=options.ranking,
            delta=delta,
            neurons=tuple(order[:number].tolist()),
            score=path[number],
            path=tuple(sorted(path.items())),
        ),
        classes=classes,
        sizes=sizes,
        scores=scores,
        overlap_size=common,
        overlap=_overlap([orders[name][:common] for name in names]),
    )


def _classes(probe: Probe, labels: Sequence[str], top: int) -> tuple[ClassNeurons, ...]:
    """The neurons that a probe on all of them uses most for each class that has rows."""
    named = list(zip(labels or ("value",), probe.standardized_weight, strict=True))
    found = []
    for label, weight in named[1:] if len(labels) == 2 else named:
        order = weight.abs().argsort(descending=True, stable=True)[:top]
        order = order[weight[order] != 0]
        if len(order):
            found.append(
                ClassNeurons(label=label, neurons=tuple(order.tolist()), weights=tuple(weight[order].tolist()))
            )
    return tuple(found)


def _windows(clusters: Clusters, num_layers: int, hidden_size: int) -> Windows:
    numbers = torch.arange(num_layers * hidden_size)
    widths = clusters.windows(numbers // hidden_size)
    several = clusters.sizes > 1
    counts = torch.bincount(widths[several] - 1, minlength=num_layers)
    neurons = torch.zeros(num_layers, dtype=torch.long).index_add_(0, widths[several] - 1, clusters.sizes[several])
    # As if dimensions were layers: a cluster of one dimension reaches over one.
    aligned = clusters.windows(numbers % hidden_size) == 1
    return Windows(
        threshold=clusters.threshold,
        single=int((~several).sum()),
        clusters=tuple(counts.tolist()),
        neurons=tuple(neurons.tolist()),
        aligned=int((aligned & several).sum()),
    )


def _overlap(chosen: Sequence[Tensor]) -> tuple[tuple[float, ...], ...]:
    """Share of neurons that each two sets of equal size have in common."""
    return tuple(tuple(float(torch.isin(one, other).double().mean()) for other in chosen) for one in chosen)


def _similarity(rows: Tensor) -> Tensor:
    """CKA between the layers, of rows (R, L, D) as they are."""
    statistic = LayerSimilarity(*rows.shape[1:])
    for part in rows.split(_CHUNK):
        statistic.update(part.transpose(0, 1))
    similarity: Tensor = statistic.compute()
    return similarity


def _drawn(num_rows: int, wanted: int | None, seed: int) -> Tensor | None:
    """Rows drawn by chance, in their order; None for all."""
    if wanted is None or wanted >= num_rows:
        return None
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))[:wanted].sort().values
