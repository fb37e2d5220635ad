"""The plain KV cache: K and V as the model computes them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kvbench.caches import Cache, causal_sdpa
from kvbench.costs.layout import Layout, equal_rows


class KVCache(Cache):
    """K and V in the model's dtype: head_dim * itemsize bytes a row."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        shape = (self.batch, self.n_head, self.capacity, self.head_dim)
        self.k = {i: torch.zeros(shape, dtype=self.dtype, device=self.device) for i in self.layers}
        self.v = {i: torch.zeros(shape, dtype=self.dtype, device=self.device) for i in self.layers}

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        end = self.length + k.size(2)
        self.k[layer][:, :, self.length : end] = k
        self.v[layer][:, :, self.length : end] = v

    def attend(self, layer: int, q: Tensor) -> Tensor:
        end = self.length + q.size(2)
        return causal_sdpa(q, self.k[layer][:, :, :end], self.v[layer][:, :, :end])

    def rows(self, layer: int) -> tuple[Tensor, Tensor, None, None]:
        """K and V of one layer; no scales (`kvbench.engine.static_view`)."""
        return self.k[layer], self.v[layer], None, None

    def storages(self) -> Iterator[Tensor]:
        yield from self.k.values()
        yield from self.v.values()

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return equal_rows(head_dim * itemsize)
