"""How closely what was exported computes what the network computes."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolkit.models.encoder import max_positions
from toolkit.models.exportable import Batch, padded


def _forms(batches: Sequence[Batch], tokenizer: PreTrainedTokenizerBase, longest: int | None) -> Iterator[Batch]:
    """All batches; then the first sentence alone, without padding and with more of it, where positions allow."""
    yield from batches
    first = batches[0]
    present = first["attention_mask"][0].bool()
    alone = {name: tensor[:1, present] for name, tensor in first.items()}
    yield alone
    if longest is None or present.sum() + 3 <= longest:
        yield padded(alone, tokenizer, 3)


@torch.inference_mode()
def compare(
    judged: PreTrainedModel,
    computed: Callable[[Batch], Tensor],
    batches: Sequence[Batch],
    tokenizer: PreTrainedTokenizerBase,
    tolerance: float,
    target: str,
) -> tuple[int, float]:
    """Compare outputs with PyTorch's on all batches, on one sentence alone and with more padding.

    Args:
        judged: The network in PyTorch.
        computed: What was exported: a batch → logits.
        batches: Inputs ``(B, T)``.
        tokenizer: The network's.
        tolerance: How far an output may be from PyTorch's.
        target: Name of what is to be stored, for errors.

    Returns:
        Number of shapes that were compared, and the largest difference; in taggers padding does not count.

    Raises:
        ValueError: If shapes differ, or outputs by more than `tolerance`.
    """
    worst, shapes = 0.0, set()
    longest = max_positions(judged.config)
    for batch in _forms(batches, tokenizer, longest):
        shapes.add(batch["input_ids"].shape)
        expected, found = judged(**batch).logits, computed(batch)
        if expected.shape != found.shape:
            raise ValueError(
                f"Outputs have shape {tuple(found.shape)} instead of {tuple(expected.shape)} on a batch of shape "
                f"{tuple(batch['input_ids'].shape)}; {target} was not stored. Export it in the "
                "other format, onnx or program."
            )
        differences = (expected - found).abs()
        if differences.ndim == 3:
            differences = differences[batch["attention_mask"].bool()]
        worst = max(worst, differences.nan_to_num(nan=float("inf")).max().item())
    if worst > tolerance:
        raise ValueError(
            f"Outputs differ from PyTorch's by up to {worst:.3g}, more than the tolerance of {tolerance:.3g}; {target} "
            "was not stored. Set a larger tolerance if that is precise enough, or export in the other format, onnx or "
            "program."
        )
    return len(shapes), worst
