"""The window of `kvbench.caches.window` in rotated INT4 rows (`kvbench.caches.int4_hadamard`)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kvbench.caches import int4_hadamard, window


class KVCache(window.KVCache):
    """A ring of INT4 rows: 256 tokens and no more, at 36 bytes a row."""

    store = int4_hadamard.KVCache

    def tensors(self, store: Any, layer: int) -> tuple[Tensor, ...]:
        return store.codes(layer)

    def floats(self, store: Any, layer: int) -> tuple[Tensor, Tensor]:
        return store.floats(layer)
