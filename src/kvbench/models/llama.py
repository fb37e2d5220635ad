"""The Llama family by configuration: RMSNorm, rotary positions, grouped-query attention.

Llama, Mistral, Qwen2, Qwen3, SmolLM2, SmolLM3, OLMo-2 and Gemma-3 (text) are settings of `Config`;
`kvbench.models.hf_config` reads them out of a config.json. As in `kvbench.models.gpt2`, attention
hands K and V to a cache and asks the cache for the result. K is cached after its norm and its
rotation, so that a decode step rotates its own rows only.

Shapes: B batch, T new tokens, C = n_embd, nh query heads and nkv K/V heads of hs = head_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvbench.caches import Cache
from kvbench.models.base import Decoder, LanguageModel, Layer, RMSNorm
from kvbench.models.rotation import magnitude, rotate, rotation, speeds

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
}
Turns = Sequence[tuple[Tensor, Tensor]]  # (cos, sin) by base: the model's, and that of windows


@dataclass(frozen=True)
class Config:
    """One shape. `owner[i]` is the layer whose K/V layer i reads; empty means its own.

    head_dim 0 means n_embd / n_head; query_scale 0 the softmax's usual 1 / sqrt(head_dim).
    """

    n_layer: int = 30
    n_head: int = 9
    n_kv_head: int = 3
    n_embd: int = 576
    n_inner: int = 1536
    block_size: int = 8192
    vocab_size: int = 49152
    head_dim: int = 0
    rope_base: float = 100_000.0
    rope_share: float = 1.0  # of a head's channels that turn
    rope_scaling: Mapping[str, Any] | None = None  # of kvbench.models.rotation
    no_rope: Sequence[int] = ()  # layers without positions
    windows: Sequence[int] = ()  # newest tokens that each layer sees; 0 or nothing: all
    window_rope_base: float = 0.0  # base of the layers with a window, unscaled; 0: as the others
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: str = "none"  # RMSNorm of q and k: none, of each head, or of the whole projection
    norm: str = "pre"  # of attention and feed-forward: before each, post (after it), or both
    norm_offset: bool = False  # whether a norm multiplies by 1 + weight
    norm_eps: float = 1e-5
    activation: str = "silu"  # of the gate; gelu_new is the tanh form
    tied: bool = True  # the head is the embedding
    embed_scale: float = 1.0
    query_scale: float = 0.0
    owner: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.head_dim:
            if self.n_embd % (2 * self.n_head):
                raise ValueError(
                    f"n_embd {self.n_embd} is not n_head {self.n_head} times an even size"
                )
            object.__setattr__(self, "head_dim", self.n_embd // self.n_head)
        if self.head_dim % 2:
            raise ValueError(f"head_dim is {self.head_dim}; allowed: even sizes")
        if self.n_head % self.n_kv_head:
            raise ValueError(
                f"n_head {self.n_head} is not a multiple of n_kv_head {self.n_kv_head}"
            )
        if not self.owner:
            object.__setattr__(self, "owner", tuple(range(self.n_layer)))

    @property
    def owning_layers(self) -> list[int]:
        """The layers that hold K/V, in order."""
        return sorted(set(self.owner))

    @property
    def unfused(self) -> str | None:
        """What of this shape a fused step (`kvbench.engine.fused_step`) does not compute."""
        if self.qk_norm != "none":
            return "QK-norm"
        return "layers without positions" if self.no_rope else self.unstepped

    @property
    def unstepped(self) -> str | None:
        """What of this shape a native step (`kvbench.engine.native_step`) does not compute."""
        other = {
            "QK-norm of whole projections": self.qk_norm == "whole",
            "norms after attention": self.norm != "pre",
            "a norm's offset": self.norm_offset,
            f"gate {self.activation}": self.activation != "silu",
            "sliding windows": any(self.windows),
            "RoPE on a part of a head": self.rope_share != 1,
            "YaRN's magnitude": magnitude(self.rope_scaling) != 1,
            "scaled embeddings": self.embed_scale != 1,
            "scaled queries": bool(self.query_scale),
            "biases of the feed-forward": self.mlp_bias,
        }
        return next((name for name, given in other.items() if given), None)


def norm(size: int, config: Config) -> RMSNorm:
    """A norm of rows of `size`, as the shape has them."""
    return RMSNorm(size, config.norm_eps, config.norm_offset)


class CausalSelfAttention(nn.Module):
    """Grouped-query attention over a cache. A borrower has no K/V weights: it computes Q only."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer, self.owner = layer, config.owner[layer]
        self.head_dim = config.head_dim
        rows = config.n_head + (2 * config.n_kv_head if self.owner == layer else 0)
        self.heads = [config.n_head] + [config.n_kv_head] * (rows > config.n_head) * 2
        self.c_attn = nn.Linear(config.n_embd, rows * self.head_dim, bias=config.qkv_bias)
        self.c_proj = nn.Linear(config.n_head * self.head_dim, config.n_embd, bias=config.o_bias)
        windowed = any(config.windows[layer : layer + 1])
        self.turn = int(windowed and config.window_rope_base > 0)  # of Turns
        self.turns = layer not in config.no_rope
        self.scale = config.query_scale * self.head_dim**0.5 or 1.0
        self.q_norm = self.k_norm = None
        if config.qk_norm != "none":
            self.whole = config.qk_norm == "whole"
            widths = [self.head_dim * (h if self.whole else 1) for h in self.heads[:2]]
            norms = [norm(width, config) for width in widths]
            self.q_norm, self.k_norm = norms[0], norms[-1] if len(norms) > 1 else None

    def forward(self, x: Tensor, turns: Turns, cache: Cache) -> Tensor:
        B, T, _ = x.shape
        heads = self.c_attn(x).view(B, T, -1, self.head_dim)
        q, *kv = heads.split(self.heads, dim=2)  # (B, T, nh, hs), then twice (B, T, nkv, hs)
        if kv:
            k, v = kv
            cache.update(self.layer, self._placed(k, self.k_norm, turns), v.transpose(1, 2))
        q = self._placed(q, self.q_norm, turns)
        y = cache.attend(self.owner, q if self.scale == 1 else q * self.scale)  # (B, nh, T, hs)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, -1))

    def _placed(self, x: Tensor, normed: RMSNorm | None, turns: Turns) -> Tensor:
        """Rows (B, T, heads, hs) normed and turned by their positions: (B, heads, T, hs)."""
        if normed is not None:
            x = normed(x.flatten(2)).view(x.shape) if self.whole else normed(x)
        x = x.transpose(1, 2)
        return rotate(x, *turns[self.turn]) if self.turns else x


