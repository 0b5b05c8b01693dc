"""The config of a network of selected neurons: which encoder, which of its neurons, and how sentences are pooled."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig

from toolkit.models.pooling import Pooling


class NeuronSelectionConfig(PreTrainedConfig):
    """What a network of selected neurons is made of.

    Args:
        encoder: The config of the cut encoder, or the same as a mapping with its ``model_type``.
        kept: For each layer of ``output_hidden_states`` (0: the embeddings; blocks + 1 lists) the kept dimensions,
            ascending.
        pooling: How token vectors become a sentence's (see `toolkit.models.pooling.pool`); ``None``: a label for
            each token.
        special_ids: Ids of the tokens that the tokenizer adds around texts, which no mean takes in.
        final_norm: Whether the norm behind the last block, where the architecture has one, belongs to the last
            layer. It does only where no block was cut off.
        kwargs: What every config of `transformers` has: ``id2label``, ``problem_type``, …

    Raises:
        ValueError: If the encoder is of no known architecture, or the numbers do not fit it.
    """

    model_type = "neuron_selection"
    sub_configs = {"encoder": AutoConfig}  # noqa: RUF012  transformers' own form
    has_no_defaults_at_init = True

    def __init__(
        self,
        encoder: PreTrainedConfig | Mapping[str, Any] | None = None,
        kept: Sequence[Sequence[int]] = (),
        pooling: Pooling | None = None,
        special_ids: Sequence[int] = (),
        final_norm: bool = True,
        **kwargs: Any,
    ) -> None:
        self.encoder = _encoder_config(encoder) if isinstance(encoder, Mapping) else encoder
        self.kept = [list(layer) if isinstance(layer, list | tuple) else layer for layer in kept]
        self.pooling = pooling
        self.special_ids = list(special_ids)
        self.final_norm = final_norm
        super().__init__(**kwargs)
        if self.encoder is not None or self.kept:  # transformers makes an empty one to learn the defaults
            self._check()

    @property
    def num_neurons(self) -> int:
        """How many neurons are kept, over all layers."""
        return sum(map(len, self.kept))

    @property
    def hidden_size(self) -> int:
        """Width of the encoder's layers."""
        return int(self._of_encoder("hidden_size"))

    @property
    def num_hidden_layers(self) -> int:
        """Number of the encoder's blocks."""
        return int(self._of_encoder("num_hidden_layers"))

    @property
    def max_position_embeddings(self) -> int | None:
        """Number of the encoder's positions; ``None`` where they are relative."""
        positions: int | None = getattr(self.encoder, "max_position_embeddings", None)
        return positions

    @property
    def vocab_size(self) -> int:
        """Number of the encoder's tokens."""
        return int(self._of_encoder("vocab_size"))

    def _of_encoder(self, name: str) -> Any:
        if self.encoder is None:  # an AttributeError, as hasattr() is to say no
            raise AttributeError(f"The config has no encoder, so no {name}.")
        return getattr(self.encoder, name)

    def _check(self) -> None:
        """Refuse numbers that do not fit the encoder; config.json may come from anywhere."""
        if self.encoder is None or self.encoder.is_encoder_decoder:
            kind = "missing" if self.encoder is None else f"an encoder-decoder ({self.encoder.model_type})"
            raise ValueError(f"encoder is {kind}; give the config of a single stack of blocks, such as BERT's.")
        layers, width = self.num_hidden_layers + 1, self.hidden_size
        if len(self.kept) != layers:
            raise ValueError(
                f"kept has {len(self.kept)} lists, but the encoder has {layers} layers: the embeddings and "
                f"{layers - 1} blocks. Give one list of dimensions for each."
            )
        for number, layer in enumerate(self.kept):
            if not _ascending(layer, width):
                raise ValueError(
                    f"kept[{number}] is {_short(layer)}, expected ascending, different whole numbers from 0 to "
                    f"{width - 1}: dimensions of layer {number}."
                )
        if not self.num_neurons:
            raise ValueError("kept names no neuron at all; give at least one.")
        if self.pooling is not None and self.pooling not in get_args(Pooling):
            raise ValueError(
                f"pooling is {self.pooling!r}, expected one of {', '.join(get_args(Pooling))}, or null for tokens."
            )
        if not _ascending(self.special_ids, self.vocab_size):
            raise ValueError(
                f"special_ids is {_short(self.special_ids)}, expected ascending, different token ids from 0 to "
                f"{self.vocab_size - 1}."
            )
        if not isinstance(self.final_norm, bool):
            raise ValueError(f"final_norm is {self.final_norm!r}, expected true or false.")


def _encoder_config(values: Mapping[str, Any]) -> PreTrainedConfig:
    values = dict(values)
    model_type = values.pop("model_type", None)
    if model_type not in CONFIG_MAPPING or CONFIG_MAPPING[model_type] not in AutoModel._model_mapping:
        raise ValueError(f"encoder has the model_type {model_type!r}; give an encoder of transformers, such as 'bert'.")
    config: PreTrainedConfig = CONFIG_MAPPING[model_type](**values)
    return config


def _ascending(numbers: object, end: int) -> bool:
    """Tell whether something is a list of ascending, different whole numbers in [0, end)."""
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        return False
    return numbers == sorted({*numbers}) and all(0 <= number < end for number in numbers)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
