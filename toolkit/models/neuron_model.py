"""The network that neuron selection leaves: an encoder cut above its highest used layer, a gather, a linear head.

Importing this module registers the architecture, so that the ``Auto…`` classes of `transformers` load a stored one::

    import toolkit.models.neuron_model
    AutoModelForSequenceClassification.from_pretrained(folder)
"""

import inspect
from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
    initialization,
)
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from toolkit.models.neuron_config import NeuronSelectionConfig
from toolkit.models.pooling import Pooling, pool
from toolkit.models.structure_storage import network_class

__all__ = [
    "NeuronSelectionConfig",
    "NeuronSelectionForSequenceClassification",
    "NeuronSelectionForTokenClassification",
]


class _Gather(nn.Module):
    """Take the kept dimensions of every layer: one vector of k neurons for each token."""

    def __init__(self, kept: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.kept = [(number, list(layer)) for number, layer in enumerate(kept) if layer]
        for number, layer in self.kept:
            self.register_buffer(f"layer_{number}", torch.tensor(layer), persistent=False)  # config.json has it

    def fill(self) -> None:
        """Write the numbers again: transformers builds networks without values, and only weights are stored."""
        for number, layer in self.kept:
            initialization.copy_(self.get_buffer(f"layer_{number}"), torch.tensor(layer))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return torch.cat(
            [states[number].index_select(-1, self.get_buffer(f"layer_{number}")) for number, _ in self.kept], -1
        )


class NeuronSelectionPreTrainedModel(PreTrainedModel):
    """An encoder, the gather of its kept neurons, and a linear head on them: logits = W·h[kept] + b."""

    config_class = NeuronSelectionConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    # Whatever the encoder supports: it chooses by itself.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: NeuronSelectionConfig) -> None:
        super().__init__(config)
        if config.encoder is None:
            raise ValueError("The config of the network has no encoder; give one with all its fields.")
        self.encoder = new_encoder(config.encoder, final_norm=config.final_norm)
        self.neurons = _Gather(config.kept)
        self.classifier = nn.Linear(config.num_neurons, len(config.id2label or ()))
        accepted = inspect.signature(self.encoder.forward).parameters
        self.takes_segments = "token_type_ids" in accepted
        # Decoders would store keys and values of a text that is never continued.
        self.options = {name: False for name in ("use_cache", "use_mems") if name in accepted}
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's token embeddings."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the encoder's token embeddings."""
        self.encoder.set_input_embeddings(value)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, _Gather):
            module.fill()

    def hidden_states(
        self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Compute the layers of the cut encoder, as the whole one does.

        Args:
            input_ids: Token ids ``(B, T)``.
            attention_mask: 1 at tokens, 0 at padding ``(B, T)``; ``None``: no padding.
            token_type_ids: Segments ``(B, T)``; left out where the encoder knows none.

        Returns:
            The layers, ``(B, T, D)`` each.
        """
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask, **self.options}
        if self.takes_segments:
            inputs["token_type_ids"] = token_type_ids
        output = self.encoder(**inputs, output_hidden_states=True, return_dict=True)
        # Without any block, several architectures report no layer: their output is the embeddings'.
        states: tuple[Tensor, ...] = tuple(output.hidden_states or ()) or (output.last_hidden_state,)
        return states


