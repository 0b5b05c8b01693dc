"""What is left after dropping blocks computes the same as the whole network with these blocks skipped."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedConfig, PreTrainedModel

from toolkit.models.encoder import transformer_blocks
from toolkit.models.layers import SUPPORTED, keep_layers, num_blocks
from toolkit.models.pretrained import load_tokenizer
from toolkit.models.storage import load, save

Make = Callable[..., PreTrainedConfig]
SEQUENCE, TOKEN = "AutoModelForSequenceClassification", "AutoModelForTokenClassification"
CAUSAL, MASKED = "AutoModelForCausalLM", "AutoModelForMaskedLM"
DECODERS = ("gemma3_text", "gpt2", "llama", "mistral", "qwen2", "qwen3")
SUBSETS = ((0,), (1,), (2,), (0, 2), (2, 1), (0, 1, 2))
# Blocks 1 and 2 look at 4 tokens, block 0 at all.
SLIDING = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}


def build(make_config: Make, architecture: str, head: str = SEQUENCE, **values: object) -> PreTrainedModel:
    if architecture == "modernbert":
        values = {"local_attention": 4, "global_attn_every_n_layers": 2, **values}
    if head in (SEQUENCE, TOKEN):
        values = {"num_labels": 3, **values}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network: PreTrainedModel = getattr(transformers, head).from_config(make_config(architecture, **values))
        for parameter in network.parameters():  # biases and norms as if they had been trained
            parameter.data += 0.2 * torch.randn(parameter.shape)
    network.eval()
    return network


def batch(length: int = 9) -> dict[str, Tensor]:
    ids = torch.randint(5, 40, (2, length), generator=torch.Generator().manual_seed(3))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@torch.no_grad()
def outputs(network: PreTrainedModel) -> Tensor:
    # A copy, as a kernel may depend on how memory is aligned.
    output: Tensor = copy.deepcopy(network)(**batch())[0]
    return output


def skipping(network: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """A copy of the whole network in which each block that is not kept gives back what it was given."""
    network = copy.deepcopy(network)
    calls = 0

    def skip(_: nn.Module, given: tuple[Tensor, ...], result: Tensor | tuple[Tensor, ...]) -> object:
        return given[0] if isinstance(result, Tensor) else (given[0], *result[1:])

    def skip_pass(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> object:
        nonlocal calls
        calls += 1
        return skip(module, given, result) if (calls - 1) % 3 not in kept else None

    if network.config.model_type == "albert":  # the one block is called three times
        transformer_blocks(network)[0].register_forward_hook(skip_pass)
        return network
    for number, block in enumerate(transformer_blocks(network)):
        if number not in kept:
            block.register_forward_hook(skip)
    convolution = getattr(getattr(network.base_model, "encoder", None), "conv", None)
    if convolution is not None and 0 not in kept:
        convolution.register_forward_hook(skip)
    return network


def generate(network: PreTrainedModel, ids: Tensor, *, use_cache: bool = True) -> list[list[int]]:
    tokens = network.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, min_new_tokens=6, do_sample=False,
        use_cache=use_cache, pad_token_id=0,
    )  # fmt: skip
    rows: list[list[int]] = tokens.tolist()
    return rows


def state(network: PreTrainedModel) -> tuple[object, ...]:
    """All that dropping blocks may change."""
    places = [(name, getattr(part, "layer_idx", None)) for name, part in network.named_modules()]
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    return network.config.to_dict(), places, list(weights), [weight.sum().item() for weight in weights.values()]


@pytest.mark.parametrize("architecture", SUPPORTED)
def test_outputs_are_those_of_the_whole_network_with_blocks_skipped(architecture: str, make_config: Make) -> None:
    for head in [SEQUENCE] + [CAUSAL] * (architecture in DECODERS) + [TOKEN] * (architecture in ("bert", "modernbert")):
        original = build(make_config, architecture, head, **(SLIDING if architecture.startswith("qwen") else {}))
        whole = outputs(original)
        for kept in SUBSETS:
            if architecture == "modernbert" and 0 not in kept:
                continue  # refused, see below
            network, reference = copy.deepcopy(original), outputs(skipping(original, kept))
            keep_layers(network, kept)
            assert torch.equal(outputs(network), reference), (head, kept)
            assert torch.equal(reference, whole) == (len(kept) == 3), (head, kept)
            assert num_blocks(network) == network.config.num_hidden_layers == len(kept)
            assert len(transformer_blocks(network)) == (1 if architecture == "albert" else len(kept))
            with torch.no_grad():
                layers = network(**batch(), output_hidden_states=True).hidden_states
            assert len(layers) == len(kept) + 1


def test_every_supported_architecture_is_tested_here(architecture: str) -> None:
    """Those of the encoder's tests; the list of `SUPPORTED` is that of all tests above."""
    assert architecture in SUPPORTED


