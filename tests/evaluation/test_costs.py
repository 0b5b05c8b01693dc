"""Counts against formulas, sizes against files, and latency that states what it measured."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, DebertaV2Config, PreTrainedModel, RobertaConfig, RobertaModel

from toolkit.evaluation import costs
from toolkit.evaluation.costs import (
    bytes_on_disk,
    latencies,
    latency,
    macs,
    num_nonzero,
    num_parameters,
    training_macs,
)
from toolkit.models.encoder import prunable_weights
from toolkit.pruning.masks import sparsity

WIDTH, FFN, LAYERS, VOCABULARY, CLASSES = 32, 64, 2, 50, 3


@pytest.fixture
def bert() -> PreTrainedModel:
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=FFN,
        max_position_embeddings=128,
        num_labels=CLASSES,
    )
    network: PreTrainedModel = transformers.BertForSequenceClassification(config)
    return network


def test_parameters_of_bert(bert: PreTrainedModel) -> None:
    embeddings = (VOCABULARY + 128 + 2) * WIDTH + 2 * WIDTH
    block = 4 * (WIDTH**2 + WIDTH) + (WIDTH * FFN + FFN) + (FFN * WIDTH + WIDTH) + 2 * 2 * WIDTH
    head = (WIDTH**2 + WIDTH) + (WIDTH * CLASSES + CLASSES)
    assert num_parameters(bert) == embeddings + LAYERS * block + head


def test_tied_parameters_count_once(bert: PreTrainedModel) -> None:
    network = BertForMaskedLM(bert.config)
    stored = {parameter.data_ptr(): parameter.numel() for parameter in network.parameters()}
    assert num_parameters(network) == sum(stored.values())


def test_zeros_are_counted_as_numpy_counts_them(bert: PreTrainedModel) -> None:
    weights = prunable_weights(bert)
    generator = torch.Generator().manual_seed(0)
    for number, weight in enumerate(weights.values()):
        weight.data[torch.rand(weight.shape, generator=generator) < number / len(weights)] = 0
    arrays = [weight.detach().numpy() for weight in weights.values()]
    zeros = sum((array == 0).sum() for array in arrays)
    assert sparsity(weights) == pytest.approx(zeros / sum(array.size for array in arrays), rel=1e-15)
    assert num_nonzero(bert) == sum(np.count_nonzero(p.detach().numpy()) for p in bert.parameters())


def test_sparsity_of_nothing() -> None:
    with pytest.raises(ValueError, match="Sparsity of no weights"):
        sparsity({})


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("batch", "length"), [(1, 128), (3, 17)])
def test_macs_of_bert(attention: str, batch: int, length: int, bert: PreTrainedModel) -> None:
    bert.set_attn_implementation(attention)
    projections = 4 * length * WIDTH**2
    products = 2 * length**2 * WIDTH  # queries with keys, and weights with values
    block = projections + products + 2 * length * WIDTH * FFN
    assert macs(bert, batch, length) == batch * (LAYERS * block + WIDTH**2 + WIDTH * CLASSES)


def test_macs_leave_the_network_and_the_random_numbers_alone(bert: PreTrainedModel) -> None:
    bert.train()
    before = torch.get_rng_state()
    macs(bert, length=8)
    assert bert.training
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("measure", [macs, latency])
def test_impossible_shapes(measure: Callable[..., object], bert: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="length is 129, but the network has 128 positions"):
        measure(bert, length=129)
    with pytest.raises(ValueError, match="batch is 0"):
        measure(bert, batch=0)


def test_positions_before_the_padding_are_not_counted() -> None:
    """RoBERTa begins behind its padding token's number: of 20 positions 18 are left."""
    config = RobertaConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=20, pad_token_id=1,
    )  # fmt: skip
    network = RobertaModel(config)
    assert macs(network, length=18) > 0
    with pytest.raises(ValueError, match="length is 19, but the network has 18 positions"):
        macs(network, length=19)


