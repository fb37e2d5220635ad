"""Keys of a config.json, asked for one by one: by type, or as what must change nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from kvbench.files.foreign import FormatError

# Keys that change the mathematics wherever they stand, and the values that change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        (
            *("attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "clip_qkv"),
            *("quantization_config", "compression_config", "attention_sinks", "sink_tokens"),
            *("kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "moe_intermediate_size"),
            *("num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok"),
            *("attention_chunk_size", "hidden_size_per_layer_input", "attn_logit_scale"),
            *("attention_multiplier", "mrope_section", "mamba_d_state", "linear_key_head_dim"),
            *("global_head_dim", "num_global_key_value_heads", "altup_num_inputs", "laurel_rank"),
            *("per_layer_config", "alibi", "add_swiglu_limit", "swiglu_limit"),
        ),
        (None, False, 0),
    ),
    **dict.fromkeys(("logits_scaling", "residual_multiplier", "embedding_multiplier"), (None, 1)),
    **dict.fromkeys(("use_bidirectional_attention", "is_encoder_decoder"), (None, False)),
    **dict.fromkeys(("add_cross_attention", "attention_k_eq_v", "enable_moe_block"), (None, False)),
    "scale_attn_by_inverse_layer_idx": (None, False),
    "scale_attn_weights": (None, True),
}
MOST_LAYERS = 10_000
ACTIVATIONS = {
    **{"silu": "silu", "swish": "silu", "gelu": "gelu"},
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh"), "gelu_new"),
}


class ConfigFileError(FormatError):
    """A config.json that describes no model of ours, and why, in one line."""


def check_neutral(given: Mapping[str, Any]) -> None:
    """Raise ConfigFileError for the first key of NEUTRAL that says something."""
    for key, neutral in NEUTRAL.items():
        if given.get(key) not in neutral:
            raise ConfigFileError(
                f"{key} is {short(given[key])}, which is not implemented; "
                f"allowed: {short(neutral[-1])}, or no such key"
            )


class Keys:
    """Keys of a config.json, each asked for by its type. Raises ConfigFileError naming it."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given, self.kind = dict(given), given["model_type"]

    def size(self, key: str, default: int | None = None, most: int = 2**31) -> int:
        """A whole number of at least 1."""
        value = self.given.get(key, default)
        if type(value) is not int or not 1 <= value <= most:
            self.refuse(key, value, f"a whole number from 1 to {most}")
        return value

    def layers(self, key: str) -> int:
        """The number of layers, each of which is described on its own."""
        return self.size(key, most=MOST_LAYERS)

    def number(self, key: str, default: float | None = None) -> float:
        """A number above 0."""
        value = self.given.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            self.refuse(key, value, "a number above 0")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where it is left out."""
        value = self.given.get(key, False)
        if not isinstance(value, bool):
            self.refuse(key, value, "true or false")
        return value

    def each_layer(self, key: str, n: int, known: tuple[Any, ...]) -> list[Any] | None:
        """A list of one known value a layer; None where it is left out."""
        value = self.given.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != n:
            self.refuse(key, value, f"a list of {n}, one for each layer")
        for one in value:
            if one not in known:
                self.refuse(key, one, f"{' or '.join(map(str, known))} in each layer")
        return value

    def activation(self, key: str) -> str:
        """The name that we give an activation."""
        value = self.given.get(key)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            self.refuse(key, value, ", ".join(ACTIVATIONS))
        return ACTIVATIONS[value]

    def refuse(self, key: str, value: Any, allowed: str) -> NoReturn:
        """Raise ConfigFileError for a value."""
        said = f"{key} is {short(value)}" if key in self.given else f"{key} is missing"
        raise ConfigFileError(f"{said}; allowed: {allowed}")


def short(value: Any) -> str:
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
