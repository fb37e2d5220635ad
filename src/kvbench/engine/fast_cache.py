"""Caches that append, attend or quantise through other kernels than their own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kvbench.caches import Cache, CacheWrapper, causal_sdpa
from kvbench.engine.backend import Choice
from kvbench.engine.static_view import Rows, kernel_rows, of_layer, readable, rows_of
from kvbench.kernels.reference import FP8, decode_attention, dequantise

if TYPE_CHECKING:
    from kvbench.engine.native_step import NativeStep
    from kvbench.kernels.cpu.library import Native

CODES = (torch.int8, torch.uint8, *FP8)
FORGETS = f"{CacheWrapper.__module__}.none"  # itself, not one made of it: that may attend otherwise
WIDEN_FROM = 128  # tokens, below which the calls of widening cost more than it saves


class NativeCache(CacheWrapper):
    """A cache that appends and decodes through native kernels; everything else is its own.

    Its storages are bound once; a step then is three calls a layer, one for a borrower, and nothing
    is allocated but the attention's output. Rows that are stored turned are turned by products.
    """

    decode_kernel = "native"
    step: NativeStep | None = None  # of a whole model over this cache

    def __init__(self, cache: Cache, native: Native) -> None:
        super().__init__(cache)
        self.native = native
        self.appends, self.attentions = {}, {}
        self.turning: dict[int, Any] = {}  # layers whose rows are not stored as they come
        for layer in cache.layers:
            own: Any = of_layer(cache, layer)
            k, v, k_scale, v_scale = stored_rows(own, layer)
            of_k, of_v = getattr(own, "blocks", (False, False))
            self.appends[layer] = native.append(k, k_scale, of_k), native.append(v, v_scale, of_v)
            self.attentions[layer] = native.attention(k, v, k_scale, v_scale)
            if not hasattr(own, "rows"):
                self.turning[layer] = own

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        if k.size(2) > 1 and layer in self.cache.rings:
            self.cache.update(layer, k, v)
            return
        if own := self.turning.get(layer):
            k, v = own.turned(k, "keys"), own.turned(v, "values")
        append_k, append_v = self.appends[layer]
        at = self.cache.slot(layer, self.cache.length)
        append_k(k, at)
        append_v(v, at)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        if q.size(2) > 1:
            return self._attend_many(layer, q)
        attention = self.attentions[layer]
        n = min(self.cache.length + 1, attention.capacity)
        if own := self.turning.get(layer):
            turned = own.turned(q, "keys")
            y = attention(turned, n, turned.new_empty(q.shape))
            return own.turned_back(y).to(q.dtype)
        return attention(q, n, q.new_empty(q.shape))

    def _attend_many(self, layer: int, q: Tensor) -> Tensor:
        """A prefill is bound by arithmetic: causal attention to floats, codes in fp32."""
        k, v, k_scale, v_scale = stored_rows(of_layer(self.cache, layer), layer)
        end = self.cache.length + q.size(2)
        if layer in self.turning or layer in self.cache.rings or k.dtype is not v.dtype:
            return self.cache.attend(layer, q)
        k, v = k[:, :, :end], v[:, :, :end]
        if k_scale is not None and v_scale is not None:
            k = dequantise(k, k_scale[:, :, :end])
            v = dequantise(v, v_scale[:, :, :end])
        return causal(self.native, q, k, v)


class NativeUncached(CacheWrapper):
    """The cache that forgets, whose attention of a whole sequence is the native kernels'."""

    def __init__(self, cache: Any, native: Native) -> None:
        super().__init__(cache)
        self.native, self._rows = native, cache.this_forward

    def attend(self, layer: int, q: Tensor) -> Tensor:
        if layer in self.cache.windows:
            return self.cache.attend(layer, q)
        return causal(self.native, q, *self._rows[layer])