def test_bytes_are_those_of_the_weight_files(tmp_path: Path) -> None:
    for part in (1, 2):
        save_file({"weight": torch.zeros(100, part)}, tmp_path / f"model-{part}.safetensors")
    (tmp_path / "tokenizer.json").write_text("x" * 10_000)
    sizes = [(tmp_path / f"model-{part}.safetensors").stat().st_size for part in (1, 2)]
    assert bytes_on_disk(tmp_path) == sum(sizes)
    assert sum(sizes) >= 4 * (100 + 200)


def test_bytes_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no \*.safetensors"):
        bytes_on_disk(tmp_path)


def test_latency_states_what_it_measured_and_restores(bert: PreTrainedModel) -> None:
    bert.train()
    threads = torch.get_num_threads()
    measured = latency(bert, batch=2, length=8, threads=1, min_seconds=0.05)
    assert (measured.batch, measured.length, measured.threads) == (2, 8, 1)
    assert (measured.device, measured.dtype) == ("cpu", "float32")
    assert 0 < measured.median < 1e4
    assert measured.iqr >= 0
    assert bert.training
    assert torch.get_num_threads() == threads


def test_threads_are_restored_after_an_error(bert: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**inputs: object) -> None:
        assert torch.get_num_threads() == 1
        raise RuntimeError("out of memory")

    threads = torch.get_num_threads()
    monkeypatch.setattr(bert, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        latency(bert, length=8, threads=1)
    assert torch.get_num_threads() == threads


def test_longer_input_takes_longer(bert: PreTrainedModel) -> None:
    short, long = (latency(bert, batch, 128, min_seconds=0.2).median for batch in (1, 32))
    assert long > 2 * short


@pytest.mark.parametrize("options", [{"threads": 0}, {"min_seconds": 0.0}])
def test_impossible_measurements(options: dict[str, float], bert: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="both must be positive"):
        latency(bert, length=8, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "turns"), [(1e-4, costs.MIN_TURNS), (0.4, costs.MAX_TURNS)])
def test_latencies_are_measured_in_turns(
    seconds: float, turns: int, bert: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    other = BertForMaskedLM(bert.config)
    for name, network in (("first", bert), ("second", other)):
        forward = network.forward
        monkeypatch.setattr(
            network, "forward", lambda _name=name, _go=forward, **given: order.append(_name) or _go(**given)
        )
    first, second = latencies([bert, other], length=8, min_seconds=seconds)
    assert first.median > 0
    assert second.median > 0
    changes = sum(before != after for before, after in itertools.pairwise(order))
    assert changes == 2 * turns + 1  # As each is warmed up, too.


def test_a_training_step_costs_three_forward_passes(bert: PreTrainedModel) -> None:
    before = [parameter.grad for parameter in bert.parameters()]
    assert training_macs(bert, length=16) == 3 * macs(bert, length=16)
    assert [parameter.grad for parameter in bert.parameters()] == before


def test_deberta_which_gives_a_parameter_to_its_blocks_is_counted() -> None:
    """As every released DeBERTa-v2 and v3 does; counters that note modules fail on it."""
    config = DebertaV2Config(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2,
        intermediate_size=FFN, max_position_embeddings=64, relative_attention=True, pos_att_type=["p2c", "c2p"],
        position_buckets=16, norm_rel_ebd="layer_norm", share_att_key=True, pooler_hidden_size=WIDTH,
    )  # fmt: skip
    network = transformers.DebertaV2ForSequenceClassification(config)
    forward = macs(network, batch=1, length=16)
    assert forward > LAYERS * 16 * (4 * WIDTH**2 + 2 * WIDTH * FFN)
    assert 2.5 * forward < training_macs(network, batch=1, length=16) < 3.5 * forward


def test_frozen_blocks_at_the_bottom_cost_one(bert: PreTrainedModel) -> None:
    length = 16
    bert.bert.embeddings.requires_grad_(False)
    bert.bert.encoder.layer[0].requires_grad_(False)
    block = 4 * length * WIDTH**2 + 2 * length**2 * WIDTH + 2 * length * WIDTH * FFN
    head = WIDTH**2 + WIDTH * CLASSES
    no_gradient_of_the_input = 3 * length * WIDTH**2  # of query, key and value in the first block that is trained
    forward = 2 * block + head
    assert training_macs(bert, length=length) == forward + 2 * (block + head) - no_gradient_of_the_input