class MLP(nn.Module):
    """The feed-forward half of a block: a gated one (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.c_gate = nn.Linear(config.n_embd, config.n_inner, bias=config.mlp_bias)
        self.c_fc = nn.Linear(config.n_embd, config.n_inner, bias=config.mlp_bias)
        self.c_proj = nn.Linear(config.n_inner, config.n_embd, bias=config.mlp_bias)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.activation(self.c_gate(x)) * self.c_fc(x))


class Block(nn.Module):
    """One transformer block: norms before its halves, after them, or both."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        before, after = config.norm != "post", config.norm != "pre"
        self.norm_1 = norm(config.n_embd, config) if before else nn.Identity()
        self.attn = CausalSelfAttention(config, layer)
        self.post_1 = norm(config.n_embd, config) if after else None
        self.norm_2 = norm(config.n_embd, config) if before else nn.Identity()
        self.mlp = MLP(config)
        self.post_2 = norm(config.n_embd, config) if after else None

    def forward(self, x: Tensor, turns: Turns, cache: Cache) -> Tensor:
        y = self.attn(self.norm_1(x), turns, cache)
        x = x + (y if self.post_1 is None else self.post_1(y))
        y = self.mlp(self.norm_2(x))
        return x + (y if self.post_2 is None else self.post_2(y))


class Model(LanguageModel):
    """A model of the Llama family over a cache."""

    config: Config
    last_norm = "norm_f"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "h": nn.ModuleList(Block(config, layer) for layer in range(config.n_layer)),
                "norm_f": norm(config.n_embd, config),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tied:
            self.lm_head.weight = cast(nn.Embedding, self.transformer["wte"]).weight
        channels = int(config.head_dim * config.rope_share)
        bases = (config.rope_base, config.rope_scaling), (config.window_rope_base, None)
        self.speeds = [speeds(channels, *base) for base in bases if base[0]]
        self.sizes = [magnitude(config.rope_scaling), 1.0]

    def embedded(self, idx: Tensor, positions: Tensor) -> tuple[Tensor, Turns]:
        turns = [rotation(positions, *of) for of in zip(self.speeds, self.sizes, strict=False)]
        x = self.transformer["wte"](idx)
        if self.config.embed_scale != 1:
            x = x * torch.tensor(self.config.embed_scale, dtype=x.dtype)
        return x, turns

    def key_bias(self, layer: int, positions: Tensor) -> Tensor | None:
        attn = list(self.blocks())[layer].attn
        if attn.c_attn.bias is None or attn.k_norm is not None:
            return None
        bias = attn.c_attn.bias.view(-1, self.config.head_dim).split(attn.heads)[1]
        bias = bias.float().unsqueeze(1)  # (nkv, 1, hs)
        if not attn.turns:
            return bias
        turn = rotation(positions, self.speeds[attn.turn], self.sizes[attn.turn])
        return rotate(bias.expand(-1, len(positions), -1).unsqueeze(0), *turn)[0]

    def decoder(self) -> Decoder:
        parts = self.transformer
        layers = [
            Layer(
                b.attn.owner, b.norm_1, b.attn.c_attn, b.attn.c_proj, b.norm_2,
                b.mlp.c_fc, b.mlp.c_proj, b.mlp.c_gate, b.attn.q_norm, b.attn.k_norm, b.attn.turns,
            )
            for b in self.blocks()
        ]  # fmt: skip
        embedding = cast(nn.Embedding, parts["wte"]).weight
        return Decoder(embedding, None, self.speeds[0], layers, parts["norm_f"], self.lm_head)
