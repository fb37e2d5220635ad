"""Rotations of heads: by a token's position (RoPE), and by a Hadamard matrix folded into weights.

RoPE turns pair i of a head's channels by `speeds(...)[i]` radians a position (Su et al. 2021,
arXiv:2104.09864). Our pairs are neighbouring channels, the order of GGUF files; Hugging Face pairs
channel i with i + half, and its weights are reordered as they are loaded. A Hadamard rotation is
folded once, when a model is built: at run time it costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kvbench.kernels.hadamard import hadamard

SCALINGS = {  # kind -> the numbers it needs
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original"),
    "yarn": ("factor", "original"),
}


def speeds(channels: int, base: float, scaling: Mapping[str, Any] | None = None) -> Tensor:
    """Radians a position (channels / 2,), fp32, that each pair of `channels` channels turns by.

    Pair i: base ** (-2 i / channels), made slower for a context longer than the trained one by
    `scaling`: None, or its `type` (of SCALINGS) and numbers. Raises ValueError for another type.
    """
    plain = base ** (-torch.arange(0, channels, 2, dtype=torch.float32) / channels)
    if scaling is None:
        return plain
    slow = plain / scaling["factor"]
    if scaling["type"] == "linear":
        return slow
    if scaling["type"] == "llama3":
        kept = _llama3_share(plain, scaling)
    elif scaling["type"] == "yarn":
        kept = _yarn_share(channels, base, scaling)
    else:
        raise ValueError(f"unknown RoPE scaling {scaling['type']!r}; known: {', '.join(SCALINGS)}")
    return kept * plain + (1 - kept) * slow


def _llama3_share(speed: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """How much of each speed is kept in Llama 3.1: all of those that turn often in the context."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original"] * speed / (2 * math.pi)
    return ((turns - low) / (high - low)).clamp(0, 1)


def _yarn_share(channels: int, base: float, scaling: Mapping[str, Any]) -> Tensor:
    """How much of each speed YaRN keeps (Peng et al. 2023, arXiv:2309.00071, section 3.2)."""

    def pair_of(turns: float) -> float:
        """The pair that turns so often within the original context."""
        return (
            channels * math.log(scaling["original"] / (turns * 2 * math.pi)) / (2 * math.log(base))
        )

    low = pair_of(scaling.get("beta_fast") or 32)
    high = pair_of(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, channels - 1)
    high += 0.001 * (low == high)
    return 1 - ((torch.arange(channels // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)


def magnitude(scaling: Mapping[str, Any] | None) -> float:
    """What YaRN multiplies rotated rows by: 0.1 ln(factor) + 1, unless the model says otherwise."""
    if scaling is None or scaling["type"] != "yarn":
        return 1.0
    if scaling.get("attention_factor") is not None:
        return float(scaling["attention_factor"])

    def one(mscale: float) -> float:
        return 0.1 * mscale * math.log(scaling["factor"]) + 1 if scaling["factor"] > 1 else 1.0

    mscale, of_all = scaling.get("mscale"), scaling.get("mscale_all_dim")
    return one(mscale) / one(of_all) if mscale and of_all else one(1)


def rotation(pos: Tensor, speed: Tensor, size: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, pairs), times `size`, of positions (T,), in fp32 whatever the model's."""
    angle = pos[:, None] * speed
    cos, sin = angle.cos(), angle.sin()
    return (cos, sin) if size == 1 else (cos * size, sin * size)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of neighbouring channels of x (B, nh, T, hs): the first 2 pairs channels."""
    rotated = 2 * cos.size(-1)
    a, b = x[..., :rotated].float().unflatten(-1, (-1, 2)).unbind(-1)  # (B, nh, T, pairs)
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).type_as(x)
    return turned if rotated == x.size(-1) else torch.cat([turned, x[..., rotated:]], -1)


@torch.no_grad()
def fold_values(model: nn.Module) -> None:
    """Have each head compute V H, and the output projection undo it: the same model.

    c_attn holds the rows of q, k and v, in this order; a borrower reads turned values as well.
    """
    config: Any = model.config
    hs, nkv = config.head_dim, config.n_kv_head
    H = hadamard(hs, model.get_parameter("lm_head.weight").device)
    for layer in range(config.n_layer):
        attn = model.get_submodule(f"transformer.h.{layer}.attn")
        if layer in config.owning_layers:
            for _, parameter in attn.get_submodule("c_attn").named_parameters():
                rows = parameter[-nkv * hs :]  # V's, or their biases
                turned = torch.einsum("hij,ik->hkj", rows.float().reshape(nkv, hs, -1), H)
                rows.copy_(turned.reshape(rows.shape))
        weight = attn.get_submodule("c_proj").get_parameter("weight")  # (C, nh * hs)
        columns = weight.float().unflatten(1, (-1, hs)) @ H
        weight.copy_(columns.flatten(1))


def unfolded(y: Tensor, fold: str | None) -> Tensor:
    """A head's attention output (B, nh, T, hs) of a folded model, as without the fold."""
    return y if fold is None else y.float() @ hadamard(y.size(-1), y.device)


FOLDS = {"values": fold_values}  # what a version's `fold` may name
