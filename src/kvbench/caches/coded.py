"""Caches of rows: K and V each in a format of its own, a row a token, in rings where there are any.

Attention is in fp32, but where K and V are both in the model's dtype: then it is torch's fused one.
Shapes: R = nh / nkv * T queries share a K/V head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kvbench.caches import Cache, sdpa
from kvbench.caches.attending import grouped, hide_future, ungrouped
from kvbench.caches.by_layer import by_layer
from kvbench.caches.codecs import Codec, codec, scores, weigh
from kvbench.caches.rows import RowCache
from kvbench.costs.description import Description
from kvbench.costs.layout import Layout, layout_of
from kvbench.costs.part import BLOCKS
from kvbench.kernels.hadamard import hadamard

# Of a layer, what every key has in common at positions (T,): (nkv, T or 1, hs) fp32, or None.
KeyBias = Callable[[int, Tensor], Tensor | None]


class Described(Cache):
    """What caches of a description share: its layout, rotations, and a bias taken from keys."""

    description: Description
    bias: KeyBias | None = None

    def bind(self, bias: KeyBias) -> None:
        """Take the model's bias from keys that are stored. Raises ValueError for rings."""
        if self.rings:
            raise ValueError("key_bias: split is not implemented in layers of a sliding window")
        self.bias = bias

    def turned(self, x: Tensor, part: str) -> Tensor:
        """Rows of `keys` (and of queries) or `values` as they are stored, still in floats."""
        here = self.description.turned[part == "values"]
        return x.float() @ hadamard(x.size(-1), x.device) if here else x

    def turned_back(self, y: Tensor) -> Tensor:
        """Sums of values as they were before they were turned."""
        return y @ hadamard(y.size(-1), y.device) if self.description.turned[1] else y

    def unbiased(self, layer: int, k: Tensor) -> Tensor:
        """Keys (B, nkv, T, hs) that follow the `length` held, less what is known of them."""
        if self.description.key_bias == "kept":
            return k
        if self.bias is None:
            raise ValueError("key_bias: split needs the model's bias: make the cache by the model")
        known = self.bias(layer, self.positions(k.size(2)))
        return k if known is None else k.float() - known

    def known(self, layer: int, q: Tensor, end: int) -> Tensor | None:
        """What a bias adds to the scores (B, nkv, R, end) of queries; None for nothing."""
        if self.bias is None:
            return None
        known = self.bias(layer, torch.arange(end, device=q.device))
        return None if known is None else grouped(q, self.n_head) @ known.mT

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return layout_of(cls.description, head_dim, itemsize)


class CodedRows(Described, RowCache):
    """K and V row by row, as a K codec and a V codec keep them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        parts = self.description.keys, self.description.values
        self.codecs = [codec(part, self.head_dim, self.dtype) for part in parts]
        size = self.batch, self.n_head
        self.k, self.v = (
            {i: of.zeros(*size, self.room(i), self.device) for i in self.layers}
            for of in self.codecs
        )
        self.exact = all(type(of) is Codec and of.dtype is self.dtype for of in self.codecs)

    def held(self, layer: int) -> Sequence[Tensor]:
        """The tensors that hold K of one layer, then those of V."""
        return *self.k[layer], *self.v[layer]

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        super().update(layer, self.unbiased(layer, k), v)

    def encode(self, k: Tensor, v: Tensor) -> Sequence[Tensor]:
        of_k, of_v = self.codecs
        return *of_k.encode(self.turned(k, "keys")), *of_v.encode(self.turned(v, "values"))

    def attend(self, layer: int, q: Tensor) -> Tensor:
        end = self.length + q.size(2)
        if (known := self.known(layer, q, end)) is None:
            return super().attend(layer, q)
        return self._read(q, [x[:, :, :end] for x in self.held(layer)], known=known)

    def read(self, q: Tensor, rows: Sequence[Tensor], seen: Tensor | None = None) -> Tensor:
        if not self.exact:
            return self._read(q, rows, seen)
        k, v = rows
        return sdpa(q, k, v, seen)

    def _read(
        self,
        q: Tensor,
        rows: Sequence[Tensor],
        seen: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Attention to rows of `held`, with scores that are known beside those of the rows."""
        (of_k, of_v), first = self.codecs, len(self.k[self.layers[0]])
        products = scores(grouped(self.turned(q, "keys"), self.n_head), rows[:first], of_k)
        if known is not None:
            products += known
        if seen is None:
            hide_future(products, q.size(2))
        else:
            products.unflatten(2, (-1, q.size(2))).masked_fill_(~seen, -torch.inf)
        return ungrouped(self.turned_back(weigh(products.softmax(-1), rows[first:], of_v)), q)


class KernelRows(CodedRows):
    """Rows of floats, or of codes with their scales, which kernels of GPUs know: given turned rows.

    Codes of `blocks` are llama.cpp's.
    """

    def kernel_rows(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """K and V of one layer, and their scales where coded."""
        (k, *k_scale), (v, *v_scale) = self.k[layer], self.v[layer]
        return k, v, k_scale[0] if k_scale else None, v_scale[0] if v_scale else None

    @property
    def blocks(self) -> tuple[bool, bool]:
        """Whether K, and V, are rounded as llama.cpp's blocks."""
        of_k, of_v = (of.part.type in BLOCKS for of in self.codecs)
        return of_k, of_v


class NativeRows(KernelRows):
    """As above, which kernels of CPUs know as well."""

    native_rows = KernelRows.kernel_rows


class ReadableRows(NativeRows):
    """Rows as they came, with an fp32 scale where coded: who reads them need know no more."""

    rows = KernelRows.kernel_rows


@cache
def described(description: Description) -> type[Cache]:
    """The class of caches of a description."""
    codecs = [codec(part, 64, torch.float32) for part in (description.keys, description.values)]
    base: type[CodedRows] = CodedRows
    if description.key_bias == "kept" and all(of.on_gpu for of in codecs):
        readable = not any(description.turned) and all(of.native for of in codecs)
        on_cpu = NativeRows if all(of.on_cpu for of in codecs) else KernelRows
        base = ReadableRows if readable else on_cpu
    own = {"sinks": description.sinks, "window": description.window or 0}
    return by_layer(base, description, **own)
