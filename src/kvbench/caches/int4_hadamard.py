"""The INT4 KV cache of rotated rows: a channel that sticks out is spread over all of its head.

A Hadamard matrix H is orthogonal, so (q H).(k H) = q.k: Q and K are turned here, after any rotary
positions. V is turned by weights into which H is folded (`kvbench.models.rotation`), as is the turn
back, so it costs nothing. As QuaRot (Ashkboos et al. 2024, arXiv:2404.00456) does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from kvbench.caches.coded import CodedRows
from kvbench.costs.layout import Layout, equal_rows
from kvbench.kernels.hadamard import hadamard
from kvbench.kernels.reference import quantise_int4


class KVCache(CodedRows):
    """INT4 rows as in `kvbench.caches.int4`, of K H and of V as it comes."""

    quantise = staticmethod(quantise_int4)

    def encode(self, k: Tensor, v: Tensor) -> Sequence[Tensor]:
        return super().encode(k.float() @ hadamard(self.head_dim, k.device), v)

    def read(self, q: Tensor, rows: Sequence[Tensor], seen: Tensor | None = None) -> Tensor:
        turned = q.float() @ hadamard(self.head_dim, q.device)
        return super().read(turned, rows, seen).to(q.dtype)

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return replace(equal_rows(head_dim // 2 + 4), rotated=True)
