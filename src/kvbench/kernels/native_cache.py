"""Any cache whose rows the native kernels can read, decoded by them."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from kvbench.caches import Cache
from kvbench.caches.static import HasRows
from kvbench.kernels.bound import fits
from kvbench.kernels.native import Native


class NativeCache:
    """A cache that appends and decodes through native kernels; everything else is its own.

    Its storages are bound once; a step then is three calls a layer, one for a borrower, and nothing
    is allocated but the attention's output.
    """

    def __init__(self, cache: Cache, native: Native) -> None:
        self.cache, held = cache, cast(HasRows, cache)
        self.appends, self.attentions = {}, {}
        for layer in cache.layers:
            k, v, k_scale, v_scale = held.rows(layer)
            self.appends[layer] = native.append(k, k_scale), native.append(v, v_scale)
            self.attentions[layer] = native.attention(k, v, k_scale, v_scale)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cache, name)

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        append_k, append_v = self.appends[layer]
        append_k(k, self.cache.length)
        append_v(v, self.cache.length)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        if q.size(2) > 1:
            return self.cache.attend(layer, q)  # a prefill is bound by arithmetic: torch's kernels
        return self.attentions[layer](q, self.cache.length + 1, q.new_empty(q.shape))


def native_or_same(cache: Cache, native: Native | None) -> Cache:
    """The cache on native kernels where they can read what it stores, else the cache itself."""
    if native is None or not hasattr(cache, "rows") or not fits(cache.rows(cache.layers[0])[0]):
        return cache
    return cast(Cache, NativeCache(cache, native))
