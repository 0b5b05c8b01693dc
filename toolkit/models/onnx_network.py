"""A network in ONNX, computed by onnxruntime and called like one of `transformers`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.utils.generic import ModelOutput

from toolkit.models.pretrained import load_config

ONNX_FILE = "model.onnx"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def require_onnx() -> None:
    """Refuse to go on without the packages of the extra ``[onnx]``.

    Raises:
        ModuleNotFoundError: If one is missing; the message names the extra.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"ONNX needs {', '.join(missing)}; install them with pip install 'lightning-compression-toolkit[onnx]'."
        )


class OnnxNetwork(nn.Module):
    """The network of a folder that `toolkit.models.export.export_onnx` wrote, on the CPU.

    Args:
        folder: Holds ``model.onnx`` and ``config.json``.
        threads: Of the operators.

    Raises:
        ModuleNotFoundError: If a package of the extra ``[onnx]`` is missing.
        FileNotFoundError: If the folder holds no ``model.onnx``.
        ValueError: If `threads` is not positive.

    Example::

        tokenizer, network = AutoTokenizer.from_pretrained("onnx"), OnnxNetwork("onnx")
        network(**tokenizer(["a good film"], return_tensors="pt")).logits
    """

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, folder: str | Path, *, threads: int = 1) -> None:
        require_onnx()
        import onnxruntime

        super().__init__()
        if threads < 1:
            raise ValueError(f"threads is {threads}; give the number of threads, at least 1.")
        file = Path(folder) / ONNX_FILE
        if not file.is_file():
            raise FileNotFoundError(f"{folder} holds no {ONNX_FILE}; give a folder that export_onnx wrote.")
        self.config: PreTrainedConfig = load_config(str(folder))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # its advice on graphs is not for who uses them
        self.session: Any = onnxruntime.InferenceSession(
            str(file), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [entry.name for entry in self.session.get_inputs()]
        self.output = self.session.get_outputs()[0].name

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> ModelOutput:
        """Compute the output that was exported: ``logits`` ``(B, K)`` or ``(B, T, K)``.

        Args:
            input_ids: Token ids ``(B, T)``.
            attention_mask: 1 at tokens, 0 at padding ``(B, T)``; ``None``: no padding.
            token_type_ids: Segments ``(B, T)``; ``None``: one segment. Left out where the network knows none.
        """
        given = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids) if attention_mask is None else attention_mask,
            "token_type_ids": torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids,
        }
        arrays = {name: np.ascontiguousarray(given[name].cpu().numpy()) for name in self.inputs}
        (values,) = self.session.run([self.output], arrays)
        return ModelOutput({self.output: torch.from_numpy(values)})
