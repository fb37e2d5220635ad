"""GPT-2: learned positions, pre-LayerNorm, tanh GELU, a tied head. The whole model in one sitting.

GPT-NeoX, the architecture of Pythia, is the same with other settings of `Config`: rotary positions
on a part of each head, both halves of a block reading the same input, a head of its own.
Attention never asks which optimisation is on. It hands K and V to a cache and asks the cache for
the result; the uncached baseline is a cache that forgets (`kvbench.caches.none`).

Shapes: B batch, T new tokens, C = n_embd, nh heads of hs = C / nh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from kvbench.caches import Cache
from kvbench.models.base import Decoder, LanguageModel, Layer, LinearGELU
from kvbench.models.rotation import magnitude, rotate, rotation, speeds

Turn = tuple[Tensor, Tensor]  # cosine and sine of each new token's angles


@dataclass(frozen=True)
class Config:
    """One GPT-2 shape. `owner[i]` is the layer whose K/V layer i reads; empty means its own."""

    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    block_size: int = 1024
    vocab_size: int = 50257
    dropout: float = 0.0  # recorded with the shape; benchmarks run in eval mode, where it is inert
    bias: bool = True
    activation: str = "gelu_new"  # the tanh GELU of GPT-2; or `gelu`, the exact one of nanoGPT
    n_inner: int = 0  # of the feed-forward; 0 means 4 n_embd
    norm_eps: float = 1e-5
    rope_share: float = 0.0  # of a head's channels that turn; 0: positions are learned
    rope_base: float = 10_000.0
    rope_scaling: Mapping[str, Any] | None = None  # of kvbench.models.rotation
    parallel: bool = False  # whether the feed-forward reads what attention reads
    tied: bool = True  # the head is the embedding
    owner: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        if not self.n_inner:
            object.__setattr__(self, "n_inner", 4 * self.n_embd)
        if not self.owner:
            object.__setattr__(self, "owner", tuple(range(self.n_layer)))

    @property
    def as_published(self) -> bool:
        """Whether other runners' GPT-2 holds this one: biases, tanh GELU, every layer's own K/V."""
        own = self.owner == tuple(range(self.n_layer))
        usual = self.n_inner == 4 * self.n_embd and self.norm_eps == 1e-5 and self.tied
        return self.bias and self.unfused is None and own and usual

    @property
    def unfused(self) -> str | None:
        """What of this shape a fused step (`kvbench.engine.fused_step`) does not compute."""
        if self.activation != "gelu_new":
            return f"activation {self.activation}"
        if self.rope_share:
            return "rotary positions in a GPT-2"
        return "parallel halves of a block" if self.parallel else None

    @property
    def unstepped(self) -> str | None:
        """What of this shape a native step (`kvbench.engine.native_step`) does not compute."""
        return self.unfused

    @property
    def windows(self) -> tuple[int, ...]:
        """The newest tokens that each layer sees: no layer is so limited."""
        return ()

    @property
    def owning_layers(self) -> list[int]:
        """The layers that hold K/V, in order."""
        return sorted(set(self.owner))

    @property
    def n_kv_head(self) -> int:
        """K/V heads: as many as query heads."""
        return self.n_head

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.n_embd // self.n_head


class CausalSelfAttention(nn.Module):
    """Multi-head attention over a cache. A borrower has no K/V weights: it computes Q only."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer, self.owner = layer, config.owner[layer]
        self.n_head, self.head_dim = config.n_head, config.head_dim
        width = (3 if self.owner == layer else 1) * config.n_embd
        self.c_attn = nn.Linear(config.n_embd, width, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor, turn: Turn | None, cache: Cache) -> Tensor:
        B, T, C = x.shape
        heads = self.c_attn(x).view(B, T, -1, self.n_head, self.head_dim)
        q, *kv = heads.transpose(1, 3).unbind(2)  # q, k, v: (B, nh, T, hs)
        if kv:
            k, v = kv
            cache.update(self.layer, k if turn is None else rotate(k, *turn), v)
        y = cache.attend(self.owner, q if turn is None else rotate(q, *turn))  # (B, nh, T, hs)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    """The feed-forward half of a block: tanh GELU, or the exact one after its Linear."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.exact = config.activation == "gelu"
        linear = nn.Linear if self.exact else LinearGELU
        self.c_fc = linear(config.n_embd, config.n_inner, bias=config.bias)
        self.c_proj = nn.Linear(config.n_inner, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        return self.c_proj(F.gelu(x) if self.exact else x)


class Block(nn.Module):
    """One transformer block, pre-LayerNorm; its halves one after the other, or side by side."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.parallel = config.parallel
        self.ln_1 = nn.LayerNorm(config.n_embd, config.norm_eps, bias=config.bias)
        self.attn = CausalSelfAttention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, config.norm_eps, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, turn: Turn | None, cache: Cache) -> Tensor:
        y = x + self.attn(self.ln_1(x), turn, cache)
        return y + self.mlp(self.ln_2(x if self.parallel else y))


class Model(LanguageModel):
    """GPT-2 over a cache."""

    config: Config
    last_norm = "ln_f"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        learned = {} if config.rope_share else {"wpe": (config.block_size, config.n_embd)}
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                **{name: nn.Embedding(*size) for name, size in learned.items()},
                "h": nn.ModuleList(Block(config, layer) for layer in range(config.n_layer)),
                "ln_f": nn.LayerNorm(config.n_embd, config.norm_eps, bias=config.bias),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tied:
            self.lm_head.weight = cast(nn.Embedding, self.transformer["wte"]).weight
        channels = int(config.head_dim * config.rope_share)
        self.speed = speeds(channels, config.rope_base, config.rope_scaling)

    def embedded(self, idx: Tensor, positions: Tensor) -> tuple[Tensor, Turn | None]:
        x = self.transformer["wte"](idx)
        if self.config.rope_share:
            return x, rotation(positions, self.speed, magnitude(self.config.rope_scaling))
        return x + self.transformer["wpe"](positions), None

    def key_bias(self, layer: int, positions: Tensor) -> Tensor | None:
        attn, config = list(self.blocks())[layer].attn, self.config
        if attn.c_attn.bias is None:
            return None
        bias = attn.c_attn.bias.view(-1, config.n_head, config.head_dim)[1]
        bias = bias.float().unsqueeze(1)  # (nh, 1, hs)
        if not config.rope_share:
            return bias
        turn = rotation(positions, self.speed, magnitude(config.rope_scaling))
        return rotate(bias.expand(-1, len(positions), -1).unsqueeze(0), *turn)[0]

    def decoder(self) -> Decoder:
        parts = self.transformer
        layers = [
            Layer(
                b.attn.owner, b.ln_1, b.attn.c_attn, b.attn.c_proj, b.ln_2, b.mlp.c_fc, b.mlp.c_proj
            )
            for b in self.blocks()
        ]
        embedding = cast(nn.Embedding, parts["wte"]).weight
        positions = None if self.config.rope_share else cast(nn.Embedding, parts["wpe"]).weight
        return Decoder(embedding, positions, None, layers, parts["ln_f"], self.lm_head)
