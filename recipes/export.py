"""Export of a network that was fine-tuned, and perhaps compressed, before."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from toolkit.evaluation.export_report import ExportReport, onnx_latencies
from toolkit.models.export import DEFAULT_OPSET, check_opset, export_onnx, export_program
from toolkit.models.onnx_network import require_onnx
from toolkit.modules.stored_network import StoredNetwork
from toolkit.recipe import Recipe


@dataclass(kw_only=True)
class ExportRecipe(Recipe):
    """Export a stored network to ONNX, or by torch.export, and compare it with PyTorch on sentences of a task.

    Args:
        model: The network.
        format: ``onnx``, computed by onnxruntime; or ``program``, of ``torch.export``, computed by PyTorch.
        opset: Version of ONNX's operators, 14 to 20; null for 17.
        tolerance: How far an output may be from PyTorch's.

    Raises:
        ModuleNotFoundError: If a package of the extra ``[onnx]`` is missing, and ``format=onnx``.
        ValueError: If the opset is out of range, or given where none is written.
    """

    model: StoredNetwork
    format: Literal["onnx", "program"] = "onnx"
    opset: int | None = None
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.format == "program" and self.opset is not None:
            raise ValueError(f"opset={self.opset} is ONNX's, which format=program does not write; leave one out.")
        if self.format == "onnx":
            check_opset(DEFAULT_OPSET if self.opset is None else self.opset)
            require_onnx()

    def run(self) -> ExportReport:
        """Export, compare, measure, report.

        Raises:
            ValueError: If the network cannot be exported, or outputs differ by more than ``tolerance``.
        """
        experiment = self.experiment()
        with experiment.stage():  # What is refused leaves the folder free.
            folder = Path(experiment.output) / self.format
            shutil.rmtree(folder, ignore_errors=True)  # Only a resumed run finds one.
            network, tokenizer = self.model.network, self.data.tokenizer
            examples = self.data.loader(self.data.splits[0])
            nn.Module.to(network, device="cpu")
            pytorch = onnxruntime = None
            if self.format == "onnx":
                opset = self.opset or DEFAULT_OPSET
                exported = export_onnx(
                    network, folder, examples, tokenizer=tokenizer, opset=opset, tolerance=self.tolerance
                )
                if self.timing.seconds:
                    pytorch, onnxruntime = onnx_latencies(network, folder, self.timing)
            else:
                exported = export_program(network, folder, examples, tokenizer=tokenizer, tolerance=self.tolerance)[1]
            report = ExportReport(
                exported=exported,
                parameter_bytes=4 * sum(parameter.numel() for parameter in network.parameters()),
                pytorch=pytorch,
                onnxruntime=onnxruntime,
            )
            report.write(experiment.output / "export.json")
            return report


recipe = ExportRecipe
