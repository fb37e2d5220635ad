"""What every architecture offers to caches and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

from torch import Tensor, nn
from torch.nn import functional as F

from kvbench.caches import Cache, ModelConfig, Storage, make


class LinearGELU(nn.Linear):
    """A Linear and the tanh GELU after it: one module, so that one kernel can do both."""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(super().forward(x), approximate="tanh")


class RMSNorm(nn.RMSNorm):
    """RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467); with `offset` times 1 + weight."""

    def __init__(self, size: int, eps: float, offset: bool = False) -> None:
        super().__init__(size, eps)
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        if not self.offset:
            return super().forward(x)
        weight = 1 + self.weight.float()
        return F.rms_norm(x.float(), self.weight.shape, weight, self.eps).type_as(x)


@dataclass(frozen=True)
class Layer:
    """The modules of one block, for what runs them otherwise than the block does.

    `qkv` gives q, then k and v unless the layer borrows those of `owner`. `up` is followed by
    GELU, or multiplied by SiLU of `gate`. Each head of q and of k is normed where there are norms,
    and turned by its position if it `turns`. What `unstepped` of the model's config names is left
    out.
    """

    owner: int
    norm_1: nn.Module
    qkv: nn.Linear
    proj: nn.Linear
    norm_2: nn.Module
    up: nn.Linear
    down: nn.Linear
    gate: nn.Linear | None = None
    q_norm: nn.Module | None = None
    k_norm: nn.Module | None = None
    turns: bool = True


@dataclass(frozen=True)
class Decoder:
    """A model as data: x = embedding[token] (+ positions[position]), layers, norm, head.

    `speed` (head_dim / 2,) are the radians a position that pairs of neighbouring channels of q and
    k turn by; None where positions are learned, which `positions` are then.
    """

    embedding: Tensor
    positions: Tensor | None
    speed: Tensor | None
    layers: list[Layer]
    norm: nn.Module
    head: nn.Linear


class Config(ModelConfig, Protocol):
    """The part of a model's config that engines read."""

    @property
    def unfused(self) -> str | None: ...
    @property
    def unstepped(self) -> str | None: ...


class LanguageModel(nn.Module):
    """A decoder over a cache; `kvbench.models.gpt2` is the one to read."""

    config: Config
    transformer: nn.ModuleDict  # wte, h (the blocks) and a norm, in the published model's names
    last_norm: str  # its name there
    lm_head: nn.Linear
    storage: Storage | None = None  # of which new_cache() makes a cache

    def new_cache(self, batch: int, tokens: int) -> Cache:
        """An empty cache with room for `tokens` tokens of `batch` sequences, as the version stores.

        Raises ValueError for a model that was not loaded as a version.
        """
        if self.storage is None:
            raise ValueError("this model was not loaded as a version: give the cache to use")
        return self.cache_of(self.storage, batch, tokens)

    def cache_of(self, storage: Storage, batch: int, tokens: int) -> Cache:
        """An empty cache that stores so, given what it is to know of the model."""
        cache = make(storage, self.config, batch, tokens, self.lm_head.weight)
        if not isinstance(storage, str) and storage.get("key_bias") == "split":
            cache.bind(self.key_bias)  # type: ignore[attr-defined]
        return cache

    def key_bias(self, layer: int, positions: Tensor) -> Tensor | None:
        """What every key of a layer has in common at positions (T,), turned as they turn it.

        (n_kv_head, T, head_dim) in fp32, or with 1 for T where positions turn nothing; None in a
        model whose keys have no bias.
        """
        return None

    def __call__(self, idx: Tensor, cache: Cache, last_only: bool = True) -> Tensor:
        """As `forward`, by the cache's whole step of this model where it has one and T is 1."""
        step = getattr(cache, "step", None)
        if step is not None and step.model is self and idx.size(1) == 1:
            return step(idx, cache)
        return super().__call__(idx, cache, last_only)

    def forward(self, idx: Tensor, cache: Cache, last_only: bool = True) -> Tensor:
        """Logits of the T tokens `idx` (B, T) that follow the `cache.length` tokens cached.

        Returns (B, 1, vocab_size), or (B, T, vocab_size) with `last_only=False`. Afterwards the
        cache holds T more tokens. Raises ValueError where the sequence exceeds block_size.
        """
        T, depth = idx.size(1), cache.length
        if depth + T > self.config.block_size:
            raise ValueError(f"{depth} + {T} tokens exceed block_size {self.config.block_size}")
        x, turns = self.embedded(idx, cache.positions(T))
        for block in self.blocks():
            x = block(x, turns, cache)
        cache.advance(T)
        if last_only:
            x = x[:, -1:]  # the head is up to a third of the weights: one row of it, not T
        return self.lm_head(self.transformer[self.last_norm](x))

    def embedded(self, idx: Tensor, positions: Tensor) -> tuple[Tensor, Any]:
        """What the first block is given: x (B, T, C), and how q and k are turned, by the blocks."""
        raise NotImplementedError

    def blocks(self) -> Iterator[Any]:
        """The blocks, in order; each has its feed-forward as `mlp`."""
        yield from cast(Iterator[Any], self.transformer["h"])

    def decoder(self) -> Decoder:
        """The model as data, its tensors and modules shared."""
        raise NotImplementedError

    def phase_boundaries(self) -> list[tuple[nn.Module, str]]:
        """Modules whose entry begins a phase, in order; a norm goes with what it feeds."""
        decoder = self.decoder()
        marks: list[tuple[nn.Module, str]] = [(self.transformer["wte"], "embedding")]
        for layer in decoder.layers:
            marks += [(layer.norm_1, "attention"), (layer.norm_2, "mlp")]
        return [*marks, (decoder.norm, "head")]
