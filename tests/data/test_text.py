"""Plain text for masked language modelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from toolkit.data import Text
from toolkit.data.masking import Mask
from toolkit.data.text import encode_lines
from toolkit.data.text_sources import task_texts


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.txt", "b.txt")]
    paths[0].write_text("\n".join(f"the cat sees {number} dogs\n" for number in range(30)))
    paths[1].write_text("\n".join(f"she walks under the bridge of city {number}" for number in range(70)))
    return paths


@pytest.fixture
def make(files: list[Path], tiny_network: Path, tmp_path: Path) -> Any:
    def make(**options: Any) -> Text:
        defaults: dict[str, Any] = {"network": str(tiny_network), "cache": tmp_path / "cache", "batch_size": 10}
        return Text(files, **(defaults | options))

    return make


def test_every_line_is_in_train_or_dev(make: Any, tiny_network: Path, files: list[Path]) -> None:
    data = make(dev_fraction=0.2)
    data.prepare_data()
    data.setup("fit")
    assert (len(data.split("train")), len(data.split("dev"))) == (80, 20)
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    lines = [line for file in files for line in file.read_text().split("\n") if line]
    rows = [ids for split in ("train", "dev") for ids in data.split(split)["input_ids"]]
    assert sorted(rows) == sorted(tokenizer(lines)["input_ids"])


def tokens_of(data: Text, split: str) -> set[tuple[int, ...]]:
    return {tuple(ids) for ids in data.split(split)["input_ids"]}


def test_no_text_is_trained_on_and_held_out(
    make: Any, files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [line for file in files for line in file.read_text().split("\n") if line]
    # The tokenizer knows neither upper case nor white space: these are no other texts.
    files[0].write_text("\n".join(lines + [f" {line.upper()}" for line in lines]))
    files.append(tmp_path / "c.txt")
    files[2].write_text("\n".join(lines[::2]))
    caplog.set_level("INFO")
    data = make(dev_fraction=0.3)
    train, dev = (tokens_of(data, split) for split in ("train", "dev"))
    assert (len(data.split("train")), len(data.split("dev"))) == (70, 30)
    assert len(train | dev) == 100
    assert "220 of 320 texts repeat the tokens of another, and are left out" in caplog.text


def test_what_a_task_and_a_file_have_in_common_is_not_trained_on_and_held_out(
    tiny_network: Path, tmp_path: Path
) -> None:
    (tmp_path / "same.txt").write_text("\n".join(task_texts(["synthetic_sentiment"], size=100)))
    options: dict[str, Any] = {"size": 100, "network": str(tiny_network), "dev_fraction": 0.3}
    alone = Text(sentences_of=["synthetic_sentiment"], **options)
    data = Text([tmp_path / "same.txt"], sentences_of=["synthetic_sentiment"], **options)
    for split in ("train", "dev"):
        assert tokens_of(data, split) == tokens_of(alone, split)
    assert not tokens_of(data, "train") & tokens_of(data, "dev")


def test_rows_of_a_long_text_are_on_one_side(tiny_network: Path, tmp_path: Path) -> None:
    words = ["cat", "dog", "man", "woman", "city", "river", "book", "song", "film", "walk"]
    (tmp_path / "long.txt").write_text("\n".join(" ".join([word] * 40) for word in words))
    data = Text([tmp_path / "long.txt"], network=str(tiny_network), max_length=12, dev_fraction=0.3)
    sides = [{ids[1] for ids in data.split(split)["input_ids"]} for split in ("train", "dev")]
    assert [len(side) for side in sides] == [7, 3]
    assert not sides[0] & sides[1]
    assert len(data.split("dev")) == 3 * 4
    assert sorted(data.split("train")["index"][:] + data.split("dev")["index"][:]) == list(range(40))


def test_one_text_cannot_be_split(tiny_network: Path, tmp_path: Path) -> None:
    (tmp_path / "line.txt").write_text("the cat sees the dog " * 30)
    with pytest.raises(ValueError, match=r"there is only one text.*put sentences or paragraphs into lines"):
        Text([tmp_path / "line.txt"], network=str(tiny_network), max_length=12).setup()


def test_long_lines_continue_in_further_rows(tiny_network: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    text = "the cat sees the dog and she reads a good book"
    data = encode_lines([text, "a"], tokenizer, 6)
    special = set(tokenizer.all_special_ids)
    tokens = [token for ids in data["input_ids"] for token in ids if token not in special]
    assert (
        tokens == tokenizer([text, "a"], add_special_tokens=False)["input_ids"][0] + tokenizer("a")["input_ids"][1:-1]
    )
    assert max(map(len, data["input_ids"])) == 6
    assert data["index"][:] == list(range(len(data)))


@pytest.mark.parametrize("whole_word", [False, True])
def test_a_network_learns_the_masked_tokens_only(whole_word: bool, make: Any, tiny_network: Path) -> None:
    data = make(whole_word=whole_word)
    network = AutoModelForMaskedLM.from_pretrained(tiny_network)
    special = torch.tensor(data.tokenizer.all_special_ids)
    original = data.split("train")
    for batch in data.train_dataloader():
        index = batch.pop("index")
        assert network(**batch).loss.isfinite()
        masked = batch["labels"] != -100
        for row, number in enumerate(index.tolist()):
            ids = torch.tensor(original[original["index"][:].index(number)]["input_ids"])
            labels, inputs = batch["labels"][row][: len(ids)], batch["input_ids"][row][: len(ids)]
            chosen = masked[row][: len(ids)]
            assert torch.equal(labels[chosen], ids[chosen])
            assert torch.equal(inputs[~chosen], ids[~chosen])
        assert not torch.isin(batch["labels"][masked], special).any()
        assert not masked[batch["attention_mask"] == 0].any()


def test_masked_fraction(make: Any) -> None:
    data = make(mask_fraction=0.3, batch_size=5)
    masked = tokens = 0
    for epoch in range(20):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            masked += int((batch["labels"] != -100).sum())
            tokens += int(batch["attention_mask"].sum()) - 2 * len(batch["labels"])
    assert masked / tokens == pytest.approx(0.3, abs=4 * (0.21 / tokens) ** 0.5)


def test_words_are_masked_as_a_whole(tiny_network: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    data = encode_lines(["walking xyzzy cat", "the quixotic dogs walking in a city"] * 40, tokenizer, 64, words=True)
    batch = Mask(tokenizer, 0.4, whole_word=True, seed=0)(data[:])
    masked = batch["labels"] != -100
    assert masked.any()
    for row, ids in enumerate(data["input_ids"]):
        pieces = tokenizer.convert_ids_to_tokens(ids)
        for position, piece in enumerate(pieces):
            if piece.startswith("##"):
                assert masked[row, position] == masked[row, position - 1]
    assert (batch["input_ids"][masked] == tokenizer.mask_token_id).all()


def masks(data: Text, epoch: int) -> dict[int, torch.Tensor]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return {
        int(number): labels for batch in loader for number, labels in zip(batch["index"], batch["labels"], strict=True)
    }


def same(first: dict[int, torch.Tensor], second: dict[int, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[row], second[row]) for row in first)


def test_masks_change_with_the_epoch_and_repeat_with_the_seed(make: Any) -> None:
    state = torch.get_rng_state()
    assert same(masks(make(), 1), masks(make(), 1))
    assert not same(masks(make(), 1), masks(make(), 2))
    assert not same(masks(make(), 1), masks(make(seed=1), 1))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("whole_word", [False, True])
def test_masks_of_a_row_do_not_depend_on_its_batch(whole_word: bool, make: Any) -> None:
    """Nor, with it, on the number of processes that share the batches."""
    few, many = (masks(make(batch_size=size, whole_word=whole_word), 1) for size in (2, 8))
    shared = few.keys() & many.keys()
    assert len(shared) > 10
    for row in shared:
        width = min(len(few[row]), len(many[row]))  # Beyond it there is padding.
        assert torch.equal(few[row][:width], many[row][:width])
        assert (few[row][width:] == -100).all()
        assert (many[row][width:] == -100).all()


def test_dev_is_masked_the_same_way_each_time(make: Any) -> None:
    loader = make().val_dataloader()
    first = [batch["labels"] for batch in loader]
    loader.sampler.set_epoch(3)  # As Lightning does, also before it evaluates.
    assert all(torch.equal(labels, batch["labels"]) for labels, batch in zip(first, loader, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_fraction": 0.0}, r"data\.mask_fraction is 0\.0"),
        ({"dev_fraction": 1.5}, r"data\.dev_fraction is 1\.5"),
        ({"eval_batch_size": 0}, r"data\.eval_batch_size is 0"),
    ],
)
def test_impossible_options_are_errors_at_once(options: dict[str, Any], message: str, make: Any) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_broken_files_are_errors(tiny_network: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.files is empty"):
        Text([])
    (tmp_path / "blank").write_text("\n \n")
    with pytest.raises(ValueError, match="blank: no text; every line is blank"):
        Text([tmp_path / "blank"], network=str(tiny_network)).setup()
    with pytest.raises(FileNotFoundError, match="nothing: no such file"):
        Text([tmp_path / "nothing"], network=str(tiny_network)).setup()
    with pytest.raises(ValueError, match="no split 'test'"):
        Text([tmp_path / "blank"], network=str(tiny_network)).split("test")


def test_tokenizer_without_a_mask(tiny_network: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_network)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path / "unmasked")
    (tmp_path / "unmasked" / "config.json").write_bytes((tiny_network / "config.json").read_bytes())
    with pytest.raises(ValueError, match="has no mask token"):
        Text([tmp_path / "f"], network=str(tmp_path / "unmasked")).tokenizer.get_vocab()