class NeuronSelectionForSequenceClassification(NeuronSelectionPreTrainedModel):
    """One label, or one value, for a text: the kept neurons are pooled over its tokens."""

    def __init__(self, config: NeuronSelectionConfig) -> None:
        if config.pooling is None:
            raise ValueError(f"pooling is null; to classify texts it must be one of {', '.join(get_args(Pooling))}.")
        super().__init__(config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        special_tokens_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Compute logits ``(B, K)``, and with labels the loss.

        Args:
            input_ids: Token ids ``(B, T)``.
            attention_mask: 1 at tokens, 0 at padding ``(B, T)``; ``None``: no padding.
            token_type_ids: Segments ``(B, T)``.
            special_tokens_mask: 1 at tokens that the tokenizer added ``(B, T)``; ``None``: those whose ids are in
                ``config.special_ids``. Only the mean asks for it.
            labels: Label ids ``(B,)``, or values ``(B,)`` of a regression.
            output_hidden_states: Whether the output holds the layers of the cut encoder.
            return_dict: Whether the output has names; else it is a tuple.
        """
        states = self.hidden_states(input_ids, attention_mask, token_type_ids)
        present = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if special_tokens_mask is None:
            special_tokens_mask = torch.isin(input_ids, input_ids.new_tensor(self.config.special_ids))
        rows = pool(self.neurons(states), present.bool(), special_tokens_mask.bool(), self.config.pooling)
        logits: Tensor = self.classifier(rows)
        output = SequenceClassifierOutput(
            loss=None if labels is None else self.loss_function(labels, logits, self.config),
            logits=logits,
            hidden_states=states if _asked(output_hidden_states, self.config.output_hidden_states) else None,
        )
        return output if _asked(return_dict, self.config.return_dict) else output.to_tuple()


class NeuronSelectionForTokenClassification(NeuronSelectionPreTrainedModel):
    """A label for each token, from the kept neurons of the token."""

    def __init__(self, config: NeuronSelectionConfig) -> None:
        if config.pooling is not None:
            raise ValueError(f"pooling is {config.pooling!r}; to classify tokens it must be null.")
        super().__init__(config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput | tuple[Tensor, ...]:
        """Compute logits ``(B, T, K)``, and with labels the loss.

        Args:
            input_ids: Token ids ``(B, T)``.
            attention_mask: 1 at tokens, 0 at padding ``(B, T)``; ``None``: no padding.
            token_type_ids: Segments ``(B, T)``.
            labels: Label ids ``(B, T)``; -100 is not scored.
            output_hidden_states: Whether the output holds the layers of the cut encoder.
            return_dict: Whether the output has names; else it is a tuple.
        """
        states = self.hidden_states(input_ids, attention_mask, token_type_ids)
        logits: Tensor = self.classifier(self.neurons(states))
        output = TokenClassifierOutput(
            loss=None if labels is None else self.loss_function(logits, labels, self.config),
            logits=logits,
            hidden_states=states if _asked(output_hidden_states, self.config.output_hidden_states) else None,
        )
        return output if _asked(return_dict, self.config.return_dict) else output.to_tuple()


def new_encoder(config: PreTrainedConfig, *, final_norm: bool) -> PreTrainedModel:
    """Make an encoder without a pooler, which no layer needs, with random weights of torch's default type.

    Args:
        config: The encoder's config.
        final_norm: Whether it keeps the norm behind its last block, where it has one. Without, its output is what
            the last block wrote, as it is inside a deeper network.
    """
    architecture: Any = AutoModel._model_mapping[type(config)]
    options = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(architecture).parameters else {}
    # With the heads and widths of its config's entry `structure`, where blocks were made narrower.
    narrowed = getattr(config, "structure", None) is not None
    maker = network_class(AutoModel, config) if narrowed else architecture
    encoder: PreTrainedModel = maker._from_config(config, dtype=torch.get_default_dtype(), **options)
    if not final_norm:
        for name, module in list(encoder.named_children()):
            if type(module).__name__.endswith("Norm"):
                setattr(encoder, name, nn.Identity())
    return encoder


def _asked(argument: bool | None, default: bool | None) -> bool:
    return bool(default if argument is None else argument)


AutoConfig.register(NeuronSelectionConfig.model_type, NeuronSelectionConfig, exist_ok=True)
AutoModelForSequenceClassification.register(
    NeuronSelectionConfig, NeuronSelectionForSequenceClassification, exist_ok=True
)
AutoModelForTokenClassification.register(NeuronSelectionConfig, NeuronSelectionForTokenClassification, exist_ok=True)
