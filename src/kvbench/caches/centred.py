"""Caches of rows less their mean, over the first block of the sequence.

K and V have a part that all tokens share, and codes spent on it say nothing. The centre is the mean
of the first BLOCK tokens, which are kept whole for good: it looks at no token after them, and no
row is ever coded twice. A key's centre shifts all scores of a query alike, a value's is added back
to the output: both cost one product a query.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kvbench.caches import BLOCK, Cache
from kvbench.caches.attending import grouped, hide_future, ungrouped
from kvbench.caches.by_layer import by_layer
from kvbench.caches.codecs import codec, scores, weigh
from kvbench.caches.coded import Described
from kvbench.costs.description import Description


class CentredCache(Described, Cache):
    """The first BLOCK rows as they are, then coded rows of what is left without their mean."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        heads, hs, coded = (self.batch, self.n_head), self.head_dim, self.capacity - BLOCK
        parts = self.description.keys, self.description.values
        self.codecs = [codec(part, hs, self.dtype) for part in parts]

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> dict[int, Tensor]:
            size = (*heads, *shape)
            return {i: torch.zeros(size, dtype=dtype, device=self.device) for i in self.layers}

        self.first = [zeros(min(BLOCK, self.capacity), hs, dtype=self.dtype) for _ in "kv"]
        n = max(0, coded)
        self.coded = [
            {i: of.zeros(*heads, n, self.device) for i in self.layers} for of in self.codecs
        ]
        self.centre = [zeros(hs * (n > 0)) for _ in "kv"]

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        whole = min(k.size(2), max(0, BLOCK - self.length))  # of the new tokens
        begin, end = self.length + whole - BLOCK, self.length + k.size(2) - BLOCK
        rows = self.turned(self.unbiased(layer, k), "keys"), self.turned(v, "values")
        for i, x in enumerate(rows):
            first, centre = self.first[i][layer], self.centre[i][layer]
            first[:, :, self.length : self.length + whole] = x[:, :, :whole]
            if end <= 0:
                continue
            if self.length <= BLOCK:
                centre.copy_(first.float().mean(2))
            rest = x[:, :, whole:].float() - centre.unsqueeze(2)
            for stored, new in zip(self.coded[i][layer], self.codecs[i].encode(rest), strict=True):
                stored[:, :, begin:end] = new

    def attend(self, layer: int, q: Tensor) -> Tensor:
        S = self.length + q.size(2)
        n, coded = min(S, BLOCK), max(0, S - BLOCK)
        k, v = (x[layer][:, :, :n].float() for x in self.first)
        rows, known = grouped(self.turned(q, "keys"), self.n_head), self.known(layer, q, S)
        if not coded:
            found = rows @ k.mT
        else:
            k_centre, v_centre = (x[layer].unsqueeze(2) for x in self.centre)
            k_coded, v_coded = ([x[:, :, :coded] for x in part[layer]] for part in self.coded)
            first = rows @ (k - k_centre).mT
            found = torch.cat([first, scores(rows, k_coded, self.codecs[0])], -1)
        if known is not None:
            found += known
        hide_future(found, q.size(2), self.windows.get(layer, 0))
        p = found.softmax(-1)
        if not coded:
            return ungrouped(self.turned_back(p @ v), q)
        y = p[..., :n] @ (v - v_centre) + weigh(p[..., n:], v_coded, self.codecs[1])
        return ungrouped(self.turned_back(y + v_centre), q)

    def storages(self) -> Iterator[Tensor]:
        for layer in self.layers:
            for pair in (self.first, self.centre):
                yield from (stored[layer] for stored in pair)
            for part in self.coded:
                yield from part[layer]


@cache
def described(description: Description) -> type[Cache]:
    """The class of caches of a description."""
    return by_layer(CentredCache, description)
