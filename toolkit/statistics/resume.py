"""The state of a pass on disk, so that an interrupted one continues: what it belongs to, and what it has summed up."""

import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torchmetrics import Metric
from transformers import PreTrainedModel

from toolkit.data.cache import digest
from toolkit.files.sealed import is_sealed, save_sealed
from toolkit.statistics.hidden_states import Statistic

# Entries of a config that do not change what the blocks compute.
_NAMES = ("_name_or_path", "architectures", "dtype", "id2label", "label2id", "problem_type", "transformers_version")


@runtime_checkable
class Resumable(Protocol):
    """A statistic, other than a metric of torchmetrics, that a pass can be resumed with."""

    def state_dict(self) -> dict[str, Any]:
        """What was taken in so far: tensors, numbers and texts; what lies on disk is there for good when it returns."""

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Continue from a state."""


def network_fingerprint(network: PreTrainedModel) -> str:
    """Hash of what hidden states depend on: weights and configuration of a network without its head.

    Args:
        network: On any device.

    Returns:
        32 hexadecimal digits.
    """
    encoder: Any = network.base_model
    config = {name: value for name, value in encoder.config.to_dict().items() if name not in _NAMES}
    found = hashlib.sha256(json.dumps([type(encoder).__name__, config], sort_keys=True, default=str).encode())
    for name, weight in encoder.state_dict().items():
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        found.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def statistics_fingerprint(statistics: Sequence[Statistic]) -> str:
    """Hash of the kinds of statistics and of their public attributes, the sums of metrics excepted."""
    return digest([[type(statistic).__name__, _settings(statistic)] for statistic in statistics])


def check_resumable(statistics: Sequence[Statistic]) -> None:
    """Check that the state of every statistic can be stored.

    Raises:
        TypeError: If one has no state.
    """
    for statistic in statistics:
        if not isinstance(statistic, Metric | Resumable):
            raise TypeError(
                f"{type(statistic).__name__} cannot be resumed: give it state_dict and load_state_dict, or leave "
                "resume_file out."
            )


def save_state(file: Path, key: Mapping[str, str], batches: int, statistics: Sequence[Statistic]) -> None:
    """Write the state of statistics with a checksum, as a whole or not at all: plain tensors.

    Args:
        file: Where.
        key: What the state belongs to.
        batches: Number of batches that were taken in.
        statistics: Metrics of torchmetrics, or `Resumable`.
    """
    states = [_state(statistic) for statistic in statistics]
    file.parent.mkdir(parents=True, exist_ok=True)
    save_sealed({"key": dict(key), "batches": batches, "states": states}, file)


def load_state(file: Path, key: Mapping[str, str], statistics: Sequence[Statistic]) -> tuple[int, str | None]:
    """Put the stored state into statistics, if it is theirs.

    Args:
        file: What `save_state` wrote, or nothing.
        key: What the state must belong to.
        statistics: As in `save_state`.

    Returns:
        The number of batches taken in; if it is 0, the reason why the file was not used, unless there is none.
    """
    if not file.exists():
        return 0, None
    if not is_sealed(file):
        return 0, "it is damaged: its checksum is not that of its content"
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        there, batches, states = stored["key"], int(stored["batches"]), stored["states"]
        differing = [name for name in key if there.get(name) != key[name]]
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        pickle.UnpicklingError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        return 0, f"it cannot be read ({type(error).__name__})"
    if differing:
        return 0, f"it belongs to another pass: {', '.join(differing)} differ"
    for statistic, state in zip(statistics, states, strict=True):
        _restore(statistic, state)
    return batches, None


def _state(statistic: Any) -> Mapping[str, Any]:
    if isinstance(statistic, Metric):
        sums = {name: _moved(value, torch.device("cpu")) for name, value in statistic.metric_state.items()}
        return {"updates": statistic.update_count, "sums": sums}
    state: Mapping[str, Any] = statistic.state_dict()
    return state


def _restore(statistic: Any, state: Mapping[str, Any]) -> None:
    if isinstance(statistic, Metric):
        # Its own state_dict leaves out how often it was updated, and warns of results without updates.
        statistic._update_count = state["updates"]
        for name, value in state["sums"].items():
            setattr(statistic, name, _moved(value, statistic.device))
    else:
        statistic.load_state_dict(state)


def _moved(value: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    return [part.to(device) for part in value] if isinstance(value, list) else value.to(device)


def _settings(statistic: Statistic) -> dict[str, Any]:
    attributes = dict(vars(statistic))
    shapes: dict[str, Any] = {}
    if isinstance(statistic, Metric):
        attributes |= dict(statistic.named_buffers())
        for name, value in statistic.metric_state.items():
            attributes.pop(name, None)
            shapes[name] = [str(value.dtype), list(value.shape)] if isinstance(value, Tensor) else "list"
    for name, value in attributes.items():
        if isinstance(value, Tensor):
            attributes[name] = value.tolist()
    plain = (bool, int, float, str, tuple, list, type(None))
    return shapes | {
        name: repr(value) for name, value in attributes.items() if not name.startswith("_") and isinstance(value, plain)
    }
