"""What a network costs: parameters, zeros, multiply-accumulates, bytes on disk, and measured latency.

Zeros are not speed: dense kernels multiply by them. Sparsity, bytes and latency are therefore separate figures.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark import Measurement, Timer
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from toolkit.evaluation.mode import evaluation_mode
from toolkit.models.encoder import max_positions

MIN_TURNS, MAX_TURNS = 5, 20
"""Turns in which networks are measured beside each other: short ones if passes are short, so that drifts meet all."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Measured time of one forward pass, and what was measured.

    Args:
        median: Median time of a forward pass, in milliseconds.
        iqr: Interquartile range of the times, in milliseconds.
        batch: Sentences per pass.
        length: Tokens per sentence, without padding.
        threads: Threads of the operators on the CPU.
        device: ``cpu``, or the name of the GPU.
        dtype: Type of the weights.
    """

    median: float
    iqr: float
    batch: int
    length: int
    threads: int
    device: str
    dtype: str


_OF = " (of timing, latency or throughput)"  # The options that are a `Timing`, in one recipe or another.


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How latency is measured.

    Args:
        batch: Sentences per forward pass.
        length: Tokens per sentence, or as many as the network with the fewest positions takes.
        threads: Threads of the operators on the CPU.
        seconds: How long each network is measured; 0 leaves latency out.

    Raises:
        ValueError: If a number is out of its range.
    """

    batch: int = 1
    length: int = 128
    threads: int = 1
    seconds: float = 2.0

    def __post_init__(self) -> None:
        for name in ("batch", "length", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}{_OF}, but must be at least 1.")
        if self.seconds < 0:
            raise ValueError(f"seconds is {self.seconds}{_OF}; give the seconds to measure for, or 0 for no latency.")


def num_parameters(network: torch.nn.Module) -> int:
    """Count the parameters; tied ones count once.

    Args:
        network: Any network.
    """
    return sum(parameter.numel() for parameter in network.parameters())


def num_nonzero(network: torch.nn.Module) -> int:
    """Count the parameters that are not zero; tied ones count once.

    Args:
        network: Any network.
    """
    return sum(int(torch.count_nonzero(parameter)) for parameter in network.parameters())


@torch.inference_mode()
def macs(network: PreTrainedModel, batch: int = 1, length: int = 128) -> int:
    """Count the multiply-accumulates of a forward pass: half of the floating-point operations.

    Matrix products are counted, those of attention in full (also where a causal or sliding mask would allow
    less), element-wise operations are not; zeros in the weights count like other values.

    Args:
        network: A network of `transformers`.
        batch: Sentences.
        length: Tokens per sentence, without padding.

    Raises:
        ValueError: If `batch` or `length` is not positive, or the network has fewer positions than `length`.
    """
    inputs = _inputs(network, batch, length)
    counter = _counter()
    # The fused attention of CPUs is invisible to the counter; written out as matrix products it is counted.
    with evaluation_mode(network), sdpa_kernel(SDPBackend.MATH), counter:
        network(**inputs)
    return counter.get_total_flops() // 2


class _Everywhere:
    """In place of the counter's notes on which module computes what, which it is not asked for here.

    It takes them by hooks on what modules are given, and fails on DeBERTa-v2, which gives a parameter to its blocks.
    """

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        """Nothing to note."""

    def __exit__(self, *_: object) -> None:
        """Nothing was noted."""


