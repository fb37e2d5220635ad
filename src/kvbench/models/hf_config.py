"""A published model's config.json as a shape of ours. Standard library only.

Both dialects of transformers are read: `rope_theta` and `rope_scaling`, or `rope_parameters`. What
changes the mathematics and is not computed here is refused by its name; other keys pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from kvbench.files.foreign import reading
from kvbench.models.hf_keys import ConfigFileError, Keys, check_neutral
from kvbench.models.hf_rope import FULL, SLIDING, rope_of
from kvbench.shape import Shape

Given = dict[str, Any]
# What a config.json may leave out, by model_type: the defaults of its class in transformers.
LLAMA: Given = {"rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False}
DEFAULTS: dict[str, Given] = {
    "llama": LLAMA,
    "mistral": LLAMA | {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": LLAMA | {"max_window_layers": 28, "sliding_window": 4096},
    "qwen3": LLAMA | {"head_dim": 128, "max_window_layers": 28, "sliding_window": 4096},
    "smollm3": LLAMA
    | {"num_key_value_heads": 4, "rope_theta": 2e6, "tie_word_embeddings": True}
    | {"no_rope_layer_interval": 4},
    "olmo2": LLAMA | {"rms_norm_eps": 1e-5},
    "gemma3_text": {"rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh"}
    | {"num_key_value_heads": 4, "head_dim": 256, "tie_word_embeddings": True}
    | {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "query_pre_attn_scalar": 256}
    | {"sliding_window": 4096, "sliding_window_pattern": 6},
    "gpt_neox": {"layer_norm_eps": 1e-5, "hidden_act": "gelu", "tie_word_embeddings": False}
    | {"use_parallel_residual": True, "attention_bias": True, "rotary_pct": 0.25}
    | {"rotary_emb_base": 1e4},
    "gpt2": {"layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}
    | {"tie_word_embeddings": True},
}


def read_shape(path: str | Path) -> Shape:
    """The shape that a config.json describes, as a line of the preset registry has it.

    Raises ConfigFileError naming the file and the key.
    """
    with reading(path, "JSON mapping", ConfigFileError):
        given = json.loads(Path(path).read_bytes())
    try:
        if not isinstance(given, dict):
            raise ConfigFileError("it is no mapping")
        return shape_of(given)
    except ConfigFileError as error:
        raise ConfigFileError(f"{path}: {error}") from None


def shape_of(given: Mapping[str, Any]) -> Shape:
    """The shape of a config.json's mapping. Raises ConfigFileError naming the key."""
    kind = given.get("model_type")
    if not isinstance(kind, str) or kind not in DEFAULTS:
        raise ConfigFileError(
            f"model_type {kind!r} is not implemented; known: {', '.join(DEFAULTS)}"
        )
    check_neutral(given)
    filled = DEFAULTS[kind] | {k: v for k, v in given.items() if v is not None or k in NULLABLE}
    families = {"gpt2": _gpt2, "gpt_neox": _gpt_neox}
    return cast(Shape, families.get(kind, _llama)(Keys(filled)))


NULLABLE = ("sliding_window",)  # null says something here, and not "the default"


