"""Export networks to ONNX (https://onnx.ai) and to ``torch.export``, each compared with PyTorch before it is kept.

ONNX is written by PyTorch's exporter that traces (``dynamo=False``): it took 2 to 8 s for a small network of each
architecture below, where the newer one took a minute for the first, and the outputs agreed as closely.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolkit.files.writing import replacing
from toolkit.models.export_comparison import compare
from toolkit.models.exportable import Batch, Logits, exportable, loaded_with_tokenizer, model_type, traced
from toolkit.models.onnx_network import ONNX_FILE, OnnxNetwork, require_onnx
from toolkit.models.pretrained import quiet, save_tokenizer

PROGRAM_FILE = "model.pt2"
DEFAULT_OPSET = 17
OPSETS = range(14, 21)  # Attention needs 14; PyTorch 2.6 traces to at most 20.
_LARGEST = 2**31 - 2**20  # A protobuf file ends at 2 GiB; graph and names take a part of it.
# What exporters warn of: that values of this input may become constants, which the comparison on other batches and
# lengths would show, and that the exporter that traces is the older one.
_NOISE = (
    "Converting a tensor to a Python",
    "torch.tensor results are registered as constants",
    "Iterating over a tensor",
    "To copy construct from a tensor",
    "Exporting aten::index operator of advanced indexing",
    "You are using the legacy TorchScript-based ONNX export",
    "The feature will be removed. Please remove usage of this function",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was exported, and how closely it computes what the network computes.

    Args:
        file: The file.
        size: Its size in bytes.
        max_difference: Largest absolute difference of an output from PyTorch's in float32, on all sentences. In
            taggers padding does not count.
        sentences: Number of sentences that were compared.
        shapes: Number of different batches (B, T) that they were compared in.
        inputs: Names of the inputs, ``(B, T)`` each.
        opset: Version of ONNX's operators; ``None`` for ``torch.export``.
    """

    file: Path
    size: int
    max_difference: float
    sentences: int
    shapes: int
    inputs: tuple[str, ...]
    opset: int | None


def export_onnx(
    network: PreTrainedModel | str | Path,
    folder: str | Path,
    examples: Sequence[str] | Iterable[Batch],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    opset: int = DEFAULT_OPSET,
    tolerance: float = 1e-4,
) -> Exported:
    """Export a classifier or tagger to ONNX in float32, for any number and length of sentences.

    Everything is written beside `folder`, computed by onnxruntime, compared with PyTorch on the examples, as well as
    on one sentence alone and with more padding, and only then renamed.

    Args:
        network: The network, which is left as it is, or the folder of a stored one.
        folder: Where ``model.onnx``, tokenizer and ``config.json``, with the labels' names, go.
        examples: Sentences, or tokenised batches where a row is a pair or a list of words; what else than inputs is in
            a batch, such as labels, is ignored.
        tokenizer: The network's; that of the folder where the network is one.
        opset: Version of ONNX's operators, 14 to 20.
        tolerance: How far an output may be from PyTorch's.

    Raises:
        ModuleNotFoundError: If a package of the extra ``[onnx]`` is missing.
        FileNotFoundError: If `network` is no folder of a stored network.
        FileExistsError: If `folder` holds something.
        ValueError: If the architecture or its head was not tested, the network is larger than an ONNX file, there are
            no examples, an option is out of range, or outputs differ by more than `tolerance`. Nothing was stored then.
    """
    require_onnx()
    import onnx

    check_opset(opset)
    folder = _free(folder)
    network, tokenizer = loaded_with_tokenizer(network, tokenizer)
    judged, batches = exportable(network, tokenizer, examples, tolerance)
    size = sum(tensor.numel() * tensor.element_size() for tensor in judged.state_dict().values())
    if size > _LARGEST:
        raise ValueError(
            f"The network has {size:,} bytes, more than the 2 GiB of an ONNX file. Use format=program, export_program "
            "in code, which has no end."
        )
    names = tuple(batches[0])
    axes = {name: {0: "batch", 1: "length"} for name in names}
    tags = type(network).__name__.endswith("ForTokenClassification")
    axes["logits"] = {0: "batch", 1: "length"} if tags else {0: "batch"}

    with _staged(folder, judged, tokenizer) as staged:
        file = staged / ONNX_FILE
        torch.onnx.export(
            Logits(judged, names),
            tuple(traced(batches[0], tokenizer).values()),
            str(file),
            input_names=list(names),
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=opset,
            dynamo=False,
        )
        onnx.checker.check_model(str(file))
        computed = OnnxNetwork(staged)
        shapes, difference = compare(
            judged, lambda batch: computed(**batch)["logits"], batches, tokenizer, tolerance, str(folder)
        )
        size = file.stat().st_size
    return Exported(
        file=folder / ONNX_FILE,
        size=size,
        max_difference=difference,
        sentences=sum(len(batch["input_ids"]) for batch in batches),
        shapes=shapes,
        inputs=names,
        opset=opset,
    )


