"""What caches of codes share: rows of codes with a scale, and attention that never dequantises.

Attention is in fp32. q.(s c) = s (q.c), so K's scales multiply scores and V's multiply
probabilities; codes are widened KEYS at a time. Shapes: R = nh / nkv * T queries share a K/V head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kvbench.caches.rows import RowCache
from kvbench.kernels.reference import widen

KEYS = 256  # keys widened at a time: the largest copy of codes in fp32

Quantise = Callable[[Tensor], tuple[Tensor, Tensor]]


class CodedRows(RowCache):
    """K and V as one row of codes and one fp32 scale a token, head, layer and sequence."""

    quantise: staticmethod[[Tensor], tuple[Tensor, Tensor]]

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        one = torch.zeros(self.batch, self.n_head, 1, self.head_dim, device=self.device)
        like, _ = self.quantise(one)

        def zeros(*width: int, dtype: torch.dtype) -> dict[int, Tensor]:
            size = self.batch, self.n_head
            return {
                i: torch.zeros(*size, self.room(i), *width, dtype=dtype, device=self.device)
                for i in self.layers
            }

        self.k, self.v = (zeros(like.size(-1), dtype=like.dtype) for _ in "kv")
        self.k_scale, self.v_scale = (zeros(dtype=torch.float32) for _ in "kv")

    def held(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Codes of K and of V of one layer, and their scales."""
        return self.k[layer], self.v[layer], self.k_scale[layer], self.v_scale[layer]

    def encode(self, k: Tensor, v: Tensor) -> Sequence[Tensor]:
        (k, k_scale), (v, v_scale) = self.quantise(k), self.quantise(v)
        return k, v, k_scale, v_scale

    def read(self, q: Tensor, rows: Sequence[Tensor], seen: Tensor | None = None) -> Tensor:
        k, v, k_scale, v_scale = rows
        return folded_attention(q, k, k_scale, v, v_scale, seen)


def folded_attention(
    q: Tensor, k: Tensor, k_scale: Tensor, v: Tensor, v_scale: Tensor, seen: Tensor | None = None
) -> Tensor:
    """Causal attention of T queries, the newest of S keys, over codes.

    q (B, nh, T, hs); k, v (B, nkv, S, hs) int8, or two int4 in a byte; scales (B, nkv, S) fp32;
    returns q's shape and dtype. `seen` (T, S) says which keys a query sees instead.
    """
    rows = grouped(q, k.size(1))
    scores = rows.new_empty(*rows.shape[:3], k.size(2))
    for at in range(0, k.size(2), KEYS):
        keys = slice(at, at + KEYS)
        torch.matmul(rows, widen(k[:, :, keys]).mT, out=scores[..., keys])
    scores *= k_scale.unsqueeze(2)
    if seen is None:
        hide_future(scores, q.size(2))
    else:
        scores.unflatten(2, (-1, q.size(2))).masked_fill_(~seen, -torch.inf)
    return ungrouped(weigh(scores.softmax(-1), v, v_scale), q)


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


def weigh(p: Tensor, v: Tensor, v_scale: Tensor) -> Tensor:
    """The sum (B, nkv, R, hs) of coded values v (B, nkv, S, ...) with weights p (B, nkv, R, S)."""
    p = p * v_scale.unsqueeze(2)
    y = p.new_zeros(())
    for at in range(0, v.size(2), KEYS):
        y = y + p[..., at : at + KEYS] @ widen(v[:, :, at : at + KEYS])
    return y
