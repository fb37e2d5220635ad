"""KV caches. Each storage is a module here with one class `KVCache`; attention sees this interface.

A model's forward calls, for T new tokens: `update(layer, k, v)` in each layer that owns its K/V,
`attend(owner, q)` in every layer, and `advance(T)` once at the end. What a version stores, in which
format and for how long, is the cache's own business.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend

from kvbench.costs.layout import Layout

BLOCK = 64  # tokens: reserved capacity is a multiple of this, so that memory grows with T


class Shape(Protocol):
    """The part of a model's config that caches and generation read."""

    @property
    def n_layer(self) -> int: ...
    @property
    def n_head(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def n_kv_head(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def owning_layers(self) -> list[int]: ...


class Cache(ABC):
    """K and V of every owning layer, for up to `capacity` tokens.

    layers: the owning layers. Storage is (B, n_head, capacity, head_dim) per layer, allocated once:
    a step allocates nothing that grows.
    """

    def __init__(
        self,
        layers: Iterable[int],
        batch: int,
        n_head: int,
        head_dim: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self.layers = list(layers)
        self.batch, self.n_head, self.head_dim, self.capacity = batch, n_head, head_dim, capacity
        self.dtype, self.device = dtype, torch.device(device)
        self.length = 0  # tokens held

    @abstractmethod
    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Store K and V (B, n_head, T, head_dim) of the T tokens after the `length` held."""

    @abstractmethod
    def attend(self, layer: int, q: Tensor) -> Tensor:
        """Causal attention of the T newest tokens, q (B, nh, T, head_dim), over `layer`'s K/V."""

    def positions(self, T: int) -> Tensor:
        """The positions (T,) of the T tokens after the `length` held."""
        return torch.arange(self.length, self.length + T, device=self.device)

    def advance(self, T: int) -> None:
        """All layers have stored T more tokens."""
        self.length += T

    def rewind(self, length: int) -> None:
        """Forget the tokens after the first `length`; keep the storage."""
        self.length = min(self.length, length)

    def reset(self) -> None:
        """Forget every token; keep the storage."""
        self.rewind(0)

    @abstractmethod
    def storages(self) -> Iterator[Tensor]:
        """Every tensor that outlives a step."""

    @classmethod
    @abstractmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        """The closed form of what one head of one layer keeps; `itemsize` is the dtype's bytes."""

    def used_bytes(self) -> int:
        """Bytes that hold the `length` tokens, by the closed form."""
        kept = self.layout(self.head_dim, self.dtype.itemsize).bytes(self.length)
        return len(self.layers) * self.batch * self.n_head * kept

    def reserved_bytes(self) -> int:
        """Bytes of the storages themselves."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self.storages())


class CacheWrapper(Cache):
    """Another cache that a subclass fills or reads otherwise; all else is that cache's own."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cache, name)

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        self.cache.update(layer, k, v)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        return self.cache.attend(layer, q)

    def positions(self, T: int) -> Tensor:
        return self.cache.positions(T)

    def advance(self, T: int) -> None:
        self.cache.advance(T)

    def rewind(self, length: int) -> None:
        self.cache.rewind(length)

    def reset(self) -> None:
        self.cache.reset()

    def storages(self) -> Iterator[Tensor]:
        return self.cache.storages()

    def used_bytes(self) -> int:
        return self.cache.used_bytes()

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        raise TypeError(f"{cls.__name__} has the layout of the cache that it wraps")


def cache_class(name: str) -> type[Cache]:
    """The class of a cache: of `kvbench.caches.{name}`, of a file `name.py`, or a dotted module.

    `KVCache`, unless `:Class` after the file or module says another. A file is loaded once a
    process. Raises ModuleNotFoundError for an unknown name, and AttributeError for a module without
    the class.
    """
    where, _, kind = name.partition(":")
    if where.endswith(".py"):
        module = _loaded(Path(where).resolve())
    else:
        module = importlib.import_module(where if "." in where else f"{__name__}.{where}")
    return getattr(module, kind or "KVCache")


@functools.cache
def _loaded(path: Path) -> ModuleType:
    """The module of a file outside the package."""
    spec = importlib.util.spec_from_file_location(f"cache_of_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ModuleNotFoundError(f"no file {str(path)!r} to load a cache from")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(name: str, config: Shape, batch: int, tokens: int, like: Tensor) -> Cache:
    """The cache of a `name` (`cache_class`) for a model's shape, with room for `tokens` tokens.

    Capacity is `tokens` rounded up to BLOCK and never more than block_size; dtype and device are
    those of `like`. Raises ModuleNotFoundError for an unknown name.
    """
    capacity = min(-(-tokens // BLOCK) * BLOCK, config.block_size)
    return cache_class(name)(
        config.owning_layers,
        batch,
        config.n_kv_head,
        config.head_dim,
        capacity,
        like.dtype,
        like.device,
    )


def layout_of(name: str, head_dim: int, itemsize: int) -> Layout:
    """The layout of the cache of a `name`."""
    return cache_class(name).layout(head_dim, itemsize)


def causal_sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Fused attention of T queries, the newest of S keys: query i sees keys 0 .. S - T + i."""
    T, S = q.size(2), k.size(2)
    grouped = q.size(1) != k.size(1)
    if T == 1 or T == S:
        return F.scaled_dot_product_attention(q, k, v, is_causal=T > 1, enable_gqa=grouped)
    mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)


def sdpa_backend(q: Tensor, k: Tensor, mask: Tensor | None = None) -> str:
    """Which backend torch's attention takes for queries (B, nh, T, hs), keys (B, nkv, S, hs).

    `mask` (T, S) where the call has one, else it is causal. A lower-case name of
    `torch.nn.attention.SDPBackend`: flash_attention, efficient_attention, math.
    """
    causal = mask is None and q.size(2) > 1
    grouped = q.size(1) != k.size(1)
    found = torch._fused_sdp_choice(q, k, k, mask, is_causal=causal, enable_gqa=grouped)
    return SDPBackend(found).name.lower()
