"""Export of a network that was fine-tuned, and perhaps compressed, before."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from toolkit.evaluation.export_report import ExportReport, onnx_latencies
from toolkit.models.export import export_onnx
from toolkit.modules.stored_network import StoredNetwork
from toolkit.recipe import Recipe


@dataclass(kw_only=True)
class ExportRecipe(Recipe):
    """Export a stored network to ONNX, and compare it with PyTorch on sentences of a task.

    Args:
        model: The network.
        opset: Version of ONNX's operators, 14 to 20.
        tolerance: How far an output may be from PyTorch's.
    """

    model: StoredNetwork
    opset: int = 17
    tolerance: float = 1e-4

    def run(self) -> ExportReport:
        """Export, compare, measure, report."""
        experiment = self.experiment()
        folder = Path(experiment.output) / "onnx"
        shutil.rmtree(folder, ignore_errors=True)  # Only a resumed run finds one.
        network = self.model.network
        nn.Module.to(network, device="cpu")
        exported = export_onnx(
            network,
            folder,
            self.data.loader(self.data.splits[0]),
            tokenizer=self.data.tokenizer,
            opset=self.opset,
            tolerance=self.tolerance,
        )
        parameter_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
        pytorch, onnxruntime = onnx_latencies(network, folder, self.timing) if self.timing.seconds else (None, None)
        report = ExportReport(
            exported=exported, parameter_bytes=parameter_bytes, pytorch=pytorch, onnxruntime=onnxruntime
        )
        report.write(experiment.output / "export.json")
        return report


recipe = ExportRecipe
