"""Export networks to ONNX (https://onnx.ai) and to ``torch.export``, each compared with PyTorch before it is kept.

ONNX is written by PyTorch's exporter that traces (``dynamo=False``): it took 2 to 8 s for a small network of each
architecture below, where the newer one took a minute for the first, and the outputs agreed as closely.
"""

import copy
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolkit.files.writing import replacing
from toolkit.models.encoder import load_tokenizer, max_positions
from toolkit.models.neuron_model import NeuronSelectionForSequenceClassification
from toolkit.models.onnx_network import ONNX_FILE, OnnxNetwork, require_onnx
from toolkit.models.pretrained import quiet
from toolkit.models.storage import load

SUPPORTED = (
    "albert",
    "bert",
    "deberta-v2",
    "distilbert",
    "electra",
    "gpt2",
    "llama",
    "modernbert",
    "mpnet",
    "qwen2",
    "roberta",
    "xlnet",
)
"""The ``model_type`` of every architecture whose export was tested."""

OPSETS = range(14, 21)  # Attention needs 14; PyTorch 2.6 traces to at most 20.
_HEADS = ("ForSequenceClassification", "ForTokenClassification")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_LARGEST = 2**31 - 2**20  # A protobuf file ends at 2 GiB; graph and names take a part of it.
_BATCHES = (1, 2, 5, 8, 16)  # In turns, of the sentences that are given as texts.

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

Batch = Mapping[str, Tensor]


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


