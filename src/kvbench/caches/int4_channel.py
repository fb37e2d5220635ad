"""The INT4 KV cache with a scale a channel for K, by blocks, and a scale a row for V."""

from __future__ import annotations

from kvbench.caches.channel import ChannelCache
from kvbench.kernels.reference import quantise_int4


class KVCache(ChannelCache):
    """`kvbench.caches.channel` in 4 bits."""

    bits = 4
    quantise = staticmethod(quantise_int4)
