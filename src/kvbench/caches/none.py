"""No cache: K and V live for one forward, and every step recomputes the whole sequence. O(T^2)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from kvbench.caches import Cache, causal_sdpa
from kvbench.costs.layout import Layout, equal_rows


class KVCache(Cache):
    """A cache that forgets: its length stays 0, so the model is fed the whole sequence again."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.this_forward: dict[int, tuple[Tensor, Tensor]] = {}  # K and V of each layer

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        self.this_forward[layer] = (k, v)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        return causal_sdpa(q, *self.this_forward[layer], self.windows.get(layer, 0))

    def advance(self, T: int) -> None:
        self.this_forward.clear()

    def storages(self) -> Iterator[Tensor]:
        return iter(())

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return equal_rows(0)
