"""What is stored loads in plain transformers and computes the same, bit by bit; or nothing is stored."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from toolkit.models.encoder import load_network, load_tokenizer, prunable_weights
from toolkit.models.storage import load, save
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
