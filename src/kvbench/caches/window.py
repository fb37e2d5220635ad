"""A sliding window with attention sinks: the first SINKS tokens and the newest WINDOW, no others.

Without the first tokens, which attention falls back on, a window ruins a model (StreamingLLM: Xiao
et al. 2023, arXiv:2309.17453). Rows keep the positions they were computed at. Bytes stop growing
at SINKS + WINDOW tokens: the newest takes the place of the oldest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kvbench.caches import Cache, dense
from kvbench.costs.layout import Layout


class KVCache(Cache):
    """A ring of rows in a `store`, the class of another cache: here in the model's dtype."""

    store: Any = dense.KVCache
    sinks, window = 4, 252

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.kept = self._store(self.layers, min(self.capacity, self.sinks + self.window))
        self.reached = 0  # tokens, since the last reset
        self.now: dict[int, tuple[Tensor, Tensor]] = {}  # what a forward of many tokens sees

    def _store(self, layers: list[int], capacity: int) -> Any:
        shape = (self.batch, self.n_head, self.head_dim, capacity)
        return self.store(layers, *shape, self.dtype, self.device)

    def tensors(self, store: Any, layer: int) -> tuple[Tensor, ...]:
        """What `store` holds of one layer, (B, n_head, capacity, ...) each."""
        return store.k[layer], store.v[layer]

    def floats(self, store: Any, layer: int) -> tuple[Tensor, Tensor]:
        """K and V of one layer of `store` as attention sees them."""
        return store.k[layer], store.v[layer]

    def _slots(self, positions: list[int]) -> list[int]:
        past = self.sinks
        return [p if p < past else past + (p - past) % self.window for p in positions]

    def _positions(self, length: int) -> list[int]:
        """The tokens kept of the first `length`."""
        newest = max(self.sinks, length - self.window)
        return [*range(min(self.sinks, length)), *range(newest, length)]

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        T = k.size(2)
        if T == 1:
            (self.kept.length,) = self._slots([self.length])
            self.kept.update(layer, k, v)
            return
        new = self._store([layer], T)
        new.update(layer, k, v)
        old = self._slots(self._positions(self.length))
        held, come = self.floats(self.kept, layer), self.floats(new, layer)
        both = [torch.cat([a[:, :, old], b], 2) for a, b in zip(held, come, strict=True)]
        self.now[layer] = both[0], both[1]
        stay = [p for p in self._positions(self.length + T) if p >= self.length]
        slots, places = self._slots(stay), [p - self.length for p in stay]
        pairs = zip(self.tensors(self.kept, layer), self.tensors(new, layer), strict=True)
        for ring, rows in pairs:
            ring[:, :, slots] = rows[:, :, places]

    def attend(self, layer: int, q: Tensor) -> Tensor:
        T, S = q.size(2), self.length + q.size(2)
        if T == 1:  # the order of rows in the ring is nothing to a softmax
            self.kept.length = min(S, self.sinks + self.window) - 1
            return self.kept.attend(layer, q)
        k, v = self.now[layer]
        keys = [*self._positions(self.length), *range(self.length, S)]
        key = torch.tensor(keys, device=q.device)
        query = torch.arange(self.length, S, device=q.device)[:, None]
        seen = (key <= query) & ((key < self.sinks) | (key > query - self.window))
        y = F.scaled_dot_product_attention(q.to(k.dtype), k, v, attn_mask=seen, enable_gqa=True)
        return y.to(q.dtype)

    def advance(self, T: int) -> None:
        super().advance(T)
        self.reached = max(self.reached, self.length)
        self.now.clear()

    def rewind(self, length: int) -> None:
        """As every cache, but not to where the window was before it moved on: ValueError."""
        full = self.reached > self.sinks + self.window
        if full and 0 < length < self.reached - 1:
            raise ValueError(f"cannot rewind to {length}: the window has moved on")
        super().rewind(length)
        self.reached = self.reached if length else 0

    def storages(self) -> Iterator[Tensor]:
        yield from self.kept.storages()

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        most = cls.sinks + cls.window
        return replace(cls.store.layout(head_dim, itemsize), most=most)
