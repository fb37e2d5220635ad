"""The INT8 KV cache: one code a channel and one fp32 scale a row, symmetric absmax / 127.

A row is one token's K (or V) of one head of one layer of one sequence, so no scale looks into the
future and no token is ever quantised twice. Against bf16 and head_dim 64 a row is 68 bytes for 128.
"""

from __future__ import annotations

from torch import Tensor

from kvbench.caches.coded import CodedRows
from kvbench.costs.layout import Layout, equal_rows
from kvbench.kernels.reference import quantise_int8


class KVCache(CodedRows):
    """K and V as codes (B, n_head, capacity, head_dim) and scales (B, n_head, capacity)."""

    quantise = staticmethod(quantise_int8)

    def rows(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Codes of K and V of one layer, and their scales (`kvbench.engine.static_view`)."""
        return self.held(layer)

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return equal_rows(head_dim + 4)