def test_kept_weights_are_the_same_objects(make_config: Make) -> None:
    network = build(make_config, "bert")
    blocks = transformer_blocks(network)
    expected = [blocks[0], blocks[2]]
    head = network.classifier.weight
    keep_layers(network, [2, 0])
    assert transformer_blocks(network) is blocks
    assert [*blocks] == expected
    assert network.classifier.weight is head
    assert [name for name, _ in blocks.named_children()] == ["0", "1"]


def test_another_network_of_the_same_config_is_left_alone(make_config: Make) -> None:
    config = make_config("llama")
    one, other = (transformers.AutoModelForCausalLM.from_config(config).eval() for _ in range(2))
    assert one.config is other.config
    expected = outputs(other)
    keep_layers(one, [1])
    assert (config.num_hidden_layers, num_blocks(one)) == (3, 1)
    assert torch.equal(outputs(other), expected)
    assert all(part.config is one.config for part in one.modules() if hasattr(part, "config"))


@pytest.mark.parametrize("kept", [(0,), (2,), (1, 2), (0, 2)], ids=str)
def test_convolution_of_deberta_is_part_of_its_first_block(
    kept: tuple[int, ...], make_config: Make, tmp_path: Path
) -> None:
    network = build(make_config, "deberta-v2", conv_kernel_size=3, conv_act="gelu")
    reference = outputs(skipping(network, kept))
    keep_layers(network, kept)
    assert torch.equal(outputs(network), reference)
    network.save_pretrained(tmp_path)
    loaded, report = getattr(transformers, SEQUENCE).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.equal(outputs(loaded), reference)


@pytest.mark.parametrize(
    ("architecture", "values", "kept", "types"),
    [
        ("modernbert", {}, (0, 2), "ff"),
        ("modernbert", {}, (0, 1), "fs"),
        ("modernbert", {"layer_types": ["sliding_attention"] * 2 + ["full_attention"]}, (0, 1), "ss"),
        ("gemma3_text", {}, (0, 2), "ss"),
        ("gemma3_text", {}, (1,), "f"),
        ("qwen2", SLIDING, (1, 2), "ss"),
        ("qwen2", SLIDING, (0,), "f"),
        ("qwen3", {**SLIDING, "max_window_layers": 2}, (1, 2), "fs"),
    ],
)
def test_each_block_keeps_its_kind_of_attention(
    architecture: str, values: dict[str, object], kept: tuple[int, ...], types: str, make_config: Make, tmp_path: Path
) -> None:
    network = build(make_config, architecture, **values)
    reference = outputs(skipping(network, kept))
    keep_layers(network, kept)
    expected = [{"f": "full_attention", "s": "sliding_attention"}[kind] for kind in types]
    assert network.config.layer_types == expected
    network.save_pretrained(tmp_path)
    loaded = getattr(transformers, SEQUENCE).from_pretrained(tmp_path)
    assert loaded.config.layer_types == expected
    assert torch.equal(outputs(loaded), reference)
    if architecture.startswith("qwen"):  # the older rule, which says the same for readers that know no layer_types
        config = loaded.config.to_dict()
        del config["layer_types"]
        assert type(loaded.config).from_dict(config).layer_types == expected


def test_kinds_of_attention_make_a_difference(make_config: Make) -> None:
    """Else the test above could not fail: a window of 4 tokens of 9 is seen in the outputs."""
    for architecture, values in (("modernbert", {}), ("gemma3_text", {}), ("qwen2", SLIDING), ("mistral", {})):
        network = build(make_config, architecture, **values)
        wide = {"local_attention": 64} if architecture == "modernbert" else {"sliding_window": 64}
        other = build(make_config, architecture, **{**values, **wide})
        assert not torch.equal(outputs(network), outputs(other)), architecture