def _counter() -> FlopCounterMode:
    """A counter of all operations together."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Everywhere()  # type: ignore[assignment]
    return counter


def training_macs(network: PreTrainedModel, batch: int = 1, length: int = 128) -> int:
    """Count the multiply-accumulates of a forward and a backward pass, as `macs` counts those of a forward pass.

    Frozen weights at the bottom of a network end the backward pass early, and no frozen weight has a gradient to be
    multiplied out.

    Args:
        network: A network of `transformers` with a head; its gradients are left as they are.
        batch: Sentences.
        length: Tokens per sentence, without padding; fewer where the network has fewer positions.

    Raises:
        ValueError: If `batch` or `length` is not positive.
    """
    inputs = _inputs(network, batch, min(length, max_positions(network.config) or length))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    counter = _counter()
    with evaluation_mode(network), sdpa_kernel(SDPBackend.MATH), torch.enable_grad(), counter:
        # What is trained but not read, such as a pooler without a head that uses it, has no gradient.
        torch.autograd.grad(network(**inputs).logits.sum(), trained, allow_unused=True)
    return counter.get_total_flops() // 2


def bytes_on_disk(folder: str | Path) -> int:
    """Add up the sizes of the weight files (``*.safetensors``) of a stored network, in bytes.

    Args:
        folder: The folder; tokenizer, config and card do not count.

    Raises:
        FileNotFoundError: If the folder holds no safetensors.
    """
    sizes = [file.stat().st_size for file in Path(folder).glob("*.safetensors")]
    if not sizes:
        raise FileNotFoundError(f"Folder {folder} holds no *.safetensors; give the folder of a stored network.")
    return sum(sizes)


def latency(
    network: PreTrainedModel, batch: int = 1, length: int = 128, threads: int = 1, min_seconds: float = 2.0
) -> Latency:
    """Measure the time of a forward pass in evaluation mode, on the network's device.

    Args:
        network: A network of `transformers`; its mode is restored.
        batch: Sentences per pass.
        length: Tokens per sentence, without padding.
        threads: Threads of the operators on the CPU; the process's number is restored.
        min_seconds: How long to measure, after the warm-up; at least five passes are measured.

    Raises:
        ValueError: If a number is not positive, or the network has fewer positions than `length`.
    """
    return latencies([network], batch, length, threads, min_seconds)[0]


@torch.inference_mode()
def latencies(
    networks: Sequence[PreTrainedModel],
    batch: int = 1,
    length: int = 128,
    threads: int = 1,
    min_seconds: float = 2.0,
) -> list[Latency]:
    """Measure networks beside each other, as `latency` does, in turns: what disturbs one disturbs all.

    Args:
        networks: Networks of `transformers`; their modes are restored.
        batch: Sentences per pass.
        length: Tokens per sentence, without padding.
        threads: Threads of the operators on the CPU; the process's number is restored.
        min_seconds: How long to measure each network, after its warm-up, in all turns together.

    Raises:
        ValueError: If a number is not positive, or a network has fewer positions than `length`.
    """
    if threads < 1 or min_seconds <= 0:
        raise ValueError(f"threads is {threads} and min_seconds {min_seconds}; both must be positive.")
    with ExitStack() as modes:
        timers = []
        for network in networks:
            modes.enter_context(evaluation_mode(network))
            names = {"network": network, "inputs": _inputs(network, batch, length)}
            timer = Timer("network(**inputs)", globals=names, num_threads=threads)
            timers.append((timer, timer.timeit(3).mean))  # allocates, chooses kernels; Timer waits for the GPU
        slowest = max(warm_up for _, warm_up in timers)
        turns = min(max(math.ceil(min_seconds / slowest), MIN_TURNS), MAX_TURNS)
        measured = [
            [timer.blocked_autorange(min_run_time=max(min_seconds / turns, warm_up)) for timer, warm_up in timers]
            for _ in range(turns)
        ]
    merged = [Measurement.merge(own)[0] for own in zip(*measured, strict=True)]
    return [
        Latency(
            median=1e3 * times.median,
            iqr=1e3 * times.iqr,
            batch=batch,
            length=length,
            threads=threads,
            device=torch.cuda.get_device_name(network.device) if network.device.type == "cuda" else network.device.type,
            dtype=str(network.dtype).removeprefix("torch."),
        )
        for times, network in zip(merged, networks, strict=True)
    ]


def timed(networks: Sequence[PreTrainedModel], timing: Timing) -> list[Latency]:
    """Measure networks beside each other, as `latencies` does, at a length that all of them take.

    Args:
        networks: Networks of `transformers`; their modes are restored.
        timing: How they are measured.
    """
    length = min([timing.length, *(max_positions(network.config) or timing.length for network in networks)])
    return latencies(networks, timing.batch, length, timing.threads, timing.seconds)


def _inputs(network: PreTrainedModel, batch: int, length: int) -> dict[str, Tensor]:
    """Make sentences without padding, ``(B, T)``; which tokens they hold does not change the cost."""
    if batch < 1 or length < 1:
        raise ValueError(f"batch is {batch} and length {length}; both must be positive.")
    positions = max_positions(network.config)
    if positions is not None and positions < length:
        raise ValueError(f"length is {length}, but the network has {positions} positions; give a smaller length.")
    token = 1 if network.config.pad_token_id != 1 else 2
    ids = torch.full((batch, length), token, device=network.device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