class _Logits(nn.Module):
    """A network from inputs in a fixed order to its logits alone."""

    def __init__(self, network: PreTrainedModel, names: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.names = names
        self.train(False)  # as exporters give the mode of the whole back to its parts

    def forward(self, *inputs: Tensor) -> Tensor:
        given = dict(zip(self.names, inputs, strict=True))
        if isinstance(self.network, NeuronSelectionForSequenceClassification):
            return self._of_neurons(**given)
        logits: Tensor = self.network(**given, return_dict=True).logits
        return logits

    def _of_neurons(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Pool as `toolkit.models.pooling.pool` does, which has operators that ONNX lacks: by products and sums."""
        network: Any = self.network
        states = network.neurons(network.hidden_states(input_ids, attention_mask, token_type_ids))  # (B, T, k)
        order = attention_mask.cumsum(1)
        if network.config.pooling == "mean":
            chosen = attention_mask
            for number in network.config.special_ids:
                chosen = chosen * (input_ids != number)
            chosen = torch.where(chosen.sum(1, keepdim=True) > 0, chosen, attention_mask)
        else:
            wanted = 1 if network.config.pooling == "first" else order[:, -1:]
            chosen = attention_mask * (order == wanted)
        rows = (states * chosen[..., None]).sum(1) / chosen.sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = network.classifier(rows)
        return logits


def export_onnx(
    network: PreTrainedModel | str | Path,
    folder: str | Path,
    examples: Sequence[str] | Iterable[Batch],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    opset: int = 17,
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
            no examples, or an option is out of range.
        RuntimeError: If outputs differ by more than `tolerance`; nothing was stored then.
    """
    require_onnx()
    import onnx

    if opset not in OPSETS:
        raise ValueError(f"opset is {opset}; give one from {OPSETS[0]} to {OPSETS[-1]}.")
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty; choose another folder, or delete it.")
    network, tokenizer = _loaded(network, tokenizer)
    judged, batches = _prepared(network, tokenizer, examples, tolerance)
    size = sum(tensor.numel() * tensor.element_size() for tensor in judged.state_dict().values())
    if size > _LARGEST:
        raise ValueError(
            f"The network has {size:,} bytes, more than the 2 GiB of an ONNX file; export_program has no end."
        )
    names = tuple(batches[0])
    axes = {name: {0: "batch", 1: "length"} for name in names}
    tags = type(network).__name__.endswith("ForTokenClassification")
    axes["logits"] = {0: "batch", 1: "length"} if tags else {0: "batch"}

    with replacing(folder) as staged:
        with quiet(hide_bars=True):
            judged.config.save_pretrained(staged)
            tokenizer.save_pretrained(staged)
        file = staged / ONNX_FILE
        with _quietly(), torch.no_grad():
            torch.onnx.export(
                _Logits(judged, names),
                tuple(_traced(batches[0], tokenizer).values()),
                str(file),
                input_names=list(names),
                output_names=["logits"],
                dynamic_axes=axes,
                opset_version=opset,
                dynamo=False,
            )
        onnx.checker.check_model(str(file))
        computed = OnnxNetwork(staged)
        shapes, difference = _compare(
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
    file: str | Path,
    examples: Sequence[str] | Iterable[Batch],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    tolerance: float = 1e-4,
) -> tuple[ExportedProgram, Exported]:
    """Export a classifier or tagger with ``torch.export``, for any number and length of sentences.

    ``torch.export.load(file).module()`` computes the logits from the inputs in the order of `Exported.inputs`. Of what
    was written, as much is compared as by `export_onnx`.

    Args:
        network: The network, which is left as it is, or the folder of a stored one.
        file: Where the program goes, ``NAME.pt2``.
        examples: Sentences, or tokenised batches.
        tokenizer: The network's; that of the folder where the network is one.
        tolerance: How far an output may be from PyTorch's.

    Returns:
        The program, and what was measured.

    Raises:
        FileNotFoundError: If `network` is no folder of a stored network.
        FileExistsError: If there is such a file.
        ValueError: As `export_onnx`; or if the file's name does not end in ``.pt2``.
        RuntimeError: If PyTorch can't export the network, or outputs differ by more than `tolerance`; nothing was
            stored then.
    """
    file = Path(file)
    if file.suffix != ".pt2":
        raise ValueError(f"file is {file}; give a name that ends in .pt2.")
    if file.exists():
        raise FileExistsError(f"{file} exists; choose another name, or delete it.")
    network, tokenizer = _loaded(network, tokenizer)
    judged, batches = _prepared(network, tokenizer, examples, tolerance)
    names = tuple(batches[0])
    with replacing(file) as staged, _quietly(), torch.no_grad():
        try:
            program = torch.export.export(
                _Logits(judged, names),
                tuple(_traced(batches[0], tokenizer).values()),
                dynamic_shapes=(tuple({0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for _ in names),),
                strict=False,
            )
        except Exception as error:  # of many types: those of dynamic shapes, of operators, of Python
            raise RuntimeError(
                f"torch.export cannot export {type(network).__name__} ({_model_type(network)}): "
                f"{str(error).strip().partition(chr(10))[0]} Use export_onnx."
            ) from error
        torch.export.save(program, staged)
        computed = torch.export.load(staged).module()
        shapes, difference = _compare(
            judged, lambda batch: computed(*batch.values()), batches, tokenizer, tolerance, str(file)
        )
    return program, Exported(
        file=file,
        size=file.stat().st_size,
        max_difference=difference,
        sentences=sum(len(batch["input_ids"]) for batch in batches),
        shapes=shapes,
        inputs=names,
        opset=None,
    )


def _loaded(
    network: PreTrainedModel | str | Path, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if isinstance(network, str | Path):
        folder = network
        network = load(folder)
        tokenizer = tokenizer or load_tokenizer(str(folder))
    if tokenizer is None:
        raise ValueError("tokenizer is None, but a network in memory comes without one; give the network's.")
    return network, tokenizer


def _prepared(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Any, tolerance: float
) -> tuple[PreTrainedModel, list[dict[str, Tensor]]]:
    """A copy of the network that can be traced, and the inputs it takes of the examples."""
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}, but must be positive.")
    kind, name = _model_type(network), type(network).__name__
    if kind not in SUPPORTED:
        raise ValueError(f"The export of {kind} was not tested. Give a network of one of {', '.join(SUPPORTED)}.")
    if not name.endswith(_HEADS):
        raise ValueError(f"The network is {name}; give one with a head for sequence or token classification.")
    examples = list(examples)
    if examples and isinstance(examples[0], str):
        examples = list(_tokenised(examples, tokenizer, network))
    if not examples:
        raise ValueError("There are no examples; give some real sentences, which the export is judged on.")
    if not {"input_ids", "attention_mask"} <= {*examples[0]}:
        raise ValueError(f"A batch has {', '.join(examples[0])}; it must have input_ids and attention_mask.")
    taken = inspect.signature(network.forward).parameters
    names = [name for name in _INPUTS if name in examples[0] and name in taken]
    judged = copy.deepcopy(network)
    nn.Module.to(judged, device="cpu", dtype=torch.float32)
    judged.train(False)
    if judged.config._attn_implementation not in (None, "eager", "sdpa"):  # kernels of GPUs can't be exported
        judged.set_attn_implementation("eager")
    judged.config.architectures = [name]
    for option in ("use_cache", "use_mems_eval"):  # decoders would return keys and values as well
        if hasattr(judged.config, option):
            setattr(judged.config, option, False)
    return judged, [{name: batch[name].cpu() for name in names} for batch in examples]


def _model_type(network: PreTrainedModel) -> str:
    """The architecture, of networks of selected neurons that of their encoder."""
    return str(getattr(network.config, "encoder", network.config).model_type)


def _tokenised(
    sentences: Sequence[str], tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel
) -> Iterator[Batch]:
    length = max_positions(network.config)
    start, turn = 0, 0
    while start < len(sentences):
        chosen = list(sentences[start : start + _BATCHES[turn % len(_BATCHES)]])
        yield tokenizer(chosen, padding=True, truncation=length is not None, max_length=length, return_tensors="pt")
        start, turn = start + len(chosen), turn + 1


def _traced(batch: Batch, tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Two rows with padding: tracing takes another path where there is none, and a single row becomes a constant."""
    return _padded({name: tensor[:1, :8].repeat(2, 1) for name, tensor in batch.items()}, tokenizer, 2)


def _padded(batch: Batch, tokenizer: PreTrainedTokenizerBase, columns: int) -> dict[str, Tensor]:
    sides = (columns, 0) if tokenizer.padding_side == "left" else (0, columns)
    fill = {"input_ids": tokenizer.pad_token_id or 0}
    return {name: nn.functional.pad(tensor, sides, value=fill.get(name, 0)) for name, tensor in batch.items()}


def _forms(batches: Sequence[Batch], tokenizer: PreTrainedTokenizerBase, longest: int | None) -> Iterator[Batch]:
    """All batches; then the first sentence alone, without padding and with more of it, where positions allow."""
    yield from batches
    first = batches[0]
    present = first["attention_mask"][0].bool()
    alone = {name: tensor[:1, present] for name, tensor in first.items()}
    yield alone
    if longest is None or present.sum() + 3 <= longest:
        yield _padded(alone, tokenizer, 3)


@torch.inference_mode()
def _compare(
    judged: PreTrainedModel,
    computed: Callable[[Batch], Tensor],
    batches: Sequence[Batch],
    tokenizer: PreTrainedTokenizerBase,
    tolerance: float,
    target: str,
) -> tuple[int, float]:
    """Number of shapes that were compared, and the largest difference; refuse what is too large."""
    worst, shapes = 0.0, set()
    longest = max_positions(judged.config)
    for batch in _forms(batches, tokenizer, longest):
        shapes.add(batch["input_ids"].shape)
        expected, found = judged(**batch).logits, computed(batch)
        if expected.shape != found.shape:
            raise RuntimeError(
                f"Outputs have shape {tuple(found.shape)} instead of {tuple(expected.shape)} on a batch of shape "
                f"{tuple(batch['input_ids'].shape)}; {target} was not stored."
            )
        differences = (expected - found).abs()
        if differences.ndim == 3:
            differences = differences[batch["attention_mask"].bool()]
        worst = max(worst, differences.nan_to_num(nan=float("inf")).max().item())
    if worst > tolerance:
        raise RuntimeError(
            f"Outputs differ from PyTorch's by up to {worst:.3g}, more than the tolerance of {tolerance:.3g}; {target} "
            "was not stored. Give a larger tolerance if that is precise enough."
        )
    return len(shapes), worst


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message)
        yield
