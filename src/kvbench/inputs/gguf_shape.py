"""The shape that a GGUF file's metadata and tensors describe.

Keys and tensors go by the names of the `gguf` package. What changes the mathematics and is not
computed here is refused by its key; what llama.cpp knows of an architecture without a key (layers
without positions, pattern of windows) stands here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from kvbench.files import Json
from kvbench.inputs.gguf import field, floats
from kvbench.models.hf_keys import MOST_LAYERS
from kvbench.models.rotation import speeds
from kvbench.models.weights import WeightsError
from kvbench.shape import Shape

if TYPE_CHECKING:
    import gguf

ARCHITECTURES = ("llama", "qwen2", "qwen3", "olmo2", "gemma3", "smollm3")
OUR_ORDER = ("llama", "smollm3")  # whose rows of q and k lie so that neighbours turn together
SIZES = {  # of a shape: ours from theirs
    "n_layer": "block_count",
    "n_head": "attention.head_count",
    "n_embd": "embedding_length",
    "n_inner": "feed_forward_length",
    "block_size": "context_length",
}
REFUSED = (  # keys that change the mathematics, unless they are 0
    *("attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "residual_scale"),
    *("embedding_scale", "expert_count", "attention.scale", "attention.clamp_kqv", "swin_norm"),
    *("attention.max_alibi_bias", "attention.shared_kv_layers", "attention.output_scale"),
    *("attention.temperature_scale", "attention.temperature_length", "attention.kv_lora_rank"),
    *("attention.key_length_mla", "rope.dimension_sections", "rope.scale_linear"),
    *("rope.scaling.alpha", "rope.scaling.attn_factor", "rope.scaling.yarn_log_multiplier"),
    *("rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor"),
    *("rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "nextn_predict_layers"),
)
NO_ROPE_INTERVAL = 4  # of smollm3: the layers, counted from 1, that have no positions
PATTERN = 6  # of gemma3: the layers, counted from 1, that see all tokens
GEMMA_27B = 62  # layers of the one gemma3 whose queries are scaled by n_embd / n_head
LLAMA3 = {"type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original": 8192}


def shape_in(reader: gguf.GGUFReader) -> Shape:
    """The shape, as a line of the preset registry has it. Raises WeightsError naming a key."""
    kind = field(reader, "general.architecture")
    if kind not in ARCHITECTURES:
        raise WeightsError(f"architecture {kind!r}; allowed: {', '.join(ARCHITECTURES)}")
    keys = _Keys(reader, kind)
    for key in REFUSED:
        if keys.get(key, 0):
            raise WeightsError(f"{kind}.{key} is {keys.get(key)}, which is not implemented")
    if keys.get("attention.causal", True) is not True:
        raise WeightsError(f"{kind}.attention.causal is false, which is not implemented")
    names = {tensor.name for tensor in reader.tensors}
    found: Json = {ours: keys.size(theirs) for ours, theirs in SIZES.items()}
    keys.size("block_count", most=MOST_LAYERS)
    found["n_kv_head"] = keys.size("attention.head_count_kv", found["n_head"])
    found["vocab_size"] = len(field(reader, "tokenizer.ggml.tokens"))
    size = keys.size("attention.key_length", found["n_embd"] // found["n_head"])
    for key in ("attention.value_length", "attention.key_length_swa", "rope.dimension_count"):
        if keys.get(key, size) != size:
            raise WeightsError(f"{kind}.{key} is {keys.get(key)}; allowed: a head's {size}")
    eps = keys.number("attention.layer_norm_rms_epsilon")
    normed = "blk.0.attn_q_norm.weight" in names
    found |= {
        "arch": "llama",
        "head_dim": size,
        "norm_eps": float(f"{eps:.6g}"),  # stored in fp32
        "rope_base": keys.number("rope.freq_base", 10_000.0),
        "rope_scaling": _scaling(keys, size),
        "tied": "output.weight" not in names,
        "qkv_bias": "blk.0.attn_q.bias" in names,
        "o_bias": "blk.0.attn_output.bias" in names,
        "mlp_bias": "blk.0.ffn_up.bias" in names,
        "qk_norm": ("whole" if kind == "olmo2" else "head") if normed else "none",
        **_of_kind(keys, found["n_layer"], found["n_embd"], found["n_head"]),
    }
    return cast(Shape, found)


class _Keys:
    """Keys of an architecture, each asked for by its type. Raises WeightsError naming it."""

    def __init__(self, reader: gguf.GGUFReader, kind: str) -> None:
        self.reader, self.kind = reader, kind

    def get(self, key: str, default: Any = None) -> Any:
        found = self.reader.get_field(f"{self.kind}.{key}")
        return default if found is None else found.contents()

    def size(self, key: str, default: int | None = None, most: int = 2**31) -> int:
        value = self.get(key, default)
        if type(value) is not int or not 1 <= value <= most:
            raise WeightsError(f"{self.kind}.{key} is {value}; allowed: a whole number to {most}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise WeightsError(f"{self.kind}.{key} is {value}; allowed: a number above 0")
        return float(value)


def _of_kind(keys: _Keys, layers: int, width: int, heads: int) -> Json:
    """What an architecture has that others do not."""
    window = keys.get("attention.sliding_window", 0)
    if keys.kind == "gemma3":
        pattern = keys.get("attention.sliding_window_pattern", PATTERN)
        if type(pattern) is int:
            pattern = [bool((layer + 1) % pattern) for layer in range(layers)]
        window = keys.size("attention.sliding_window")
        return {
            **{"norm": "both", "norm_offset": True, "activation": "gelu_new"},
            **{"embed_scale": width**0.5, "windows": [window * bool(one) for one in pattern]},
            "query_scale": (width / heads) ** -0.5 if layers == GEMMA_27B else 0.0,
            "window_rope_base": keys.number("rope.freq_base_swa", 10_000.0),
        }
    if 0 < window < keys.size("context_length"):
        raise WeightsError(f"{keys.kind}.attention.sliding_window is {window}; allowed in gemma3")
    if keys.kind == "olmo2":
        return {"norm": "post"}
    if keys.kind == "smollm3":
        return {"no_rope": [*range(NO_ROPE_INTERVAL - 1, layers, NO_ROPE_INTERVAL)]}
    return {}


def _scaling(keys: _Keys, size: int) -> Json | None:
    """How RoPE is scaled: by keys, or by the tensor of Llama 3's factors."""
    factors = next((t for t in keys.reader.tensors if t.name == "rope_freqs.weight"), None)
    kind = keys.get("rope.scaling.type", "none")
    if factors is not None and kind == "none":
        return llama3_scaling(floats(factors), size, keys.number("rope.freq_base", 10_000.0))
    if kind == "none":
        return None
    if kind not in ("linear", "yarn") or factors is not None:
        raise WeightsError(
            f"{keys.kind}.rope.scaling.type is {kind!r}; allowed: none, linear, yarn"
        )
    scaling = {"type": kind, "factor": keys.number("rope.scaling.factor")}
    if kind == "yarn":
        scaling["original"] = keys.number("rope.scaling.original_context_length")
    return scaling


