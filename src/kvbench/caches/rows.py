"""What caches of one row a token share: where rows lie, and rings, in which they take turns.

A layer that sees only its newest tokens needs no older rows: in its ring the newest row takes the
place of the oldest. Rows keep the positions they were computed at.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from kvbench.caches import Cache, windowed

Ring = tuple[int, int]  # first tokens, and newest ones, that a layer keeps


class RowCache(Cache):
    """K and V of a token in rows of their own: `held(layer)` has them, (B, n_head, rows, ...).

    `sinks` and `window`: the first and the newest tokens that the format keeps; 0 and 0 are all. A
    layer of the model that sees fewer keeps those alone.
    """

    sinks, window = 0, 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rings = {i: ring for i in self.layers if (ring := self._ring(i)) is not None}
        self.reached = 0  # tokens, since the last reset
        # What a forward of many tokens sees of a ring: positions, and rows as they are stored.
        self.now: dict[int, tuple[list[int], list[Tensor]]] = {}

    def _ring(self, layer: int) -> Ring | None:
        own, both = self.windows.get(layer, 0), self.sinks + self.window
        ring = (0, min(own, both or own)) if own else (self.sinks, self.window)
        return ring if 0 < sum(ring) < self.capacity else None

    def room(self, layer: int) -> int:
        """The rows of a layer's storage."""
        return sum(self.rings[layer]) if layer in self.rings else self.capacity

    def slot(self, layer: int, position: int) -> int:
        if layer not in self.rings:
            return position
        first, newest = self.rings[layer]
        return position if position < first else first + (position - first) % newest

    @abstractmethod
    def held(self, layer: int) -> Sequence[Tensor]:
        """The tensors that hold one layer."""

    @abstractmethod
    def encode(self, k: Tensor, v: Tensor) -> Sequence[Tensor]:
        """New rows as `held` holds them."""

    @abstractmethod
    def read(self, q: Tensor, rows: Sequence[Tensor], seen: Tensor | None = None) -> Tensor:
        """Attention of q to rows of `held`: causal, or to what `seen` (queries, rows) shows."""

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        T, held, new = k.size(2), self.held(layer), self.encode(k, v)
        if layer not in self.rings or T == 1:
            at = self.slot(layer, self.length)
            for stored, x in zip(held, new, strict=True):
                stored[:, :, at : at + T] = x
            return
        old, end = self._kept(layer, self.length), self.length + T
        slots = [self.slot(layer, p) for p in old]
        rows = [torch.cat([a[:, :, slots], b], 2) for a, b in zip(held, new, strict=True)]
        self.now[layer] = [*old, *range(self.length, end)], rows
        stay = [p for p in self._kept(layer, end) if p >= self.length]
        slots, places = [self.slot(layer, p) for p in stay], [p - self.length for p in stay]
        for stored, x in zip(held, new, strict=True):
            stored[:, :, slots] = x[:, :, places]

    def _kept(self, layer: int, length: int) -> list[int]:
        """The positions that a ring keeps of the first `length`."""
        first, newest = self.rings[layer]
        return [*range(min(first, length)), *range(max(first, length - newest), length)]

    def attend(self, layer: int, q: Tensor) -> Tensor:
        end = self.length + q.size(2)
        if layer not in self.rings or q.size(2) == 1:  # the order of rows is nothing to a softmax
            n = min(end, self.room(layer))
            return self.read(q, [x[:, :, :n] for x in self.held(layer)])
        keys, rows = self.now[layer]
        first, newest = self.rings[layer]

        def some(q: Tensor, some: Tensor, seen: Tensor) -> Tensor:
            return self.read(q, [x[:, :, some] for x in rows], seen)

        return windowed(q, torch.tensor(keys, device=q.device), newest, some, first)

    def advance(self, T: int) -> None:
        super().advance(T)
        self.reached = max(self.reached, self.length)
        self.now.clear()

    def rewind(self, length: int) -> None:
        """As every cache, but not to where a ring was before it moved on: ValueError."""
        full = any(self.reached > sum(ring) for ring in self.rings.values())
        if full and 0 < length < self.reached - 1:
            raise ValueError(f"cannot rewind to {length}: the window has moved on")
        super().rewind(length)
        self.reached = self.reached if length else 0

    def storages(self) -> Iterator[Tensor]:
        for layer in self.layers:
            yield from self.held(layer)
