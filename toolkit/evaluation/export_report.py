"""The report of an export: what was exported beside PyTorch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from rich.table import Table
from transformers import PreTrainedModel

from toolkit.evaluation.costs import Latency, Timing, timed
from toolkit.evaluation.mode import evaluation_mode
from toolkit.files.json_files import write_json
from toolkit.models.export import Exported
from toolkit.models.onnx_network import OnnxNetwork


def onnx_latencies(network: PreTrainedModel, folder: str | Path, timing: Timing = Timing()) -> tuple[Latency, Latency]:
    """Measure a network in PyTorch and in onnxruntime in turns, with the same batch, length and threads.

    Args:
        network: The network, in float32 on the CPU; its mode is restored.
        folder: What `toolkit.models.export.export_onnx` made of it.
        timing: How both are measured.

    Returns:
        The times of PyTorch, and of onnxruntime, in milliseconds.

    Raises:
        ValueError: If the network is not in float32 on the CPU, or `timing` says 0 seconds.
    """
    if network.device.type != "cpu" or str(network.dtype) != "torch.float32":
        raise ValueError(f"The network is in {network.dtype} on {network.device}; give it in float32 on the CPU.")
    exported = cast(PreTrainedModel, OnnxNetwork(folder, threads=timing.threads))  # as far as it is called here
    with evaluation_mode(network):
        plain, ours = timed([network, exported], timing)
    return plain, ours


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export came to.

    Args:
        exported: The file, and how closely it was found to compute what the network computes.
        parameter_bytes: Bytes of the network's parameters in float32.
        pytorch: Latency in PyTorch; ``None`` where it was not measured.
        onnxruntime: Latency in onnxruntime, measured in turns with the other.
    """

    exported: Exported
    parameter_bytes: int
    pytorch: Latency | None = None
    onnxruntime: Latency | None = None

    @property
    def note(self) -> str:
        """What was compared and measured."""
        exported = self.exported
        text = (
            f"Largest absolute difference of {exported.sentences} sentences' logits in {exported.shapes} shapes "
            "(batch, length)."
        )
        if exported.opset is not None:
            text += f" Opset {exported.opset}."
        if self.pytorch is not None:
            text += (
                f" Latency: median ± interquartile range, batch {self.pytorch.batch}, {self.pytorch.length} tokens, "
                f"{self.pytorch.threads} thread(s), float32, CPU, measured in turns."
            )
        return text

    def __rich__(self) -> Table:
        table = Table(title=f"Export to {self.exported.file}", caption=self.note, caption_justify="left")
        table.add_column("network")
        for name in ("bytes", "max difference", "latency, ms"):
            table.add_column(name, justify="right")
        table.add_row("PyTorch (parameters)", f"{self.parameter_bytes:,}", "", _time(self.pytorch))
        difference = f"{self.exported.max_difference:.2g}"
        kind = "program of torch.export" if self.exported.opset is None else "ONNX, onnxruntime"
        table.add_row(kind, f"{self.exported.size:,}", difference, _time(self.onnxruntime))
        return table

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``export.json``."""
        content = asdict(self)
        content["exported"]["file"] = str(self.exported.file)
        return content

    def write(self, file: str | Path) -> None:
        """Write the report as JSON, as a whole or not at all.

        Args:
            file: Where to.
        """
        write_json(Path(file), self.to_json())


def _time(latency: Latency | None) -> str:
    return "" if latency is None else f"{latency.median:.2f} ± {latency.iqr:.2f}"
