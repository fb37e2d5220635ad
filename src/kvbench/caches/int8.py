"""The INT8 KV cache: one code a channel and one fp32 scale a row, symmetric absmax / 127.

A row is one token's K (or V) of one head of one layer of one sequence, so no scale looks into the
future and no token is ever quantised twice. Against bf16 and head_dim 64 a row is 68 bytes for 128.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kvbench.caches import Cache
from kvbench.kernels.reference import quantise_int8
from kvbench.layouts import Layout, equal_rows

KEYS = 256  # keys converted at a time: the largest copy of codes in the compute dtype


class KVCache(Cache):
    """K and V as INT8 codes (B, n_head, capacity, head_dim) and scales (B, n_head, capacity)."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        rows = (self.batch, self.n_head, self.capacity)

        def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> dict[int, Tensor]:
            return {i: torch.zeros(shape, dtype=dtype, device=self.device) for i in self.layers}

        self.k, self.k_scale = zeros((*rows, self.head_dim), torch.int8), zeros(rows, torch.float32)
        self.v, self.v_scale = zeros((*rows, self.head_dim), torch.int8), zeros(rows, torch.float32)

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        new = slice(self.length, self.length + k.size(2))
        self.k[layer][:, :, new], self.k_scale[layer][:, :, new] = quantise_int8(k)
        self.v[layer][:, :, new], self.v_scale[layer][:, :, new] = quantise_int8(v)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        end = self.length + q.size(2)
        return folded_attention(
            q,
            self.k[layer][:, :, :end],
            self.k_scale[layer][:, :, :end],
            self.v[layer][:, :, :end],
            self.v_scale[layer][:, :, :end],
        )

    def rows(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Codes of K and V of one layer, and their scales (`kvbench.caches.static`)."""
        return self.k[layer], self.v[layer], self.k_scale[layer], self.v_scale[layer]

    def storages(self) -> Iterator[Tensor]:
        for stored in (self.k, self.v, self.k_scale, self.v_scale):
            yield from stored.values()

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        return equal_rows(head_dim + 4)


def folded_attention(q: Tensor, k: Tensor, k_scale: Tensor, v: Tensor, v_scale: Tensor) -> Tensor:
    """Causal attention of T queries, the newest of S keys, over codes, in fp32.

    q (B, nh, T, hs); k, v (B, nkv, S, hs) int8; scales (B, nkv, S) fp32; returns q's shape and
    dtype. q.(s c) = s (q.c), so K's scales multiply scores and V's multiply probabilities: codes
    are converted KEYS at a time and never stored dequantised.
    """
    B, nh, T, hs = q.shape
    nkv, S = k.size(1), k.size(2)
    rows = q.float().reshape(B, nkv, nh // nkv * T, hs) * hs**-0.5  # queries that share a K/V head
    scores = torch.empty(B, nkv, rows.size(2), S, device=q.device)
    for at in range(0, S, KEYS):
        torch.matmul(rows, k[:, :, at : at + KEYS].float().mT, out=scores[..., at : at + KEYS])
    scores *= k_scale.unsqueeze(2)
    if T > 1:
        future = torch.ones(T, S, dtype=torch.bool, device=q.device).triu(S - T + 1)
        scores.view(B, nkv, nh // nkv, T, S).masked_fill_(future, -torch.inf)
    p = scores.softmax(-1).mul_(v_scale.unsqueeze(2))
    y = torch.zeros_like(rows)
    for at in range(0, S, KEYS):
        y += p[..., at : at + KEYS] @ v[:, :, at : at + KEYS].float()
    return y.view(B, nh, T, hs).to(q.dtype)
