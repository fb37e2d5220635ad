"""K quantised by channel, in blocks: what `int4_channel` and `int8_channel` share.

Some channels of K are far larger than others, so a scale a row wastes codes on the small ones; a
scale a channel does not (KIVI: Liu et al. 2024, arXiv:2402.02750). It takes a block of tokens, and
a block is settled, once and for good, when the next one begins: until then its rows are kept whole.
So a query sees its own block whole and every block before it in codes, whether it is decoded or
comes with many others in one forward. V is in rows, as in `kvbench.caches.coded`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kvbench.caches import BLOCK, Cache
from kvbench.caches.coded import KEYS, Quantise, grouped, hide_future, ungrouped, weigh
from kvbench.costs.layout import Layout
from kvbench.kernels.reference import widen


class ChannelCache(Cache):
    """K as codes (B, n_head, blocks, BLOCK, ...), a scale and an offset a channel; V in rows."""

    bits: int
    quantise: Quantise  # of V's rows

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        heads, hs, width = (self.batch, self.n_head), self.head_dim, self.head_dim * self.bits // 8
        blocks = max(0, -(-self.capacity // BLOCK) - 1)  # the last one is never settled
        codes = torch.uint8 if self.bits == 4 else torch.int8

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> dict[int, Tensor]:
            size = (*heads, *shape)
            return {i: torch.zeros(size, dtype=dtype, device=self.device) for i in self.layers}

        self.k = zeros(blocks, BLOCK, width, dtype=codes)
        self.scale, self.offset = zeros(blocks, hs), zeros(blocks, hs)
        self.open = zeros(min(BLOCK, self.capacity), hs, dtype=self.dtype)
        self.v, self.v_scale = zeros(self.capacity, width, dtype=codes), zeros(self.capacity)
        self.settled = 0  # blocks in codes
        self.fresh: dict[int, Tensor] = {}  # K of a forward of many tokens, from its first block on

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        end = self.length + k.size(2)
        new = slice(self.length, end)
        self.v[layer][:, :, new], self.v_scale[layer][:, :, new] = self.quantise(v)
        kept, n = self.length - self.settled * BLOCK, (end - 1) // BLOCK - self.settled
        if n == 0 and k.size(2) == 1:
            self.open[layer][:, :, kept : kept + 1] = k
            return
        whole = torch.cat([self.open[layer][:, :, :kept], k], 2)
        if n:
            full = whole[:, :, : n * BLOCK].unflatten(2, (n, BLOCK))
            at = slice(self.settled, self.settled + n)
            found = quantise_channels(full, self.bits)
            for stored, x in zip((self.k, self.scale, self.offset), found, strict=True):
                stored[layer][:, :, at] = x
        rest = whole[:, :, n * BLOCK :]
        self.open[layer][:, :, : rest.size(2)] = rest
        if k.size(2) > 1:
            self.fresh[layer] = whole

    def attend(self, layer: int, q: Tensor) -> Tensor:
        T, S = q.size(2), self.length + q.size(2)
        blocks = (S - 1) // BLOCK
        if layer in self.fresh:
            first, whole = self.settled * BLOCK, self.fresh[layer]
        else:
            first = blocks * BLOCK
            whole = self.open[layer][:, :, : S - first]
        rows = grouped(q, self.n_head)
        scores = rows.new_empty(*rows.shape[:3], S)
        for at in range(0, blocks, KEYS // BLOCK):
            some = slice(at, min(at + KEYS // BLOCK, blocks))
            scores[..., at * BLOCK : some.stop * BLOCK] = self._coded(layer, rows, some)
        seen = rows @ whole.float().mT
        scores[..., blocks * BLOCK :] = seen[..., blocks * BLOCK - first :]
        if first < blocks * BLOCK:  # of many tokens, some see as whole what others see in codes
            keys = torch.arange(first, blocks * BLOCK, device=q.device) // BLOCK
            queries = torch.arange(self.length, S, device=q.device) // BLOCK
            own = (queries[:, None] == keys).repeat(rows.size(2) // T, 1)  # (R, keys)
            mixed = scores[..., first : blocks * BLOCK]
            mixed.copy_(torch.where(own, seen[..., : len(keys)], mixed))
        hide_future(scores, T, self.windows.get(layer, 0))
        p = scores.softmax(-1)
        return ungrouped(weigh(p, self.v[layer][:, :, :S], self.v_scale[layer][:, :, :S]), q)

    def _coded(self, layer: int, rows: Tensor, blocks: slice) -> Tensor:
        """Scores (B, nkv, R, keys) of settled blocks: q.(s c + o) = (q s).c + q.o."""
        k, scale, offset = (x[layer][:, :, blocks] for x in (self.k, self.scale, self.offset))
        scaled = rows.unsqueeze(2) * scale.unsqueeze(3)  # (B, nkv, blocks, R, hs)
        scores = scaled @ widen(k).mT + (rows @ offset.mT).mT.unsqueeze(-1)
        return scores.transpose(2, 3).flatten(3)

    def advance(self, T: int) -> None:
        super().advance(T)
        self.settled = max(self.settled, (self.length - 1) // BLOCK)
        self.fresh.clear()

    def rewind(self, length: int) -> None:
        """As every cache, but not into a settled block: its whole rows are gone. ValueError."""
        if 0 < length < self.settled * BLOCK:
            raise ValueError(f"cannot rewind to {length}: {self.settled} blocks are settled")
        super().rewind(length)
        self.settled = self.settled if length else 0

    def storages(self) -> Iterator[Tensor]:
        for stored in (self.k, self.scale, self.offset, self.open, self.v, self.v_scale):
            yield from stored.values()

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        codes = head_dim * cls.bits // 8
        v_row = codes + 4
        return Layout(
            row=codes + v_row,
            block=BLOCK,
            whole=head_dim * itemsize + v_row,
            scales=2 * 4 * head_dim,
        )


def quantise_channels(x: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scale and offset of each channel of blocks x (..., BLOCK, hs): x ~ codes * scale + o.

    Codes use the whole range from the channel's least to its greatest; scale and offset (..., hs)
    fp32. int8, or uint8 (..., hs / 2) that hold two signed 4-bit codes, the even channel low.
    """
    x = x.float()
    levels = 2**bits
    low, high = x.amin(-2, keepdim=True), x.amax(-2, keepdim=True)
    scale = (high - low) / (levels - 1)
    steps = ((x - low) / scale).round().clamp(0, levels - 1).where(scale > 0, 0.0)
    middle = levels // 2
    codes = (steps - middle).to(torch.int8)
    offset = low + torch.where(scale > 0, middle * scale, 0.0)
    if bits == 4:
        codes = (codes[..., ::2] & 15 | codes[..., 1::2] << 4).view(torch.uint8)
    return codes, scale.squeeze(-2), offset.squeeze(-2)
