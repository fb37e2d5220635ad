"""Caches with a scale a channel, by blocks of tokens: of keys, of values, or of both.

Some channels of K are far larger than others, so a scale a row wastes codes on the small ones; a
scale a channel does not (KIVI: Liu et al. 2024, arXiv:2402.02750). It takes a block of tokens, and
a block is settled, once and for good, when the next one begins: until then its rows are kept whole.
So a query sees its own block whole and every block before it in codes, whether it is decoded or
comes with many others in one forward. What is not by channel is stored by rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kvbench.caches import Cache
from kvbench.caches.attending import grouped, hide_future, ungrouped
from kvbench.caches.by_layer import by_layer
from kvbench.caches.codecs import DTYPES, KEYS, codec, scores, weigh
from kvbench.caches.coded import Described
from kvbench.costs.description import Description
from kvbench.costs.part import Part
from kvbench.kernels.reference import over, packed, widen


class Rows:
    """K or V of one layer, row by row."""

    def __init__(self, part: Part, cache: Cache) -> None:
        self.codec = codec(part, cache.head_dim, cache.dtype)
        sizes = cache.batch, cache.n_head, cache.capacity
        self.stored = self.codec.zeros(*sizes, cache.device)

    def store(self, x: Tensor, length: int, settled: int) -> None:
        """Rows x (B, H, T, hs) after the first `length`."""
        for stored, new in zip(self.stored, self.codec.encode(x), strict=True):
            stored[:, :, length : length + x.size(2)] = new

    def scores(self, queries: Tensor, T: int, end: int, settled: int) -> Tensor:
        """Products (B, H, R, end) of queries of the T newest tokens with the first `end` rows."""
        return scores(queries, [x[:, :, :end] for x in self.stored], self.codec)

    def weigh(self, p: Tensor, T: int, end: int, settled: int) -> Tensor:
        """The sum (B, H, R, hs) of the first `end` rows with weights p (B, H, R, end)."""
        return weigh(p, [x[:, :, :end] for x in self.stored], self.codec)

    def forget(self) -> None:
        """A forward has ended."""


class Blocks:
    """K or V of one layer as codes (B, H, blocks, block, ...), a scale and an offset a channel."""

    def __init__(self, part: Part, cache: Cache) -> None:
        self.bits, self.block, hs = (4 if part.type == "int4" else 8), part.block, cache.head_dim
        self.scale_type = DTYPES[part.scale_type]
        blocks = max(0, -(-cache.capacity // self.block) - 1)  # the last one is never settled

        def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
            size = cache.batch, cache.n_head, *shape
            return torch.zeros(size, dtype=dtype, device=cache.device)

        codes = zeros(blocks, self.block, hs * self.bits // 8, dtype=DTYPES[part.type])
        numbers = [zeros(blocks, hs, dtype=self.scale_type) for _ in ("scale", "offset")]
        self.coded = [codes, *numbers]
        self.open = zeros(min(self.block, cache.capacity), hs, dtype=cache.dtype)
        self.fresh: Tensor | None = None  # of a forward of many tokens, from its first block on

    @property
    def stored(self) -> list[Tensor]:
        return [*self.coded, self.open]

    def store(self, x: Tensor, length: int, settled: int) -> None:
        """Rows x (B, H, T, hs) after the first `length`, of which `settled` blocks are coded."""
        kept = length - settled * self.block
        n = (length + x.size(2) - 1) // self.block - settled
        if n == 0 and x.size(2) == 1:
            self.open[:, :, kept : kept + 1] = x
            return
        whole = torch.cat([self.open[:, :, :kept].to(x.dtype), x], 2)
        if n:
            full = whole[:, :, : n * self.block].unflatten(2, (n, self.block))
            found = quantise_channels(full, self.bits, self.scale_type)
            for stored, new in zip(self.coded, found, strict=True):
                stored[:, :, settled : settled + n] = new
        rest = whole[:, :, n * self.block :]
        self.open[:, :, : rest.size(2)] = rest
        if x.size(2) > 1:
            self.fresh = whole

    def _parts(self, end: int, settled: int) -> tuple[int, int, Tensor]:
        """Coded blocks of the first `end` rows, and from which row on which are there whole."""
        blocks = (end - 1) // self.block
        if self.fresh is not None:
            return blocks, settled * self.block, self.fresh
        return blocks, blocks * self.block, self.open[:, :, : end - blocks * self.block]

    def _some(self, blocks: int) -> Iterator[slice]:
        """Blocks that are widened at a time."""
        step = max(1, KEYS // self.block)
        yield from (slice(at, min(at + step, blocks)) for at in range(0, blocks, step))

    def _read(self, some: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, scales and offsets of some blocks, in fp32."""
        codes, scale, offset = (x[:, :, some] for x in self.coded)
        return widen(codes), scale.float(), offset.float()

    def _own(self, T: int, first: int, blocks: int, end: int, like: Tensor) -> Tensor:
        """Which of rows `first` up to the open block lie in each query's own block: (R, rows)."""
        keys = torch.arange(first, blocks * self.block, device=like.device) // self.block
        queries = torch.arange(end - T, end, device=like.device) // self.block
        return (queries[:, None] == keys).repeat(like.size(2) // T, 1)

    def scores(self, queries: Tensor, T: int, end: int, settled: int) -> Tensor:
        """Products (B, H, R, end) of queries of the T newest tokens with the first `end` rows."""
        blocks, first, whole = self._parts(end, settled)
        out, coded = queries.new_empty(*queries.shape[:3], end), blocks * self.block
        for some in self._some(blocks):
            # q.(s c + o) = (q s).c + q.o
            k, scale, offset = self._read(some)
            scaled = queries.unsqueeze(2) * scale.unsqueeze(3)  # (B, H, blocks, R, hs)
            found = scaled @ k.mT + (queries @ offset.mT).mT.unsqueeze(-1)
            found = found.transpose(2, 3).flatten(3)
            out[..., some.start * self.block : some.stop * self.block] = found
        seen = queries @ whole.float().mT
        out[..., coded:] = seen[..., coded - first :]
        if first < coded:  # of many tokens, some see as whole what others see in codes
            own = self._own(T, first, blocks, end, queries)
            mixed = out[..., first:coded]
            mixed.copy_(torch.where(own, seen[..., : coded - first], mixed))
        return out

    def weigh(self, p: Tensor, T: int, end: int, settled: int) -> Tensor:
        """The sum (B, H, R, hs) of the first `end` rows with weights p (B, H, R, end)."""
        blocks, first, whole = self._parts(end, settled)
        coded = blocks * self.block
        in_codes, plain = p[..., :coded], p[..., first:]
        if first < coded:
            own = self._own(T, first, blocks, end, p)
            in_codes = in_codes.clone()
            in_codes[..., first:].masked_fill_(own, 0.0)
            plain = plain.clone()
            plain[..., : coded - first].masked_fill_(~own, 0.0)
        y = plain @ whole.float()
        for some in self._some(blocks):
            v, scale, offset = self._read(some)
            weights = in_codes[..., some.start * self.block : some.stop * self.block]
            weights = weights.unflatten(-1, (-1, self.block)).transpose(2, 3)  # (B, H, n, R, block)
            sums = weights @ v * scale.unsqueeze(3)
            y = y + (sums + weights.sum(-1, keepdim=True) * offset.unsqueeze(3)).sum(2)
        return y

    def forget(self) -> None:
        """A forward has ended."""
        self.fresh = None


class ChannelCache(Described, Cache):
    """K and V of every layer as `Blocks` or as `Rows`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        parts = self.description.keys, self.description.values
        self.block = max(part.block for part in parts)
        self.k, self.v = (
            {i: (Blocks if part.block else Rows)(part, self) for i in self.layers} for part in parts
        )
        self.settled = 0  # blocks in codes

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        k = self.turned(self.unbiased(layer, k), "keys")
        self.k[layer].store(k, self.length, self.settled)
        self.v[layer].store(self.turned(v, "values"), self.length, self.settled)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        T, end = q.size(2), self.length + q.size(2)
        where = T, end, self.settled
        found = self.k[layer].scores(grouped(self.turned(q, "keys"), self.n_head), *where)
        if (known := self.known(layer, q, end)) is not None:
            found += known
        hide_future(found, T, self.windows.get(layer, 0))
        return ungrouped(self.turned_back(self.v[layer].weigh(found.softmax(-1), *where)), q)

    def advance(self, T: int) -> None:
        super().advance(T)
        self.settled = max(self.settled, (self.length - 1) // self.block)
        for stored in (*self.k.values(), *self.v.values()):
            stored.forget()

    def rewind(self, length: int) -> None:
        """As every cache, but not into a settled block: its whole rows are gone. ValueError."""
        if 0 < length < self.settled * self.block:
            raise ValueError(f"cannot rewind to {length}: {self.settled} blocks are settled")
        super().rewind(length)
        self.settled = self.settled if length else 0

    def storages(self) -> Iterator[Tensor]:
        for stored in (*self.k.values(), *self.v.values()):
            yield from stored.stored


@cache
def described(description: Description) -> type[Cache]:
    """The class of caches of a description."""
    return by_layer(ChannelCache, description)


def quantise_channels(
    x: Tensor, bits: int, scale_type: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scale and offset of each channel of blocks x (..., block, hs): x ~ codes * scale + o.

    Codes use the whole range from the channel's least to its greatest; scale and offset (..., hs)
    of `scale_type`, of which codes are made as stored. int8, or uint8 (..., hs / 2) that hold two
    signed 4-bit codes, the even channel low.
    """
    x = x.float()
    levels = 2**bits
    low, high = x.amin(-2, keepdim=True), x.amax(-2, keepdim=True)
    scale = over(high - low, levels - 1).to(scale_type).float()
    steps = ((x - low) / scale).round().clamp(0, levels - 1).where(scale > 0, 0.0)
    middle = levels // 2
    codes = (steps - middle).to(torch.int8)
    offset = (low + torch.where(scale > 0, middle * scale, 0.0)).to(scale_type)
    if bits == 4:
        codes = packed(codes)
    return codes, scale.to(scale_type).squeeze(-2), offset.squeeze(-2)
