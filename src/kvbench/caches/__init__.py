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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from kvbench.caches.sdpa import causal_sdpa as causal_sdpa
from kvbench.caches.sdpa import sdpa as sdpa
from kvbench.caches.sdpa import sdpa_backend as sdpa_backend
from kvbench.caches.sdpa import windowed as windowed
from kvbench.costs.description import Description
from kvbench.costs.layout import Layout

BLOCK = 64  # tokens: reserved capacity is a multiple of this, so that memory grows with T


class ModelConfig(Protocol):
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
    @property
    def windows(self) -> Sequence[int]: ...


class Cache(ABC):
    """K and V of every owning layer, for up to `capacity` tokens.

    layers: the owning layers, of `n_layer`. Storage is (B, n_head, capacity, head_dim) per layer,
    allocated once: a step allocates nothing that grows. windows: of every layer of the model, the
    newest tokens that it sees, 0 for all; the cache's own are those that its capacity goes beyond.
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
        windows: Sequence[int] = (),
        n_layer: int = 0,
    ) -> None:
        self.layers = list(layers)
        self.n_layer = n_layer or max(self.layers, default=0) + 1
        self.batch, self.n_head, self.head_dim, self.capacity = batch, n_head, head_dim, capacity
        self.dtype, self.device = dtype, torch.device(device)
        self.windows = {i: windows[i] for i in self.layers if windows and 0 < windows[i] < capacity}
        # (first, newest) tokens that a layer keeps in rows that take turns (`caches.rows`).
        self.rings: dict[int, tuple[int, int]] = {}
        self.length = 0  # tokens held

    @abstractmethod
    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Store K and V (B, n_head, T, head_dim) of the T tokens after the `length` held."""

    @abstractmethod
    def attend(self, layer: int, q: Tensor) -> Tensor:
        """Causal attention of the T newest tokens, q (B, nh, T, head_dim), over `layer`'s K/V."""

    def slot(self, layer: int, position: int) -> int:
        """The row of the token at `position`, where a cache keeps one row a token."""
        return position

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
        layout = self.layout(self.head_dim, self.dtype.itemsize)
        own = (layout.at(i, self.n_layer, self.windows.get(i, 0)) for i in self.layers)
        return self.batch * self.n_head * sum(one.bytes(self.length) for one in own)

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

    def slot(self, layer: int, position: int) -> int:
        return self.cache.slot(layer, position)

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


# How a cache is stored: a module or a file by name, or a description as data.
Storage = str | Mapping[str, Any]


def cache_class(storage: Storage) -> type[Cache]:
    """The class of a described cache, or by name of `kvbench.caches.{name}`, `name.py`, a module.

    Of a name the class `KVCache`, unless `:Class` after the file or module says another. A file is
    loaded once a process. Raises ModuleNotFoundError for an unknown name, AttributeError for a
    module without the class, and DescriptionError for what cannot be stored.
    """
    if not isinstance(storage, str):
        description = Description.of(storage)
        module = importlib.import_module(f"{__name__}.{description.module}")
        return module.described(description)
    where, _, kind = storage.partition(":")
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


def make(storage: Storage, config: ModelConfig, batch: int, tokens: int, like: Tensor) -> Cache:
    """The cache that stores so (`cache_class`), for a model's shape, with room for `tokens` tokens.

    Capacity is `tokens` rounded up to BLOCK and never more than block_size; dtype and device are
    those of `like`. Raises ModuleNotFoundError for an unknown name.
    """
    capacity = min(-(-tokens // BLOCK) * BLOCK, config.block_size)
    described = not isinstance(storage, str)
    more: dict[str, Any] = {"windows": config.windows} if any(config.windows) else {}
    more |= {"n_layer": config.n_layer} if described else {}
    return cache_class(storage)(
        config.owning_layers,
        batch,
        config.n_kv_head,
        config.head_dim,
        capacity,
        like.dtype,
        like.device,
        **more,
    )


def layout_of(storage: Storage, head_dim: int, itemsize: int) -> Layout:
    """The layout of the cache that stores so."""
    return cache_class(storage).layout(head_dim, itemsize)
