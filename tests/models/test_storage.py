"""What is stored loads in plain transformers and computes the same, bit by bit; or nothing is stored."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from toolkit.evaluation.costs import bytes_on_disk
from toolkit.models.deployment import neuron_network
from toolkit.models.encoder import prunable_weights
from toolkit.models.loading import load_network
from toolkit.models.pretrained import load_tokenizer
from toolkit.models.sparse_storage import SPARSE_FILE, information_bound, read_sparse
from toolkit.models.storage import densify, load, save, sparsify
from toolkit.tasks import TASKS

Store = Callable[..., Path]
MNLI = TASKS["mnli"]
CARD = "# Sparse network\n"


def example(tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    tokens = tokenizer(["w1 w2 w3", "w4 w5"], padding=True, return_tensors="pt")
    return {**tokens, "labels": torch.tensor([0, 1]), "index": torch.tensor([5, 6])}


@torch.no_grad()
def outputs(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    output: Tensor = network(**tokenizer(["w1 w9", "w4 w5 w6"], padding=True, return_tensors="pt"))[0]
    return output


@pytest.fixture
def bert(store: Store) -> PreTrainedModel:
    return load_network(str(store("bert")), MNLI)


def test_stored_network_loads_everywhere(architecture: str, store: Store, tmp_path: Path) -> None:
    source = str(store(architecture))
    network, tokenizer = load_network(source, MNLI), load_tokenizer(source)
    for weight in prunable_weights(network).values():
        weight.data[weight.abs() < 0.1] = 0
    network.train()
    network.base_model.eval()  # modes may be mixed
    modes = [module.training for module in network.modules()]
    folder = tmp_path / "run" / "model"
    save(network, tokenizer, folder, config_yaml="seed_everything: 1\n", card=CARD, example=example(tokenizer))

    assert [module.training for module in network.modules()] == modes
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert (folder / "recipe.yaml").read_text() == "seed_everything: 1\n"
    network.eval()
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    for loaded in (plain, load(folder), load_network(str(folder), MNLI)):
        assert type(loaded) is type(network)
        assert not loaded.training
        assert torch.equal(outputs(loaded, tokenizer), outputs(network, tokenizer))
        assert loaded.config.id2label == dict(enumerate(MNLI.labels))
        for name, weight in prunable_weights(loaded).items():
            assert torch.equal(weight == 0, network.get_parameter(name) == 0)
    assert AutoTokenizer.from_pretrained(folder)("w1 w2")["input_ids"] == tokenizer("w1 w2")["input_ids"]


@pytest.mark.parametrize(
    ("head", "tag"),
    [
        ("AutoModel", "feature-extraction"),
        ("AutoModelForMaskedLM", "fill-mask"),
        ("AutoModelForTokenClassification", "token-classification"),
    ],
)
def test_other_heads(head: str, tag: str, store: Store, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    network = getattr(transformers, head).from_pretrained(store("bert", head))
    save(network, tokenizer, tmp_path / "model", config_yaml=None, card=CARD, example=example(tokenizer))
    loaded = load(tmp_path / "model")
    assert type(loaded) is type(network)
    assert torch.equal(outputs(loaded, tokenizer), outputs(network, tokenizer))
    assert not (tmp_path / "model" / "recipe.yaml").exists()
    _, metadata, text = (tmp_path / "model" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(metadata)["pipeline_tag"] == tag
    assert yaml.safe_load(metadata)["library_name"] == "transformers"
    assert text.strip() == CARD.strip()


def test_how_rows_were_cut_and_padded_is_not_stored(bert: PreTrainedModel, store: Store, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(store("bert")))
    examples = example(tokenizer)
    tokenizer(["w1 w2 w3", "w1"], truncation=True, max_length=3, padding="max_length")
    save(bert, tokenizer, tmp_path / "model", config_yaml=None, card=CARD, example=examples)
    stored = json.loads((tmp_path / "model" / "tokenizer.json").read_text())
    assert stored["truncation"] is stored["padding"] is None


def test_metadata_of_the_card_is_kept(
    bert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    card = "---\nlicense: mit\n---\n\n# Mine\n"
    save(bert, tokenizer, tmp_path / "model", config_yaml=None, card=card, example=example(tokenizer))
    assert (tmp_path / "model" / "README.md").read_text() == card


def test_bfloat16_is_stored_as_it_is(bert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    network = bert.to(torch.bfloat16)
    save(network, tokenizer, tmp_path / "model", config_yaml=None, card=CARD, example=example(tokenizer))
    loaded = load(tmp_path / "model")
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded.classifier.weight, network.classifier.weight.float())


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def double_the_head(network: PreTrainedModel) -> None:
    network.classifier.__class__ = Doubled


def drop_a_block(network: PreTrainedModel) -> None:
    del network.bert.encoder.layer[1]


def narrow_a_block(network: PreTrainedModel) -> None:
    block = network.bert.encoder.layer[1]
    block.intermediate.dense = nn.Linear(16, 8)
    block.output.dense = nn.Linear(8, 16)


def lose_a_weight(network: PreTrainedModel) -> None:
    network.classifier.weight.data[0, 0] = float("nan")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (double_the_head, RuntimeError, "Outputs differ by up to .* after loading; nothing was stored"),
        (
            drop_a_block,
            RuntimeError,
            "16 weights differ after loading, among them bert.encoder.layer.2.*nothing was stored",
        ),
        (narrow_a_block, ValueError, "Cannot load"),
        (lose_a_weight, ValueError, "classifier.weight has NaN or infinite entries"),
    ],
)
def test_what_does_not_load_back_is_not_stored(
    damage: Callable[[PreTrainedModel], None],
    error: type[Exception],
    message: str,
    bert: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
) -> None:
    damage(bert)
    parent = tmp_path / "run"
    with pytest.raises(error, match=message) as raised:
        save(bert, tokenizer, parent / "model", config_yaml=None, card=CARD, example=example(tokenizer))
    assert "\n" not in str(raised.value)
    assert not parent.exists() or not list(parent.iterdir())


def test_earlier_network_stays_unless_it_is_to_go(
    bert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")

    def store_again(overwrite: bool) -> None:
        save(bert, tokenizer, folder, config_yaml=None, card=CARD, example=example(tokenizer), overwrite=overwrite)

    with pytest.raises(FileExistsError, match="is not empty; choose another folder"):
        store_again(overwrite=False)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    store_again(overwrite=True)
    assert not (folder / "notes.txt").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    load(folder)


def test_failed_overwriting_keeps_the_earlier_network(
    bert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    save(bert, tokenizer, folder, config_yaml=None, card=CARD, example=example(tokenizer))
    before = outputs(load(folder), tokenizer)
    double_the_head(bert)
    with pytest.raises(RuntimeError, match="Outputs differ"):
        save(bert, tokenizer, folder, config_yaml=None, card=CARD, example=example(tokenizer), overwrite=True)
    assert torch.equal(outputs(load(folder), tokenizer), before)


def test_load_names_what_is_wrong(tmp_path: Path, store: Store) -> None:
    with pytest.raises(FileNotFoundError, match="There is no folder runs/none"):
        load("runs/none")
    with pytest.raises(FileNotFoundError, match=r"it has no config\.json"):
        load(tmp_path)
    folder = store("bert")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"BertModel"', '"BertForNextSentencePrediction"'))
    with pytest.raises(ValueError, match="no AutoModel class for BertForNextSentencePrediction"):
        load(folder)
    transformers.BertConfig().save_pretrained(folder)
    with pytest.raises(ValueError, match="names no architecture"):
        load(folder)


def prune(network: PreTrainedModel) -> PreTrainedModel:
    for weight in prunable_weights(network).values():
        weight.data[weight.abs() < weight.abs().quantile(0.8)] = 0
    first = next(iter(prunable_weights(network).values()))
    first.data[0, 0] = -0.0
    return network


def assert_same_bits(one: PreTrainedModel, other: PreTrainedModel) -> None:
    expected, found = one.state_dict(), other.state_dict()
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        assert weight.dtype == found[name].dtype
        assert weight.numpy().tobytes() == found[name].numpy().tobytes(), name


def test_sparse_network_is_the_same(architecture: str, store: Store, tmp_path: Path) -> None:
    source = str(store(architecture))
    network, tokenizer = prune(load_network(source, MNLI)), load_tokenizer(source)
    folder = tmp_path / "run" / "model"
    difference = save(network, tokenizer, folder, config_yaml=None, card=CARD, example=example(tokenizer), sparse=True)
    assert difference == 0.0
    assert [file.name for file in folder.glob("*.safetensors*")] == [SPARSE_FILE]
    loaded = load(folder)
    assert type(loaded) is type(network)
    assert not loaded.training
    assert loaded.name_or_path == str(folder)
    network.eval()
    assert_same_bits(loaded, network)
    assert torch.equal(outputs(loaded, tokenizer), outputs(network, tokenizer))
    assert loaded.config.id2label == dict(enumerate(MNLI.labels))
    for weight in loaded.parameters():
        weight.data.add_(1)  # memory of its own
    assert_same_bits(load(folder), network)
    with pytest.raises(OSError, match=r"no file named .*model\.safetensors"):
        transformers.AutoModelForSequenceClassification.from_pretrained(folder)


def test_two_lines_make_a_plain_folder(store: Store, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """There and back: the same bytes."""
    network = prune(load_network(str(store("bert")), MNLI))
    dense, sparse, plain = (tmp_path / name for name in ("dense", "sparse", "plain"))
    save(network, tokenizer, dense, config_yaml="seed: 1\n", card=CARD, example=example(tokenizer))
    (dense / "row.json").write_text("{}")
    (dense / "pytorch_model.bin").write_bytes(b"weights in another form")
    (dense / "checkpoint").mkdir()
    sparsify(dense, sparse)
    densify(str(sparse), str(plain))
    files = {file.name for file in dense.iterdir()} - {"row.json", "pytorch_model.bin", "checkpoint"}
    assert {file.name for file in sparse.iterdir()} == files - {"model.safetensors"} | {SPARSE_FILE}
    assert {file.name for file in plain.iterdir()} == files
    for name in files:
        assert (plain / name).read_bytes() == (dense / name).read_bytes(), name
    assert_same_bits(transformers.AutoModelForSequenceClassification.from_pretrained(plain), network)
    card = (sparse / "README.md").read_text()
    assert 'densify("this folder", "plain folder")' in card
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "lightning-compression-toolkit"
    assert {path.name for path in tmp_path.iterdir()} == {"bert-AutoModel", "dense", "sparse", "plain"}


def test_card_of_a_sparse_network(bert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    save(bert, tokenizer, sparse, config_yaml=None, card=CARD, example=example(tokenizer), sparse=True)
    sparsify(sparse, tmp_path / "again")
    densify(sparse, tmp_path / "plain")
    card, again, plain = ((tmp_path / name / "README.md").read_text() for name in ("sparse", "again", "plain"))
    assert "library_name: lightning-compression-toolkit" in card
    assert card.count("densify(") == 1
    assert again == card
    assert "library_name: transformers" in plain
    assert "densify" not in plain


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(
    sparse: bool, dtype: Any, bert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    network, folder, inputs = prune(bert), tmp_path / "model", example(tokenizer)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    options: dict[str, Any] = {"config_yaml": None, "card": CARD, "example": inputs}
    difference = save(network, tokenizer, folder, sparse=sparse, dtype=dtype, **options)
    loaded = load(folder)
    for name, weight in loaded.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(before[name].to(getattr(torch, dtype)).float(), weight)
        assert torch.equal(before[name], network.state_dict()[name])
    inputs = {name: tensor for name, tensor in inputs.items() if name not in ("labels", "index")}
    with torch.no_grad():
        changed = (network.eval()(**inputs).logits - loaded(**inputs).logits).abs().max().item()
    assert difference > 0
    assert math.isclose(difference, changed, rel_tol=1e-3, abs_tol=1e-7)
    card = (folder / "README.md").read_text()
    assert f"The weights are rounded to {dtype}. On 2 rows" in card
    assert f"change by up to {difference:.3g}." in card
    if sparse:
        densify(folder, tmp_path / "plain")
        assert_same_bits(transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain"), loaded)
    else:
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
        assert plain.dtype == getattr(torch, dtype)
        assert json.loads((folder / "config.json").read_text())["dtype"] == dtype


def test_half_precision_of_a_stored_network(
    bert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    network = prune(bert)
    network.classifier.weight.data[0, 0] = 1e-9
    save(network, tokenizer, tmp_path / "dense", config_yaml=None, card=CARD, example=example(tokenizer))
    with pytest.warns(UserWarning, match="1 weights that are not zero become zero in float16"):
        sparsify(tmp_path / "dense", tmp_path / "half", dtype="float16")
    for name, weight in load(tmp_path / "half").state_dict().items():
        assert torch.equal(weight, network.state_dict()[name].half().float())
    network.classifier.weight.data[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"classifier\.weight has a weight of 1e\+06, too large for float16; use bf"):
        save(
            network,
            tokenizer,
            tmp_path / "none",
            config_yaml=None,
            card=CARD,
            example=example(tokenizer),
            sparse=True,
            dtype="float16",
        )
    assert {path.name for path in tmp_path.iterdir()} == {"bert-AutoModel", "dense", "half"}


@pytest.mark.parametrize(("architecture", "head"), [("bert", "AutoModelForMaskedLM"), ("gpt2", "AutoModelForCausalLM")])
def test_tied_weights_are_stored_once(architecture: str, head: str, store: Store, tmp_path: Path) -> None:
    source = store(architecture, head)
    folder = tmp_path / "sparse"
    sparsify(source, folder)
    assert read_sparse(folder / SPARSE_FILE)[0].keys() == load_file(source / "model.safetensors").keys()
    network, loaded = load(source), load(folder)
    assert_same_bits(loaded, network)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    if network.can_generate():
        assert loaded.generation_config.to_dict() == network.generation_config.to_dict()


def test_network_of_selected_neurons(store: Store, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    encoder = transformers.AutoModel.from_pretrained(store("bert"))
    network = neuron_network(
        encoder,
        [3, 21, 40],
        weight=torch.randn(3, 3),
        bias=torch.randn(3),
        task=MNLI,
        tokenizer=tokenizer,
        pooling="mean",
    )
    for name in ("sparse", "half"):
        options: dict[str, Any] = {"config_yaml": None, "card": CARD, "example": example(tokenizer), "sparse": True}
        save(network, tokenizer, tmp_path / name, dtype="bfloat16" if name == "half" else "float32", **options)
    assert_same_bits(load(tmp_path / "sparse"), network)
    assert torch.equal(load(tmp_path / "half").classifier.weight, network.classifier.weight.bfloat16().float())
    densify(tmp_path / "sparse", tmp_path / "plain")
    assert_same_bits(load(tmp_path / "plain"), network)
    assert "library_name: lightning-compression-toolkit" in (tmp_path / "plain" / "README.md").read_text()


def test_bytes_of_a_sparse_network(store: Store, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    source = store("bert", "AutoModelForSequenceClassification", hidden_size=64, intermediate_size=256)
    network = prune(load(source))
    save(network, tokenizer, tmp_path / "model", config_yaml=None, card=CARD, example=example(tokenizer), sparse=True)
    size = (tmp_path / "model" / SPARSE_FILE).stat().st_size
    assert bytes_on_disk(tmp_path / "model") == size
    bound = information_bound(network.state_dict())
    header = int.from_bytes((tmp_path / "model" / SPARSE_FILE).read_bytes()[:8], "little") + 8
    assert bound <= size - header <= 1.01 * bound


def test_sparse_folder_that_does_not_fit_is_refused(
    bert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    save(prune(bert), tokenizer, folder, config_yaml=None, card=CARD, example=example(tokenizer), sparse=True)
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"num_hidden_layers": 4}, "lacks bert.encoder.layer.3"),
        ({"num_hidden_layers": 2}, "has a surplus bert.encoder.layer.2"),
        ({"intermediate_size": 32}, "has another shape for bert.encoder.layer.0"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=f"{message}.* it does not belong to config.json"):
            load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    whole = (folder / SPARSE_FILE).read_bytes()
    (folder / SPARSE_FILE).write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="cannot be read"):
        densify(folder, tmp_path / "plain")
    (folder / SPARSE_FILE).write_bytes(whole)
    with pytest.raises(FileExistsError, match="is not empty"):
        densify(folder, folder)
    densify(folder, tmp_path / "plain")
    with pytest.raises(FileNotFoundError, match=f"holds no {SPARSE_FILE}; give a folder"):
        densify(tmp_path / "plain", tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"bert-AutoModel", "model", "plain"}