def causal(native: Native, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of T queries, the newest of S keys, natively where that is faster."""
    if native.attends_prompts:
        return native.attend_prompt(q, k, v)
    return causal_sdpa(q.to(k.dtype), k, v).to(q.dtype)


def stored_rows(cache: Cache, layer: int) -> Rows:
    """What a cache stores of one layer, turned or not, where the native kernels can read it."""
    return cache.native_rows(layer) if hasattr(cache, "native_rows") else rows_of(cache, layer)


def with_native_attention(cache: Cache, native: Native | None) -> Cache:
    """The cache on native kernels where they can read what it stores, else the cache itself."""
    if native is None:
        return cache
    if type(cache).__module__ == FORGETS:
        return NativeUncached(cache, native)
    fits = import_module("kvbench.kernels.cpu.tensors").fits
    for layer in cache.layers:
        own = of_layer(cache, layer)
        if not (hasattr(own, "rows") or hasattr(own, "native_rows")):
            return cache
        if not all(map(fits, stored_rows(own, layer)[:2])):
            return cache
    return NativeCache(cache, native)


class PromptCache(CacheWrapper):
    """A cache of codes on CUDA whose prompts are quantised by one kernel a layer.

    Queries of several tokens attend, by torch's fused attention, to rows as they are stored, as
    numbers rounded to the model's dtype. Layers that store no codes are the cache's own.
    """

    def __init__(self, cache: Cache) -> None:
        kernels = import_module("kvbench.kernels.triton.bound")  # by name: of CUDA devices alone
        super().__init__(cache)
        self._stores = {}
        self._turning: dict[int, Any] = {}  # layers whose rows are not stored as they come
        for layer in cache.layers:
            rows, blocks, turned = kernel_rows(cache, layer)
            if any(x.dtype in CODES for x in rows[:2]):
                self._stores[layer] = kernels.Quantise(*rows, blocks)
            if any(turned):
                self._turning[layer] = of_layer(cache, layer)
        self._newest: tuple[int, tuple[Tensor, Tensor]] | None = None  # a whole prompt's rows

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        if layer not in self._stores:
            self.cache.update(layer, k, v)
            return
        at = self.cache.length
        read = None if at else (k.new_empty(k.shape), v.new_empty(v.shape))
        if own := self._turning.get(layer):
            k, v = own.turned(k, "keys"), own.turned(v, "values")
        self._stores[layer].store(k, v, at, read)
        self._newest = (layer, read) if read else None

    def attend(self, layer: int, q: Tensor) -> Tensor:
        if layer not in self._stores:
            return self.cache.attend(layer, q)
        end = self.cache.length + q.size(2)
        if self._newest is not None and self._newest[0] == layer:
            k, v = self._newest[1]
        else:
            k, v = self._stores[layer].read(end, q.dtype)
        if own := self._turning.get(layer):
            y = causal_sdpa(own.turned(q, "keys").to(q.dtype), k, v)
            return own.turned_back(y.float()).to(q.dtype)
        return causal_sdpa(q, k, v)


class WidenedCache(CacheWrapper):
    """A cache of two-byte floats whose rows are widened a few hundred at a time, and multiplied so.

    torch's fused attention of one row reads bfloat16 at two thirds of what this does, and fp32
    products are the more exact ones. It needs no compiler.
    """

    def attend(self, layer: int, q: Tensor) -> Tensor:
        k, v, _, _ = rows_of(self.cache, layer)
        n = min(self.cache.length + 1, k.size(2))
        if q.size(2) > 1 or n < WIDEN_FROM:
            return self.cache.attend(layer, q)
        return decode_attention(q, k, v, n, q.new_empty(q.shape))


def _floats(cache: Cache) -> bool:
    """Whether K and V of every layer are in the model's own dtype."""
    stored = (x for layer in cache.layers for x in rows_of(cache, layer)[:2])
    return all(x.dtype is cache.dtype for x in stored)


def _quantises(cache: Cache) -> bool:
    """Whether one kernel quantises a prompt's rows of each layer that stores codes."""
    if cache.rings or not readable(type(cache)):
        return False
    stored = {x.dtype for layer in cache.layers for x in kernel_rows(cache, layer)[0][:2]}
    return not stored.isdisjoint(CODES)


def decode_kernel(cache: Cache) -> str:
    """Whose kernels compute a decode step's attention over `cache` where the model calls it."""
    return getattr(cache, "decode_kernel", "torch")


def with_fast_attention(cache: Cache, choice: Choice) -> Cache:
    """The cache as the choice reads it: natively, widened, or by its own attention."""
    if choice.kernel == "triton":
        return PromptCache(cache) if _quantises(cache) else cache
    if choice.widened and hasattr(cache, "rows") and _floats(cache):
        return WidenedCache(cache)
    return with_native_attention(cache, choice.native)
