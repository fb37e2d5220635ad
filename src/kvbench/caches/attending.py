"""Queries and scores as caches of codes see them, in fp32: R = nh / nkv * T queries a K/V head."""

from __future__ import annotations

import torch
from torch import Tensor


def grouped(q: Tensor, n_kv_head: int) -> Tensor:
    """Queries (B, nh, T, hs) as (B, nkv, R, hs) in fp32, over the root of hs."""
    B, _, _, hs = q.shape
    return q.float().reshape(B, n_kv_head, -1, hs) * hs**-0.5


def ungrouped(y: Tensor, q: Tensor) -> Tensor:
    """(B, nkv, R, hs) in the shape and dtype of the queries."""
    return y.reshape(q.shape).to(q.dtype)


def hide_future(scores: Tensor, T: int, window: int = 0) -> None:
    """Hide from each of the T newest queries of scores (B, nkv, R, S) the keys after it.

    With a `window`, also those that are not among its newest `window`.
    """
    S = scores.size(-1)
    if T > 1 or 0 < window < S:
        hidden = torch.ones(T, S, dtype=torch.bool, device=scores.device)
        past = hidden.tril(S - T - window) if window else None
        hidden = hidden.triu(S - T + 1) if past is None else hidden.triu(S - T + 1) | past
        scores.unflatten(2, (-1, T)).masked_fill_(hidden, -torch.inf)
