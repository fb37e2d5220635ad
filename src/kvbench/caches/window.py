"""A sliding window with attention sinks: the first SINKS tokens and the newest WINDOW, no others.

Without the first tokens, which attention falls back on, a window ruins a model (StreamingLLM: Xiao
et al. 2023, arXiv:2309.17453). Bytes stop growing at SINKS + WINDOW tokens. A layer whose own
window has forgotten the first tokens keeps its newest alone, as many at most.
"""

from __future__ import annotations

from dataclasses import replace

from kvbench.caches import dense
from kvbench.caches.rows import RowCache
from kvbench.costs.layout import Layout


class Window(RowCache):
    """A format in rings (`kvbench.caches.rows`), whose class comes after this one."""

    sinks, window = 4, 252

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return replace(super().layout(head_dim, itemsize), most=cls.sinks + cls.window)


class KVCache(Window, dense.KVCache):
    """Rings of rows in the model's dtype."""
