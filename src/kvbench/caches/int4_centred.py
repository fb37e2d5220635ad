"""The INT4 KV cache of rows less their mean, over the first block of the sequence.

K and V have a part that all tokens share, and codes spent on it say nothing. The centre is the mean
of the first BLOCK tokens, which are kept whole for good: it looks at no token after them, and no
row is ever coded twice. A key's centre shifts all scores of a query alike, a value's is added back
to the output: both cost one product a query.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kvbench.caches import BLOCK, Cache
from kvbench.caches.coded import KEYS, grouped, hide_future, ungrouped, weigh
from kvbench.costs.layout import Layout
from kvbench.kernels.reference import quantise_int4, widen


class KVCache(Cache):
    """The first BLOCK rows as they are, then INT4 rows of what is left when the centre is taken."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        heads, hs, coded = (self.batch, self.n_head), self.head_dim, self.capacity - BLOCK

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> dict[int, Tensor]:
            size = (*heads, *shape)
            return {i: torch.zeros(size, dtype=dtype, device=self.device) for i in self.layers}

        self.first = [zeros(min(BLOCK, self.capacity), hs, dtype=self.dtype) for _ in "kv"]
        n = max(0, coded)
        self.codes = [zeros(n, hs // 2, dtype=torch.uint8) for _ in "kv"]
        self.scales = [zeros(n) for _ in "kv"]
        self.centre = [zeros(hs * (n > 0)) for _ in "kv"]

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        whole = min(k.size(2), max(0, BLOCK - self.length))  # of the new tokens
        begin, end = self.length + whole - BLOCK, self.length + k.size(2) - BLOCK
        for i, x in enumerate((k, v)):
            first, centre = self.first[i][layer], self.centre[i][layer]
            first[:, :, self.length : self.length + whole] = x[:, :, :whole]
            if end <= 0:
                continue
            if self.length <= BLOCK:
                centre.copy_(first.float().mean(2))
            rest = x[:, :, whole:].float() - centre.unsqueeze(2)
            codes, scales = quantise_int4(rest)
            self.codes[i][layer][:, :, begin:end] = codes
            self.scales[i][layer][:, :, begin:end] = scales

    def attend(self, layer: int, q: Tensor) -> Tensor:
        S = self.length + q.size(2)
        n, coded = min(S, BLOCK), max(0, S - BLOCK)
        k, v = (x[layer][:, :, :n].float() for x in self.first)
        rows = grouped(q, self.n_head)
        if not coded:
            scores = rows @ k.mT
            hide_future(scores, q.size(2), self.windows.get(layer, 0))
            return ungrouped(scores.softmax(-1) @ v, q)
        codes, values = (x[layer][:, :, :coded] for x in self.codes)
        k_scale, v_scale = (x[layer][:, :, :coded] for x in self.scales)
        k_centre, v_centre = (x[layer].unsqueeze(2) for x in self.centre)
        parts = [rows @ (k - k_centre).mT]
        for at in range(0, coded, KEYS):
            keys = slice(at, at + KEYS)
            parts.append(rows @ widen(codes[:, :, keys]).mT * k_scale[:, :, None, keys])
        scores = torch.cat(parts, -1)
        hide_future(scores, q.size(2), self.windows.get(layer, 0))
        p = scores.softmax(-1)
        y = p[..., :n] @ (v - v_centre) + weigh(p[..., n:], values, v_scale)
        return ungrouped(y + v_centre, q)

    def storages(self) -> Iterator[Tensor]:
        for pair in (self.first, self.codes, self.scales, self.centre):
            for stored in pair:
                yield from stored.values()

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return Layout(
            row=2 * (head_dim // 2 + 4),
            block=BLOCK,
            whole=2 * head_dim * itemsize,
            scales=2 * 4 * head_dim,
            first_whole=True,
        )
