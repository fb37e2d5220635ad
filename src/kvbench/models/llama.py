"""Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU, a tied head. In one sitting.

As in `kvbench.models.gpt2`, attention hands K and V to a cache and asks the cache for the result.
K is cached after its rotation, so that a decode step rotates its own rows only.

Shapes: B batch, T new tokens, C = n_embd, nh query heads and nkv K/V heads of hs = head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvbench.caches import Cache
from kvbench.models.base import Decoder, LanguageModel, Layer


@dataclass(frozen=True)
class Config:
    """One Llama shape. `owner[i]` is the layer whose K/V layer i reads; empty means its own.

    head_dim is the channels of one head; 0 means n_embd / n_head.
    """

    n_layer: int = 30
    n_head: int = 9
    n_kv_head: int = 3
    n_embd: int = 576
    n_inner: int = 1536
    block_size: int = 8192
    vocab_size: int = 49152
    rope_base: float = 100_000.0
    norm_eps: float = 1e-5
    owner: tuple[int, ...] = ()
    head_dim: int = 0

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


def rotation(pos: Tensor, hs: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, hs / 2) of the angles of positions (T,), in fp32 whatever the model's.

    Pair i of a head turns by base ** (-2 i / hs) a position (Su et al. 2021, arXiv:2104.09864).
    """
    angle = pos[:, None] * turning_speed(hs, base, pos.device)
    return angle.cos(), angle.sin()


def turning_speed(hs: int, base: float, device: torch.device) -> Tensor:
    """Radians a position (hs / 2,) that each pair of channels turns by."""
    return base ** (-torch.arange(0, hs, 2, device=device) / hs)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of neighbouring channels of x (B, nh, T, hs), the order of GGUF files."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # (B, nh, T, hs / 2)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).type_as(x)


class CausalSelfAttention(nn.Module):
    """Grouped-query attention over a cache. A borrower has no K/V weights: it computes Q only."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer, self.owner = layer, config.owner[layer]
        self.head_dim = config.head_dim
        rows = config.n_head + (2 * config.n_kv_head if self.owner == layer else 0)
        self.heads = [config.n_head] + [config.n_kv_head] * (rows > config.n_head) * 2
        self.c_attn = nn.Linear(config.n_embd, rows * self.head_dim, bias=False)  # q, k, v
        self.c_proj = nn.Linear(config.n_head * self.head_dim, config.n_embd, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache) -> Tensor:
        B, T, _ = x.shape
        heads = self.c_attn(x).view(B, T, -1, self.head_dim).transpose(1, 2)
        q, *kv = heads.split(self.heads, dim=1)  # (B, nh, T, hs), then twice (B, nkv, T, hs)
        if kv:
            k, v = kv
            cache.update(self.layer, rotate(k, cos, sin), v)
        y = cache.attend(self.owner, rotate(q, cos, sin))  # (B, nh, T, hs)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, -1))


class MLP(nn.Module):
    """The feed-forward half of a block: SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.c_gate = nn.Linear(config.n_embd, config.n_inner, bias=False)
        self.c_fc = nn.Linear(config.n_embd, config.n_inner, bias=False)
        self.c_proj = nn.Linear(config.n_inner, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.silu(self.c_gate(x)) * self.c_fc(x))


class Block(nn.Module):
    """One transformer block, pre-norm."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.norm_1 = nn.RMSNorm(config.n_embd, config.norm_eps)
        self.attn = CausalSelfAttention(config, layer)
        self.norm_2 = nn.RMSNorm(config.n_embd, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache) -> Tensor:
        x = x + self.attn(self.norm_1(x), cos, sin, cache)
        return x + self.mlp(self.norm_2(x))


class Model(LanguageModel):
    """Llama over a cache."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "h": nn.ModuleList(Block(config, layer) for layer in range(config.n_layer)),
                "norm_f": nn.RMSNorm(config.n_embd, config.norm_eps),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = cast(nn.Embedding, self.transformer["wte"]).weight  # tied

    def blocks(self) -> Iterator[Block]:
        """The blocks, in order."""
        yield from cast(Iterator[Block], self.transformer["h"])

    def forward(self, idx: Tensor, cache: Cache, last_only: bool = True) -> Tensor:
        """Logits of the T tokens `idx` (B, T) that follow the `cache.length` tokens cached.

        Returns (B, 1, vocab_size), or (B, T, vocab_size) with `last_only=False`. Afterwards the
        cache holds T more tokens. Raises ValueError where the sequence exceeds block_size.
        """
        T, depth = idx.size(1), cache.length
        if depth + T > self.config.block_size:
            raise ValueError(f"{depth} + {T} tokens exceed block_size {self.config.block_size}")
        pos = cache.positions(T)
        cos, sin = rotation(pos, self.config.head_dim, self.config.rope_base)  # (T, hs / 2)
        x = self.transformer["wte"](idx)  # (B, T, C)
        for block in self.blocks():
            x = block(x, cos, sin, cache)
        cache.advance(T)
        if last_only:
            x = x[:, -1:]  # the head is a fifth of the weights: one row of it, not T
        return self.lm_head(self.transformer["norm_f"](x))

    def decoder(self) -> Decoder:
        parts, config = self.transformer, self.config
        layers = [
            Layer(
                b.attn.owner, b.norm_1, b.attn.c_attn, b.attn.c_proj, b.norm_2,
                b.mlp.c_fc, b.mlp.c_proj, b.mlp.c_gate,
            )
            for b in self.blocks()
        ]  # fmt: skip
        embedding = cast(nn.Embedding, parts["wte"]).weight
        speed = turning_speed(config.head_dim, config.rope_base, embedding.device)
        return Decoder(embedding, None, speed, layers, parts["norm_f"], self.lm_head)

    def phase_boundaries(self) -> list[tuple[nn.Module, str]]:
        """Modules whose entry begins a phase, in order; a norm goes with what it feeds."""
        marks: list[tuple[nn.Module, str]] = [(self.transformer["wte"], "embedding")]
        for block in self.blocks():
            marks += [(block.norm_1, "attention"), (block.norm_2, "mlp")]
        return [*marks, (self.transformer["norm_f"], "head")]
