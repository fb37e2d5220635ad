"""The INT4 KV cache: codes two in a byte and one fp32 scale a row, symmetric absmax / 7.

Against bf16 and head_dim 64 a row is 36 bytes for 128.
"""

from __future__ import annotations

from torch import Tensor

from kvbench.caches.coded import CodedRows
from kvbench.costs.layout import Layout, equal_rows
from kvbench.kernels.reference import quantise_int4


class KVCache(CodedRows):
    """K and V as pairs of codes (B, n_head, capacity, head_dim / 2), with a scale each row."""

    quantise = staticmethod(quantise_int4)

    def rows(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Codes of K and V of one layer, and their scales (`kvbench.engine.static_view`)."""
        return self.held(layer)

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return equal_rows(head_dim // 2 + 4)
