"""The window of `kvbench.caches.window` in rotated INT4 rows (`kvbench.caches.int4_hadamard`)."""

from __future__ import annotations

from kvbench.caches import int4_hadamard, window


class KVCache(window.Window, int4_hadamard.KVCache):
    """Rings of INT4 rows: 256 tokens and no more, at 36 bytes a row of 64 channels."""
