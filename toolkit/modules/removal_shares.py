"""How many heads, neurons and hidden channels of a network are to go, checked before anything is trained."""

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from toolkit.models.hidden_channels import num_channels
from toolkit.models.structure import KINDS, Structure, check_structure, groups_of, whole_structure
from toolkit.pruning.structured import choose_kept


def check_options(shares: Mapping[str, float], *, uniform: bool) -> None:
    """Refuse shares that no network can lose.

    Args:
        shares: Kind → share to remove, for each of `toolkit.models.structure.KINDS`.
        uniform: Whether plain `transformers` has to load what is left.

    Raises:
        ValueError: If a share is out of range, nothing is to be removed, or no config says what would be left.
    """
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"model.{name} must lie in [0, 1), the share to remove, but got {share}.")
    if not any(shares.values()):
        raise ValueError(
            "Nothing is to be removed; give model.neurons, model.heads, model.hidden or several, such as 0.5."
        )
    heads, hidden = shares["heads"], shares["hidden"]
    if uniform and heads != hidden:
        raise ValueError(
            f"model.heads={heads} and model.hidden={hidden} leave a shape that no config.json can say: there the heads "
            "fill the hidden size. Plain transformers would not load it; give both the same share, or add "
            "model.uniform=false, and load the network with toolkit.load."
        )


def shares_of_network(
    network: PreTrainedModel, shares: Mapping[str, float], multiples: Mapping[str, int], *, uniform: bool
) -> dict[str, float]:
    """Find the shares that are removed of a network in the end.

    Args:
        network: What they are removed from.
        shares: Kind → share to remove, as `check_options` accepts them.
        multiples: Kind → of what the kept numbers are multiples.
        uniform: Whether plain `transformers` has to load what is left: the kept heads then fill the hidden size, whose
            share follows from theirs.

    Returns:
        Kind → share.

    Raises:
        ValueError: If the architecture was not tested, has parts that these can't be removed from, or heads that do not
            fill its hidden size; or if a share is so small that it removes nothing.
    """
    shares = dict(shares)
    whole = whole_structure(network)
    kept = {kind: whole.kept(kind) for kind in KINDS}
    for kind in KINDS:
        if not shares[kind]:
            continue
        sizes = [groups.count for groups in groups_of(network, kind)]
        if kind == "hidden" and uniform:
            shares[kind] = _hidden_share(network, [len(own) for own in kept["heads"]])
        equal = [torch.zeros(size) for size in sizes]
        chosen = choose_kept(equal, shares[kind], uniform=uniform, multiple=multiples[kind])
        if sum(map(len, chosen)) == sum(sizes):
            raise ValueError(
                f"model.{kind}={shares[kind]} removes none of {sizes[0]} {_WORDS[kind]}, of which multiples of "
                f"{multiples[kind]} are kept; give a larger share."
            )
        kept[kind] = tuple(map(tuple, chosen))
    check_structure(network, Structure.of(kept))
    return shares


_WORDS = {"heads": "heads of a block", "neurons": "neurons of a block", "hidden": "hidden channels"}


def _hidden_share(network: PreTrainedModel, heads: list[int]) -> float:
    """Share of the hidden channels that the kept heads do not fill."""
    blocks = groups_of(network, "heads")
    hidden = num_channels(network)
    sizes = {next(weight.shape[dim] for _, weight, dim in groups.parts) for groups in blocks}
    if sizes != {hidden}:
        raise ValueError(
            f"The heads of this network's blocks have {', '.join(map(str, sorted(sizes)))} channels in all, not "
            f"{hidden} as its hidden states, so that fewer of both fit no config.json; add model.uniform=false."
        )
    return 1 - heads[0] / blocks[0].count
