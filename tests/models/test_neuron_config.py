"""What a config says of itself survives a file, and numbers that do not fit are refused, wherever they come from."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, BertConfig, T5Config

from toolkit.models.encoder import max_positions
from toolkit.models.neuron_config import NeuronSelectionConfig

_SIZES: dict[str, Any] = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 30}


def values(**changed: Any) -> dict[str, Any]:
    encoder = BertConfig(num_hidden_layers=2, max_position_embeddings=40, **_SIZES)
    return {"encoder": encoder, "kept": [[0, 7], [], [3]], "pooling": "mean", "special_ids": [2, 3], **changed}


def test_file_holds_everything(tmp_path: Path) -> None:
    config = NeuronSelectionConfig(**values(final_norm=False, id2label={0: "a", 1: "b", 2: "c"}))
    config.save_pretrained(tmp_path)
    read = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(read, NeuronSelectionConfig)
    assert isinstance(read.encoder, BertConfig)
    assert config.encoder is not None
    assert read.encoder.to_dict() == config.encoder.to_dict()
    assert (read.kept, read.pooling, read.special_ids, read.final_norm) == ([[0, 7], [], [3]], "mean", [2, 3], False)
    assert read.id2label == {0: "a", 1: "b", 2: "c"}
    assert (read.num_neurons, read.hidden_size, read.num_hidden_layers, read.vocab_size) == (3, 8, 2, 30)
    assert read.max_position_embeddings == max_positions(read) == 40


def test_positions_of_roberta_leave_room_for_its_padding() -> None:
    encoder = AutoConfig.for_model("roberta", num_hidden_layers=2, max_position_embeddings=40, **_SIZES)
    assert max_positions(NeuronSelectionConfig(**values(encoder=encoder))) == 38


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kept": [[0], [1]]}, "kept has 2 lists, but the encoder has 3 layers"),
        ({"kept": [[0], [1], [8]]}, r"kept\[2\] is \[8\], expected ascending, different whole numbers from 0 to 7"),
        ({"kept": [[-1], [], []]}, r"kept\[0\] is \[-1\]"),
        ({"kept": [[], [4, 2], []]}, r"kept\[1\] is \[4, 2\]"),
        ({"kept": [[], [4, 4], []]}, r"kept\[1\] is \[4, 4\]"),
        ({"kept": [[], [1.0], []]}, r"kept\[1\] is \[1.0\]"),
        ({"kept": [[], [True], []]}, r"kept\[1\] is \[True\]"),
        ({"kept": [[], 3, []]}, r"kept\[1\] is 3"),
        ({"kept": [list(range(9)) * 20, [], []]}, r"kept\[0\] is \[0, 1, .*\.\.\., expected"),
        ({"kept": [[], [], []]}, "kept names no neuron at all"),
        ({"encoder": None}, "encoder is missing"),
        ({"encoder": T5Config()}, r"encoder is an encoder-decoder \(t5\)"),
        ({"encoder": {"hidden_size": 8}}, "encoder has the model_type None"),
        ({"encoder": {"model_type": "own", "auto_map": {"AutoModel": "x.py"}}}, "encoder has the model_type 'own'"),
        ({"encoder": {"model_type": "neuron_selection"}}, "encoder has the model_type 'neuron_selection'"),
        ({"pooling": "max"}, "pooling is 'max', expected one of mean, first, last, or null"),
        ({"special_ids": [30]}, r"special_ids is \[30\], expected ascending, different token ids from 0 to 29"),
        ({"final_norm": "no"}, "final_norm is 'no', expected true or false"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeuronSelectionConfig(**values(**changed))
