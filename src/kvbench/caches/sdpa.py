"""torch's fused attention over K and V in floats: causal, windowed, or as a mask shows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend

QUERIES = 256  # of a forward of many tokens that attend at a time to a window


def causal_sdpa(q: Tensor, k: Tensor, v: Tensor, window: int = 0) -> Tensor:
    """Fused attention of T queries, the newest of S keys: query i sees keys 0 .. S - T + i.

    With a `window`, the newest `window` of these alone.
    """
    T, S = q.size(2), k.size(2)
    grouped = q.size(1) != k.size(1)
    if 0 < window < S:

        def some(q: Tensor, keys: Tensor, seen: Tensor) -> Tensor:
            low, n = int(keys[0]), len(keys)
            near_k, near_v = k.narrow(2, low, n), v.narrow(2, low, n)
            return F.scaled_dot_product_attention(q, near_k, near_v, seen, enable_gqa=grouped)

        return windowed(q, torch.arange(S, device=q.device), window, some)
    if T == 1 or T == S:
        return F.scaled_dot_product_attention(q, k, v, is_causal=T > 1, enable_gqa=grouped)
    mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)


def sdpa(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    """Fused attention: causal, or to what `seen` (queries, keys) shows."""
    if seen is None:
        return causal_sdpa(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)


Some = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, indices of keys, what is seen


def windowed(q: Tensor, keys: Tensor, window: int, attend: Some, first: int = 0) -> Tensor:
    """Attention of T queries, the newest of the positions `keys`, to the newest `window` of each.

    A query also sees the positions below `first`. Queries go some at a time, so that no mask and
    no row is larger than two windows: `attend(q, indices, seen)` with seen (queries, indices).
    """
    T, parts, step = q.size(2), [], max(window, QUERIES)
    for at in range(0, T, step):
        query = keys[len(keys) - T :][at : at + step, None]
        near = (keys > query[0] - window) & (keys <= query[-1]) | (keys < first)
        (some,) = near.nonzero(as_tuple=True)
        key = keys[some]
        seen = (key <= query) & ((key > query - window) | (key < first))
        parts.append(attend(q[:, :, at : at + step], some, seen))
    return torch.cat(parts, 2)


def sdpa_backend(q: Tensor, k: Tensor, mask: Tensor | None = None) -> str:
    """Which backend torch's attention takes for queries (B, nh, T, hs), keys (B, nkv, S, hs).

    `mask` (T, S) where the call has one, else it is causal. A lower-case name of
    `torch.nn.attention.SDPBackend`: flash_attention, efficient_attention, math.
    """
    causal = mask is None and q.size(2) > 1
    grouped = q.size(1) != k.size(1)
    found = torch._fused_sdp_choice(q, k, k, mask, is_causal=causal, enable_gqa=grouped)
    return SDPBackend(found).name.lower()
