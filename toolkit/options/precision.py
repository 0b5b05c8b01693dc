"""The precision that the hardware computes in."""

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn


def supported_precision(precision: Any, accelerator: str = "auto") -> Any:
    """Mixed bfloat16 where the hardware computes in it, else float32, with a warning."""
    if precision != "bf16-mixed":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("auto", "cpu"):
        supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    else:
        supported = True  # Lightning knows about other accelerators and says so.
    if not supported:
        rank_zero_warn("This hardware does not compute in bfloat16; trainer.precision=32-true replaces bf16-mixed.")
        return "32-true"
    return precision
