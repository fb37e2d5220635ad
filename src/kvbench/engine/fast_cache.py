"""Caches that append, attend or quantise through other kernels than their own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from kvbench.caches import Cache, causal_sdpa
from kvbench.caches.rows import RowCache
from kvbench.engine.backend import Choice
from kvbench.engine.static_view import HasRows
from kvbench.kernels.reference import decode_attention

if TYPE_CHECKING:
    from kvbench.kernels.cpu.library import Native

WIDEN_FROM = 128  # tokens, below which the calls of widening cost more than it saves


class NativeCache:
    """A cache that appends and decodes through native kernels; everything else is its own.

    Its storages are bound once; a step then is three calls a layer, one for a borrower, and nothing
    is allocated but the attention's output.
    """

    decode_kernel = "native"

    def __init__(self, cache: RowCache, native: Native) -> None:
        self.cache, held = cache, cast(HasRows, cache)
        self.appends, self.attentions = {}, {}
        for layer in cache.layers:
            k, v, k_scale, v_scale = held.rows(layer)
            self.appends[layer] = native.append(k, k_scale), native.append(v, v_scale)
            self.attentions[layer] = native.attention(k, v, k_scale, v_scale)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cache, name)

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        if k.size(2) > 1 and layer in self.cache.rings:
            self.cache.update(layer, k, v)
            return
        append_k, append_v = self.appends[layer]
        at = self.cache.slot(layer, self.cache.length)
        append_k(k, at)
        append_v(v, at)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        if q.size(2) > 1:
            return self.cache.attend(layer, q)  # a prefill is bound by arithmetic: torch's kernels
        attention = self.attentions[layer]
        n = min(self.cache.length + 1, attention.capacity)
        return attention(q, n, q.new_empty(q.shape))


def with_native_attention(cache: Cache, native: Native | None) -> Cache:
    """The cache on native kernels where they can read what it stores, else the cache itself."""
    if native is None or not hasattr(cache, "rows"):
        return cache
    if not import_module("kvbench.kernels.cpu.bound").fits(cache.rows(cache.layers[0])[0]):
        return cache
    return cast(Cache, NativeCache(cast(RowCache, cache), native))


class PromptCache:
    """A cache of codes on CUDA whose prompts are quantised by one kernel a layer.

    Queries of several tokens attend, by torch's fused attention, to rows as they are stored, code
    times scale, rounded to the model's dtype.
    """

    def __init__(self, cache: Cache) -> None:
        kernels = import_module("kvbench.kernels.triton.bound")  # by name: of CUDA devices alone
        self.cache = cache
        self._stores = {
            layer: kernels.Quantise(*coded_rows(cache, layer)) for layer in cache.layers
        }
        self._newest: tuple[int, tuple[Tensor, Tensor]] | None = None  # a whole prompt's rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cache, name)

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        at = self.cache.length
        read = None if at else (k.new_empty(k.shape), v.new_empty(v.shape))
        self._stores[layer].store(k, v, at, read)
        self._newest = (layer, read) if read else None

    def attend(self, layer: int, q: Tensor) -> Tensor:
        end = self.cache.length + q.size(2)
        if self._newest is not None and self._newest[0] == layer:
            k, v = self._newest[1]
        else:
            k, v = self._stores[layer].read(end, q.dtype)
        return causal_sdpa(q, k, v)


def coded_rows(cache: Cache, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes of K and V of one layer, and their scales, of a cache that stores codes."""
    k, v, k_scale, v_scale = cast(HasRows, cache).rows(layer)
    assert k_scale is not None and v_scale is not None
    return k, v, k_scale, v_scale


class WidenedCache:
    """A cache of two-byte floats whose rows are widened a few hundred at a time, and multiplied so.

    torch's fused attention of one row reads bfloat16 at two thirds of what this does, and fp32
    products are the more exact ones. It needs no compiler.
    """

    def __init__(self, cache: RowCache) -> None:
        self.cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cache, name)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        k, v, _, _ = cast(HasRows, self.cache).rows(layer)
        n = min(self.cache.length + 1, k.size(2))
        if q.size(2) > 1 or n < WIDEN_FROM:
            return self.cache.attend(layer, q)
        return decode_attention(q, k, v, n, q.new_empty(q.shape))


def decode_kernel(cache: Cache) -> str:
    """Whose kernels compute a decode step's attention over `cache` where the model calls it."""
    return getattr(cache, "decode_kernel", "torch")


def with_fast_attention(cache: Cache, choice: Choice) -> Cache:
    """The cache as the choice reads it: natively, widened, or by its own attention."""
    if choice.kernel == "triton":
        coded = hasattr(cache, "rows") and cache.rows(cache.layers[0])[2] is not None
        coded = coded and not cast(RowCache, cache).rings
        return cast(Cache, PromptCache(cache)) if coded else cache
    if choice.widened and hasattr(cache, "rows") and cache.rows(cache.layers[0])[2] is None:
        return cast(Cache, WidenedCache(cast(RowCache, cache)))
    return with_native_attention(cache, choice.native)