def export_program(
    network: PreTrainedModel | str | Path,
    folder: str | Path,
    examples: Sequence[str] | Iterable[Batch],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    tolerance: float = 1e-4,
) -> tuple[ExportedProgram, Exported]:
    """Export a classifier or tagger with ``torch.export``, for any number and length of sentences.

    ``torch.export.load(folder / "model.pt2").module()`` computes the logits from the inputs in the order of
    `Exported.inputs`. Of what was written, as much is compared as by `export_onnx`.

    Args:
        network: The network, which is left as it is, or the folder of a stored one.
        folder: Where ``model.pt2``, tokenizer and ``config.json``, with the labels' names, go.
        examples: Sentences, or tokenised batches.
        tokenizer: The network's; that of the folder where the network is one.
        tolerance: How far an output may be from PyTorch's.

    Returns:
        The program, and what was measured.

    Raises:
        FileNotFoundError: If `network` is no folder of a stored network.
        FileExistsError: If `folder` holds something.
        ValueError: As `export_onnx`, but for the size and the opset; and if PyTorch can't export the network.
    """
    folder = _free(folder)
    network, tokenizer = loaded_with_tokenizer(network, tokenizer)
    judged, batches = exportable(network, tokenizer, examples, tolerance)
    names = tuple(batches[0])
    with _staged(folder, judged, tokenizer) as staged:
        file = staged / PROGRAM_FILE
        try:
            program = torch.export.export(
                Logits(judged, names),
                tuple(traced(batches[0], tokenizer).values()),
                dynamic_shapes=(tuple({0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for _ in names),),
                strict=False,
            )
        except Exception as error:  # of many types: those of dynamic shapes, of operators, of Python
            raise ValueError(
                f"torch.export cannot export {type(network).__name__} ({model_type(network)}): "
                f"{str(error).strip().partition(chr(10))[0]} Use format=onnx, "
                "export_onnx in code."
            ) from error
        torch.export.save(program, file)
        computed = torch.export.load(file).module()
        shapes, difference = compare(
            judged, lambda batch: computed(*batch.values()), batches, tokenizer, tolerance, str(folder)
        )
        size = file.stat().st_size
    return program, Exported(
        file=folder / PROGRAM_FILE,
        size=size,
        max_difference=difference,
        sentences=sum(len(batch["input_ids"]) for batch in batches),
        shapes=shapes,
        inputs=names,
        opset=None,
    )


def check_opset(opset: int) -> None:
    """Refuse a version of ONNX's operators that the exporter does not write.

    Args:
        opset: The version.

    Raises:
        ValueError: With those that it does.
    """
    if opset not in OPSETS:
        raise ValueError(f"opset is {opset}; give one from {OPSETS[0]} to {OPSETS[-1]}.")


def _free(folder: str | Path) -> Path:
    """A folder that holds nothing yet."""
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty; choose another folder, or delete it.")
    return folder


@contextmanager
def _staged(folder: Path, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[Path]:
    """A folder with config and tokenizer beside its place, to which it is renamed in the end."""
    with replacing(folder) as staged:
        with quiet(hide_bars=True):
            network.config.save_pretrained(staged)
        save_tokenizer(tokenizer, staged)
        with _quietly(), torch.no_grad():
            yield staged


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message)
        yield