@pytest.mark.parametrize("architecture", DECODERS)
def test_generation_with_and_without_cache(architecture: str, make_config: Make, tmp_path: Path) -> None:
    ids = batch(6)["input_ids"]
    original = build(make_config, architecture, CAUSAL, **(SLIDING if architecture.startswith("qwen") else {}))
    for kept in ((1,), (0, 2)):
        expected = generate(skipping(original, kept), ids, use_cache=False)
        network = copy.deepcopy(original)
        keep_layers(network, kept)
        network.save_pretrained(tmp_path / str(kept))
        loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / str(kept))
        for one in (network, loaded):
            assert generate(one, ids, use_cache=True) == generate(one, ids, use_cache=False) == expected
        places = {part.layer_idx for part in network.modules() if hasattr(part, "layer_idx")}
        assert places == set(range(len(kept)))


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("bert", MASKED),
        ("electra", MASKED),
        ("modernbert", MASKED),
        *((decoder, CAUSAL) for decoder in DECODERS),
    ],
)
def test_ties_are_kept(architecture: str, head: str, make_config: Make, tmp_path: Path) -> None:
    network = build(make_config, architecture, head, tie_word_embeddings=True)
    embeddings = network.get_input_embeddings().weight
    keep_layers(network, [0, 2])
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight is embeddings
    network.save_pretrained(tmp_path)
    loaded = getattr(transformers, head).from_pretrained(tmp_path)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert torch.equal(outputs(loaded), outputs(network))


@pytest.mark.parametrize("architecture", SUPPORTED)
def test_storage_takes_it(architecture: str, store: Callable[..., Path], make_config: Make, tmp_path: Path) -> None:
    network = build(make_config, architecture)
    keep_layers(network, [0, 2])
    save(
        network,
        load_tokenizer(str(store(architecture))),
        tmp_path / "model",
        config_yaml=None,
        card="# Two blocks\n",
        example=batch(),
    )
    loaded = load(tmp_path / "model")
    assert torch.equal(outputs(loaded), outputs(network))
    keep_layers(loaded, [0])  # and again
    keep_layers(network, [0])
    assert torch.equal(outputs(loaded), outputs(network))


FRESH = """
import copy, pathlib, sys
import torch, transformers
transformers.logging.set_verbosity_error()
results = {}
for folder in pathlib.Path(sys.argv[1]).iterdir():
    head = getattr(transformers, folder.name.split("_", 1)[0])
    network, report = head.from_pretrained(folder, output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[problem], (folder.name, problem, report[problem])
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        results[folder.name] = network(**torch.load(sys.argv[2]))[0]
torch.save(results, sys.argv[3])
"""


@pytest.mark.slow
def test_plain_transformers_computes_the_same_in_a_fresh_process(make_config: Make, tmp_path: Path) -> None:
    expected = {}
    for architecture in SUPPORTED:
        for head in [SEQUENCE, "AutoModel"] + [CAUSAL] * (architecture in DECODERS):
            for kept in ((0,), (0, 2)):
                network = build(make_config, architecture, head)
                keep_layers(network, kept)
                name = f"{head}_{architecture}_{len(kept)}"
                network.save_pretrained(tmp_path / "networks" / name)
                expected[name] = outputs(network)
    torch.save(batch(), tmp_path / "batch.pt")
    results = tmp_path / "results.pt"
    command = [sys.executable, "-c", FRESH, str(tmp_path / "networks"), str(tmp_path / "batch.pt"), str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = torch.load(results)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def tiny_bert(depth: int) -> BertModel:
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 40}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network: BertModel = BertModel(BertConfig(num_hidden_layers=depth, initializer_range=0.3, **sizes))
    return network.eval()


@settings(max_examples=10)
@given(st.data())
def test_dropping_twice_is_dropping_once(data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, 6))
    first = data.draw(st.lists(st.integers(0, depth - 1), min_size=1, unique=True))
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, unique=True))
    composed = [sorted(first)[block] for block in second]
    twice, once = tiny_bert(depth), tiny_bert(depth)
    reference = outputs(skipping(once, composed))
    keep_layers(twice, first)
    keep_layers(twice, second)
    keep_layers(once, composed)
    assert torch.equal(outputs(twice), reference)
    assert torch.equal(outputs(once), reference)
    assert state(twice) == state(once)