def _llama(keys: Keys) -> Given:
    """Every model_type of the Llama family."""
    L, heads = keys.layers("num_hidden_layers"), keys.size("num_attention_heads")
    kv, width = keys.size("num_key_value_heads", heads), keys.size("hidden_size")
    if heads % kv:
        keys.refuse("num_key_value_heads", kv, f"divisors of num_attention_heads, {heads}")
    if "head_dim" not in keys.given and width % heads:
        keys.refuse("hidden_size", width, f"multiples of num_attention_heads, {heads}")
    size = keys.size("head_dim", width // heads)
    if size % 2:
        keys.refuse("head_dim", size, "even sizes")
    kind, gemma = keys.kind, keys.kind == "gemma3_text"
    biased = keys.flag("attention_bias") and kind not in ("mistral", "qwen2")
    shape: Given = {
        "arch": "llama",
        "n_layer": L,
        "n_head": heads,
        "n_kv_head": kv,
        "n_embd": width,
        "n_inner": keys.size("intermediate_size"),
        "block_size": keys.size("max_position_embeddings"),
        "vocab_size": keys.size("vocab_size"),
        "head_dim": size,
        "norm_eps": keys.number("rms_norm_eps"),
        "tied": keys.flag("tie_word_embeddings"),
    }
    windows = _windows(keys, L)
    further = {
        **rope_of(keys),
        "qkv_bias": biased or kind == "qwen2",
        "o_bias": biased,
        "mlp_bias": keys.flag("mlp_bias") and kind in ("llama", "smollm3"),
        "qk_norm": {"qwen3": "head", "gemma3_text": "head", "olmo2": "whole"}.get(kind, "none"),
        "norm": {"olmo2": "post", "gemma3_text": "both"}.get(kind, "pre"),
        "norm_offset": gemma,
        "activation": keys.activation("hidden_activation" if gemma else "hidden_act"),
        "no_rope": _no_rope(keys, L),
        "windows": windows,
        "kv_owner": _owners(keys, L, windows),
        "embed_scale": width**0.5 if gemma else 1.0,
        "query_scale": keys.number("query_pre_attn_scalar") ** -0.5 if gemma else 0.0,
    }
    if further["query_scale"] == size**-0.5:
        further["query_scale"] = 0.0
    if not any(windows):
        further["window_rope_base"] = 0.0
    return shape | {k: v for k, v in further.items() if v != USUAL.get(k) and v != []}


# What `Config` of kvbench.models.llama has where a shape says nothing.
USUAL: Given = {
    **{"rope_share": 1.0, "rope_scaling": None, "window_rope_base": 0.0, "kv_owner": None},
    **dict.fromkeys(("qkv_bias", "o_bias", "mlp_bias", "norm_offset"), False),
    **{"qk_norm": "none", "norm": "pre", "activation": "silu"},
    **{"embed_scale": 1.0, "query_scale": 0.0},
}


def _windows(keys: Keys, L: int) -> list[int]:
    """The newest tokens that each layer sees, 0 for all; empty where no layer is limited."""
    kind, window = keys.kind, keys.given.get("sliding_window")
    limited = kind in ("mistral", "gemma3_text") or keys.flag("use_sliding_window")
    if kind in ("llama", "olmo2") or window is None or not limited:
        return []
    window, types = keys.size("sliding_window"), keys.each_layer("layer_types", L, (SLIDING, FULL))
    every = range(L)
    if kind == "mistral":
        sliding = [True for _ in every]
    elif types is not None:
        sliding = [one == SLIDING for one in types]
    elif kind == "gemma3_text":
        pattern = keys.size("sliding_window_pattern")
        sliding = [bool((i + 1) % pattern) for i in every]
    elif kind == "smollm3":
        without = _no_rope(keys, L)
        sliding = [i in without for i in every]
    else:
        first = keys.given["max_window_layers"]
        sliding = [i >= first for i in every]
    return [window * one for one in sliding] if any(sliding) else []


def _no_rope(keys: Keys, L: int) -> list[int]:
    """The layers without rotary positions; `no_rope_layers` is 0 for these and 1 for the others."""
    if keys.kind != "smollm3":
        return []
    rotated = keys.each_layer("no_rope_layers", L, (0, 1))
    interval = keys.size("no_rope_layer_interval")
    return [i for i in range(L) if not (rotated[i] if rotated else (i + 1) % interval)]


def _owners(keys: Keys, L: int, windows: list[int]) -> list[int] | None:
    """Whose K/V each layer reads: the last layers, as many as the key says, an earlier one's."""
    shared = keys.given.get("num_kv_shared_layers") or 0
    if not shared:
        return None
    if type(shared) is not int or not 0 < shared < L:
        keys.refuse("num_kv_shared_layers", shared, f"whole numbers below the {L} layers")
    own, seen = range(L - shared), windows or [0] * L
    last: dict[int, int] = {seen[i]: i for i in own}
    for layer in range(L - shared, L):
        if seen[layer] not in last:
            keys.refuse("num_kv_shared_layers", shared, f"an owner for layer {layer}'s kind")
    return [*own, *(last[seen[i]] for i in range(L - shared, L))]


def _gpt2(keys: Keys) -> Given:
    shape = _sizes(keys, "n_layer", "n_head", "n_embd", "n_positions")
    inner = keys.size("n_inner", 4 * shape["n_embd"])
    return shape | _of_gpt2(keys, shape, "activation_function", "layer_norm_epsilon", inner)


def _gpt_neox(keys: Keys) -> Given:
    heads, width = "num_attention_heads", "hidden_size"
    shape = _sizes(keys, "num_hidden_layers", heads, width, "max_position_embeddings")
    if not keys.flag("attention_bias"):
        keys.refuse("attention_bias", False, "true")
    rope = rope_of(keys)
    rope["rope_share"] = rope.get("rope_share", 1.0)
    if rope["rope_scaling"] is None:
        del rope["rope_scaling"]
    if keys.flag("use_parallel_residual"):
        rope["parallel"] = True
    inner = keys.size("intermediate_size")
    return shape | _of_gpt2(keys, shape, "hidden_act", "layer_norm_eps", inner) | rope


def _sizes(keys: Keys, layers: str, heads: str, width: str, positions: str) -> Given:
    """The sizes of a GPT-2, by their names in its family."""
    d, n_head = keys.size(width), keys.size(heads)
    if d % n_head:
        keys.refuse(width, d, f"multiples of {heads}, {n_head}")
    return {
        "arch": "gpt2",
        "n_layer": keys.layers(layers),
        "n_head": n_head,
        "n_embd": d,
        "block_size": keys.size(positions, keys.given.get("n_ctx")),
        "vocab_size": keys.size("vocab_size"),
    }


def _of_gpt2(keys: Keys, shape: Given, activation: str, eps: str, inner: int) -> Given:
    """What differs from GPT-2 as published."""
    named = keys.activation(activation)
    if named == "silu":
        keys.refuse(activation, keys.given[activation], "gelu, gelu_new, gelu_pytorch_tanh")
    usual = {"activation": "gelu_new", "norm_eps": 1e-5, "tied": True}
    usual["n_inner"] = 4 * shape["n_embd"]
    found = {
        "activation": named,
        "norm_eps": keys.number(eps),
        "n_inner": inner,
        "tied": keys.flag("tie_word_embeddings"),
    }
    return {key: value for key, value in found.items() if value != usual[key]}