def llama3_scaling(factors: Tensor, size: int, base: float) -> Json:
    """The numbers of Llama 3's scaling behind the factors (size / 2,) that divide its speeds.

    The published frequency factors and context where they give these; else those that do, in a
    line through the factors in between: only ratios matter, so that the low one is 1. Raises
    WeightsError for factors that are not of this kind.
    """
    plain = speeds(size, base)
    if factors.shape != plain.shape or not bool((factors.isfinite() & (factors > 0)).all()):
        raise WeightsError(f"rope_freqs.weight is no row of {size // 2} numbers above 0")
    factor = round(float(factors.max()), 5)
    candidates = [LLAMA3 | {"factor": factor}]
    kept = (1 / factors.double() - 1 / factor) / (1 - 1 / factor) if factor > 1 else factors[:0]
    middle = (kept > 1e-3) & (kept < 1 - 1e-3)
    if int(middle.sum()) > 1:
        line = torch.stack([plain[middle].double(), torch.ones(int(middle.sum())).double()], 1)
        slope, start = torch.linalg.lstsq(line, kept[middle].unsqueeze(1)).solution.flatten()
        high, original = 1 - 1 / float(start), -2 * math.pi * float(slope / start)
        numbers = {"high_freq_factor": float(f"{high:.5g}"), "original": round(original)}
        candidates.append(candidates[0] | numbers)
    for scaling in candidates:
        if torch.allclose(plain / factors, speeds(size, base, scaling), rtol=1e-4):
            return scaling
    raise WeightsError("rope_freqs.weight holds other factors than those of Llama 3's scaling")