@pytest.mark.parametrize(
    ("architecture", "values", "kept", "message"),
    [
        ("bert", {}, [], "blocks is empty; keep at least one of the blocks 0 to 2"),
        ("bert", {}, [1, 1, 0], r"blocks \[0, 1, 1\] repeats a block"),
        ("bert", {}, [0, 3], r"blocks \[0, 3\] is out of range; the network has the blocks 0 to 2"),
        ("bert", {}, [-1], r"blocks \[-1\] is out of range"),
        ("bert", {}, [0, 1.0], "blocks has 1.0, which is no int"),
        ("bert", {}, [True, 0], "blocks has True, which is no int"),
        ("bert", {}, np.array([0, 1]), "which is no int; give numbers from 0 to 2"),
        ("modernbert", {}, [1, 2], r"blocks \[1, 2\] drops block 0 of ModernBERT, .* block 1 would lose its norm"),
        ("albert", {"num_hidden_groups": 3}, [0, 1], "num_hidden_groups 3 and inner_group_num 1 spreads"),
        ("albert", {"inner_group_num": 2}, [0, 1], "num_hidden_groups 1 and inner_group_num 2 spreads"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, [0, 2], "scale_attn_by_inverse_layer_idx divides"),
        ("llama", {"no_rope_layers": [1, 1, 0]}, [0, 1], "The config's no_rope_layers may say something of each"),
        ("llama", {"per_layer_config": {2: {"skip": ["mlp"]}}}, [0, 1], "settings for single blocks"),
        ("t5", {}, [0, 1], "Cannot drop blocks of t5: block 0 of each of its stacks owns the relative position bias"),
        ("mt5", {}, [0, 1], "Cannot drop blocks of mt5: block 0 of each"),
        ("opt", {}, [0, 1], "Cannot drop blocks of opt: .* was never tested. Give one of albert, bert"),
    ],
)
def test_refusals_change_nothing(
    architecture: str, values: dict[str, object], kept: Sequence[int], message: str, make_config: Make
) -> None:
    network = build(make_config, architecture, "AutoModel", **values)
    before = state(network)
    with pytest.raises(ValueError, match=message) as raised:
        keep_layers(network, kept)
    assert "\n" not in str(raised.value)
    assert state(network) == before


def test_first_blocks_of_gpt2_keep_the_scale_of_their_number(make_config: Make, tmp_path: Path) -> None:
    network = build(make_config, "gpt2", scale_attn_by_inverse_layer_idx=True)
    reference = outputs(skipping(network, [0, 1]))
    keep_layers(network, [0, 1])
    network.save_pretrained(tmp_path)
    assert torch.equal(outputs(getattr(transformers, SEQUENCE).from_pretrained(tmp_path)), reference)


def test_lists_that_are_not_of_blocks_are_kept(make_config: Make) -> None:
    labels = {0: "a", 1: "b", 2: "c"}
    network = build(make_config, "llama", id2label=labels, eos_token_id=[3, 4, 5], exit_layers=[0, 2])
    keep_layers(network, [1])
    assert network.config.id2label == labels
    assert network.config.eos_token_id == [3, 4, 5]
    assert network.config.exit_layers == [0, 2]


def test_trained_decoder_generates_the_same_with_and_without_cache(tmp_path: Path) -> None:
    folder = Path(os.environ.get("TOOLKIT_DATA", "")).parent / "models" / "stories260K"
    if not (folder / "model.safetensors").is_file():
        pytest.skip("no folder models/stories260K beside TOOLKIT_DATA")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer("<s> Once upon a time", return_tensors="pt", add_special_tokens=False).input_ids
    whole = generate(network, ids)
    parameters = network.num_parameters()
    block = sum(weight.numel() for weight in transformer_blocks(network)[0].parameters())
    expected = generate(skipping(network, [0, 1, 3, 4]), ids, use_cache=False)
    keep_layers(network, [0, 1, 3, 4])
    assert network.num_parameters() == parameters - block
    assert network.lm_head.weight is network.model.embed_tokens.weight
    network.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    for one in (network, loaded):
        assert generate(one, ids) == generate(one, ids, use_cache=False) == expected
    assert expected != whole
