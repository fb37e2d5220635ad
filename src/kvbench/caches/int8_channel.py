"""The INT8 KV cache with a scale a channel for K, by blocks, and a scale a row for V."""

from __future__ import annotations

from kvbench.caches.channel import ChannelCache
from kvbench.kernels.reference import quantise_int8


class KVCache(ChannelCache):
    """`kvbench.caches.channel` in 8 bits."""

    bits = 8
    quantise = staticmethod(quantise_int8)
