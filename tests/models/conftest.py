"""Tiny networks of random weights, one for each architecture that the toolkit supports."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Words, and the bytes that they are made of: AutoTokenizer makes a byte-level tokenizer of it for Qwen2.
VOCABULARY = [*SPECIAL, *(f"w{number}" for number in range(23)), "w", "Ġ", *"0123456789"]
_BERT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
_LLAMA = {**_BERT, "num_attention_heads": 4, "num_key_value_heads": 2}
_XLNET = {"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 24}
# Its default token ids lie outside a tiny vocabulary.
_MODERN_IDS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
_CONFIGS: dict[str, tuple[str, dict[str, object]]] = {
    "albert": ("AlbertConfig", {**_BERT, "embedding_size": 8}),
    "bert": ("BertConfig", _BERT),
    "deberta-v2": ("DebertaV2Config", {**_BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "distilbert": ("DistilBertConfig", {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24}),
    "electra": ("ElectraConfig", {**_BERT, "embedding_size": 8}),
    "gpt2": (
        "GPT2Config",
        {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_inner": 24, "bos_token_id": 2, "eos_token_id": 3},
    ),
    "llama": ("LlamaConfig", _LLAMA),
    "modernbert": ("ModernBertConfig", {**_BERT, **_MODERN_IDS}),
    "mpnet": ("MPNetConfig", _BERT),
    "qwen2": ("Qwen2Config", _LLAMA),
    "roberta": ("RobertaConfig", _BERT),
    "xlnet": ("XLNetConfig", _XLNET),
}
_GEMMA = {**_LLAMA, "head_dim": 4, "sliding_window": 4, "sliding_window_pattern": 2}  # local, global, local attention
# Networks that only some parts of the toolkit take, or that all refuse.
_OTHERS: dict[str, tuple[str, dict[str, object]]] = {
    "gemma3_text": ("Gemma3TextConfig", {**_GEMMA, "bos_token_id": 2, "eos_token_id": 3}),
    "mistral": ("MistralConfig", {**_LLAMA, "sliding_window": 4}),
    "mt5": ("MT5Config", {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2}),
    "opt": ("OPTConfig", {**_BERT, "ffn_dim": 24, "word_embed_proj_dim": 16}),
    "qwen3": ("Qwen3Config", {**_LLAMA, "head_dim": 4}),
    "t5": ("T5Config", {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2}),
}


@pytest.fixture(params=_CONFIGS)
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_config() -> Callable[..., PreTrainedConfig]:
    def make(architecture: str, **values: object) -> PreTrainedConfig:
        name, sizes = (_CONFIGS | _OTHERS)[architecture]
        config: PreTrainedConfig = getattr(transformers, name)(
            **{"vocab_size": len(VOCABULARY), "pad_token_id": 0, **sizes, **values}
        )
        return config

    return make


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    model = Tokenizer(WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    model.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.fixture
def store(
    tmp_path: Path, make_config: Callable[..., PreTrainedConfig], tokenizer: PreTrainedTokenizerFast
) -> Callable[..., Path]:
    """Store a random network of an architecture with a head, and its tokenizer, in a folder."""

    def build(architecture: str, head: str = "AutoModel", **values: object) -> Path:
        folder = tmp_path / f"{architecture}-{head}"
        with torch.random.fork_rng():
            torch.manual_seed(7)
            network = getattr(transformers, head).from_config(make_config(architecture, **values))
            for parameter in network.parameters():  # biases and norms as if they had been trained
                parameter.data += 0.1 * torch.randn(parameter.shape)
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build
