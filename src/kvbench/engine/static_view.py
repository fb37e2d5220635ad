"""A cache seen from a decode step that is the same work at every depth.

Where a cache keeps one row a token (floats, or codes with a scale), a step can store its token and
attend at a position that is a tensor on the device: no shape and no argument changes from one step
to the next, so that one captured graph, or one compiled function, serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kvbench.caches import Cache
from kvbench.kernels import reference

Both = tuple[bool, bool]  # of K, and of V
NEITHER = (False, False)
Rows = tuple[Tensor, Tensor, Tensor | None, Tensor | None]  # K, V, and their scales where coded


def rows_of(cache: Cache, layer: int) -> Rows:
    """What a cache that can be seen this way stores of one layer."""
    assert hasattr(cache, "rows")
    return cache.rows(layer)


def of_layer(cache: Cache, layer: int) -> Cache:
    """The cache that stores one layer."""
    return getattr(cache, "layer_caches", {}).get(layer, cache)


def readable(kind: type[Cache]) -> bool:
    """Whether kernels of GPUs read rows of caches of this class."""
    if parts := [getattr(kind, part) for part in ("coded", "dense") if hasattr(kind, part)]:
        return all(map(readable, parts))  # of caches.by_layer, which only what needs it loads
    return hasattr(kind, "kernel_rows") or hasattr(kind, "rows")


def kernel_rows(cache: Cache, layer: int) -> tuple[Rows, Both, Both]:
    """What a `readable` cache stores of one layer, whether llama.cpp's blocks, whether turned."""
    own: Any = of_layer(cache, layer)
    if hasattr(own, "kernel_rows"):
        return own.kernel_rows(layer), own.blocks, own.description.turned
    return rows_of(own, layer), NEITHER, NEITHER


class StaticView:
    """The part of a cache's interface that a model's forward of one token uses.

    position: int64 (1,), the index of the token that the forward is given; it moves nothing itself.
    torch's kernels read the whole capacity and hide what lies past the position.
    """

    length = 0  # of a sequence that the host does not follow

    def __init__(self, cache: Cache, heads: int, position: Tensor) -> None:
        self.position = position
        self._keys = torch.arange(cache.capacity, device=cache.device)
        self.visible = torch.ones(1, cache.capacity, dtype=torch.bool, device=cache.device)
        # The same for torch's attention, which would make it of a boolean one anew in each layer.
        self._mask = torch.zeros(1, cache.capacity, dtype=cache.dtype, device=cache.device)
        self._seen, self._hidden = self._mask.new_tensor([0.0, -torch.inf])
        bound = {layer: self._bind(cache, layer, heads) for layer in cache.layers}
        self._store = {layer: store for layer, (store, _) in bound.items()}
        self._attend = {layer: attend for layer, (_, attend) in bound.items()}

    def positions(self, T: int) -> Tensor:
        """The position of the one token (T is 1); what it may see follows from it, once a step."""
        torch.le(self._keys, self.position, out=self.visible[0])
        torch.where(self.visible, self._seen, self._hidden, out=self._mask)
        return self.position

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Store K and V (B, n_kv_head, 1, head_dim) at the position."""
        self._store[layer](k, v, self.position)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        """Attention of q (B, nh, 1, head_dim) over the rows up to the position."""
        return self._attend[layer](q)

    def advance(self, T: int) -> None:
        """The step moves the position, where it does."""

    def _bind(self, cache: Cache, layer: int, heads: int) -> Bound:
        k, v, k_scale, v_scale = rows_of(cache, layer)
        grouped, ring = heads != k.size(1), cache.rings.get(layer)
        # Of a full ring, all.
        visible, mask = (x[:, : k.size(2)] for x in (self.visible, self._mask))

        def store(new_k: Tensor, new_v: Tensor, position: Tensor) -> None:
            if ring:
                turns = ring[0] + (position - ring[0]) % ring[1]
                position = torch.where(position < ring[0], position, turns)
            for x, stored, scales in ((new_k, k, k_scale), (new_v, v, v_scale)):
                if scales is None:
                    stored.index_copy_(2, position, x.to(stored.dtype))
                else:
                    codes, scale = reference.quantise(stored.dtype)(x)
                    _bytes(stored).index_copy_(2, position, _bytes(codes))
                    scales.index_copy_(2, position, scale)

        def attend(q: Tensor) -> Tensor:
            if k_scale is None and v_scale is None and q.dtype == k.dtype == v.dtype:
                return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=grouped)
            out, n = torch.empty_like(q), k.size(2)
            return reference.decode_attention(q, k, v, n, out, k_scale, v_scale, visible=visible[0])

        return store, attend


def _bytes(codes: Tensor) -> Tensor:
    """Codes as torch can copy them by an index: fp8 as its bytes."""
    return codes.view(torch.uint8) if codes.dtype in reference.FP8 else codes


Bound = tuple[Callable[[Tensor, Tensor, Tensor], None], Callable[[Tensor], Tensor]]
