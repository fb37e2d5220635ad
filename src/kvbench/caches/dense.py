"""The plain KV cache: K and V as the model computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kvbench.caches import sdpa
from kvbench.caches.rows import RowCache
from kvbench.costs.layout import Layout, equal_rows


class KVCache(RowCache):
    """K and V in the model's dtype: head_dim * itemsize bytes a row."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

        def zeros(layer: int) -> Tensor:
            shape = (self.batch, self.n_head, self.room(layer), self.head_dim)
            return torch.zeros(shape, dtype=self.dtype, device=self.device)

        self.k, self.v = ({layer: zeros(layer) for layer in self.layers} for _ in "kv")

    def held(self, layer: int) -> Sequence[Tensor]:
        return self.k[layer], self.v[layer]

    def encode(self, k: Tensor, v: Tensor) -> Sequence[Tensor]:
        return k, v

    def read(self, q: Tensor, rows: Sequence[Tensor], seen: Tensor | None = None) -> Tensor:
        k, v = rows
        return sdpa(q, k, v, seen)

    def rows(self, layer: int) -> tuple[Tensor, Tensor, None, None]:
        """K and V of one layer; no scales (`kvbench.engine.static_view`)."""
        return self.k[layer], self.v[layer], None, None

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return equal_rows(head_dim * itemsize)
