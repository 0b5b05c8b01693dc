"""Every recipe at a size that takes seconds, on a random network, and what of its folder must not depend on luck."""

import hashlib
import json
import re
import string
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertForPreTraining, PreTrainedTokenizerFast

from toolkit.options.words import as_options

DATA: dict[str, Any] = {"size": 160, "limit_eval": 30, "batch_size": 16, "max_length": 32}
TRAINER: dict[str, Any] = {
    "max_epochs": 2,
    "accelerator": "cpu",
    "precision": "32-true",
    "enable_progress_bar": False,
}
OWN: dict[str, dict[str, Any]] = {
    "fine_tuning": {},
    "quickstart": {},
    "proximal_pruning": {},
    "magnitude_pruning": {"model.score": "curvature"},
    "movement_pruning": {},
    "wanda_pruning": {"model.schedule": "gradual"},
    "structured_pruning": {},
    "layer_dropping": {"model.keep": 2},
    "neuron_selection": {},
    "layer_analysis": {},
    "redundancy_analysis": {"model.redundancy.rankings": ["surgeon", "gaussian", "norm"]},
    "proximal_pretraining": {"model.sparsity": 0.6},
    "magnitude_pretraining": {"model.sparsity": 0.6},
    "proximal_transfer": {"model.sparsity": 0.6},
    "evaluation": {},
    "export": {},
    "pipeline": {
        "stages": [
            {"recipe": "layer_dropping", "options": {"model.keep": 2}},
            {"recipe": "structured_pruning", "options": {"model.neurons": 0.5}},
            {"recipe": "proximal_pruning", "options": {"model.sparsity": 0.6}},
            {"recipe": "fine_tuning", "name": "recovery", "options": {"model.distillation.teacher": "reference"}},
        ]
    },
    "compare": {
        "methods": ["layer_dropping", "magnitude_pruning"],
        "tasks": ["synthetic_sentiment"],
        "seeds": [0],
        "latency.seconds": 0,
        "throughput.seconds": 0,
        "resamples": 100,
        "engine.threads": 1,
    },
}
"""Recipe → the options that it has beside those of all."""

AFTER: dict[str, tuple[str, str]] = {
    "proximal_transfer": ("proximal_pretraining", "universal"),
    "evaluation": ("fine_tuning", "model.network"),
    "export": ("fine_tuning", "model.network"),
}
"""Recipe → the one whose network it begins with, and the option that names its folder."""

# Numbers that say how long something took, or how much memory was at hand; and checksums of files of weights, which are
# compared by their tensors, as the format's writer puts metadata into no certain order.
_LUCK = re.compile(r"seconds|latency|throughput|memory|time|speed|^sha256$")
_LEFT_OUT = re.compile(r"(^|/)(logs|\.lock|\.owner|log\.txt|features\.json|layers\.seconds|analysis\.seconds)(/|$)")


def make_network(folder: Path, *, blocks: int = 3, size: int = 32) -> None:
    """A random BERT with a tokenizer of letters.

    Args:
        folder: Where it is stored.
        blocks: Of the encoder.
        size: Of the hidden states.
    """
    transformers.utils.logging.disable_progress_bar()
    letters = [*string.ascii_lowercase, *string.punctuation, *string.digits]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        **{f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")},
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=size,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        intermediate_size=2 * size,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForPreTraining(config).save_pretrained(folder)


def words_of(recipe: str, network: Path, made: Path | None = None, **overrides: Any) -> list[str]:
    """The command line of a small run.

    Args:
        recipe: Its name.
        network: That it begins with.
        made: Folder of a finished run of the recipe that ``AFTER`` names, for those that are named there.
        overrides: Of the options, ``data__size=80`` for ``data.size``.
    """
    data, trainer = dict(DATA), dict(TRAINER)
    for key, value in overrides.items():
        group, _, name = key.partition("__")
        {"data": data, "trainer": trainer}.get(group, {})[name] = value
    options: dict[str, Any] = {}
    if recipe in ("compare", "pipeline"):
        if recipe == "compare":
            epochs = trainer.pop("max_epochs")
            options = {"budget.epochs": epochs, "model": {"network": str(network)}}
        else:
            options = {"network": str(network), "seed_everything": 1, "timing.seconds": 0, "data.task": TASK}
        options |= {"data": options.pop("data", {}) | data, "trainer": trainer}
    else:
        if recipe.endswith("_pretraining"):
            data = {key: value for key, value in data.items() if key != "limit_eval"} | {"sentences_of": [TASK]}
        else:
            data["task"] = TASK
        options = {"seed_everything": 1, "timing.seconds": 0, "model.network": str(network)}
        options |= {f"data.{key}": value for key, value in data.items()}
        if recipe not in ("evaluation", "export"):  # They train nothing.
            options |= {f"trainer.{key}": value for key, value in trainer.items()}
    if recipe in AFTER:
        assert made is not None
        options[AFTER[recipe][1]] = str(made / "model")
    return [f"recipe={recipe}", *as_options(options | OWN[recipe])]


TASK = "synthetic_sentiment"


def results(folder: Path) -> dict[str, str]:
    """What a finished run leaves behind, file by file, without what depends on the clock.

    Args:
        folder: Of the run.

    Returns:
        Path below the folder → hash of the content.
    """
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if not file.is_file() or _LEFT_OUT.search(name):
            continue
        if file.suffix == ".safetensors":
            found[name] = _content(file)
        elif file.suffix == ".json":
            text = file.read_text(encoding="utf-8").replace(str(folder.absolute()), "FOLDER")
            found[name] = json.dumps(_without_luck(json.loads(text)), sort_keys=True)
        else:
            found[name] = "there"
    return found


def _content(file: Path) -> str:
    """Hash of tensors and metadata: the format's writer puts the latter into no certain order."""
    found = hashlib.sha256()
    with safe_open(file, "pt") as opened:
        found.update(json.dumps(opened.metadata(), sort_keys=True).encode())
        for name in sorted(opened.keys()):
            tensor = opened.get_tensor(name).contiguous()
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _without_luck(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_luck(part) for key, part in value.items() if not _LUCK.search(key)}
    return [_without_luck(part) for part in value] if isinstance(value, list) else value
