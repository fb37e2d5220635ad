"""A prompt's rows quantised into a cache, bound to its tensors (`kernels.triton.quantise`)."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from kvbench.kernels.triton import quantise
from kvbench.kernels.triton.bound.launch import CODES, KINDS, Launch, check_like, check_rows


class Quantise:
    """Stores a prompt's rows in a cache of codes: `store(k, v, at)`, one launch for K and V.

    codes: int8 (B, H, S, D), or uint8 (B, H, S, D/2) with two INT4 codes; scales fp32 (B, H, S).
    Codes and scales are those of `kvbench.kernels.reference`, bit for bit.
    """

    def __init__(self, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor) -> None:
        check_rows("k", k)
        if k.dtype not in CODES:
            raise ValueError(f"k: expected codes of int8 or uint8, got {k.dtype}")
        check_like("v", v, k.dtype, k.shape, k.device)
        check_like("k_scale", k_scale, torch.float32, k.shape[:3], k.device)
        check_like("v_scale", v_scale, torch.float32, k.shape[:3], k.device)
        self.k, self.v = k.view(torch.int32), v.view(torch.int32)
        self.k_scale, self.v_scale = k_scale, v_scale
        self.size = k.size(3) * (2 if k.dtype is torch.uint8 else 1)
        self.kind, self.per = KINDS[k.dtype], 4 if k.dtype is torch.int8 else 8

    def store(
        self, k: Tensor, v: Tensor, at: int, read: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Write rows k, v (B, H, T, D), of any strides but in D, at positions at ... at + T - 1.

        read: two tensors (B, H, T, D) that receive the rows as they are stored, code times scale.
        """
        self.storing(k, v, at, read)()

    def read(self, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The first n rows of K and of V (B, H, n, D), code times scale, rounded to dtype."""
        shape = (*self.k.shape[:2], n, self.size)
        k, v = (torch.empty(shape, dtype=dtype, device=self.k.device) for _ in "kv")
        self.reading(n, k, v)()
        return k, v

    def storing(
        self, k: Tensor, v: Tensor, at: int, read: tuple[Tensor, Tensor] | None = None
    ) -> Launch:
        """The launch of `store`."""
        B, heads, T, _ = k.shape
        wanted = (*self.k.shape[:2], T, self.size)
        for name, x in (("k", k), ("v", v)):
            if x.shape != wanted or x.stride(3) != 1:
                got = tuple(x.shape)
                raise ValueError(f"{name}: expected {wanted}, contiguous in D, got {got}")
        if at + T > self.k.size(2):
            raise ValueError(f"rows up to {at + T} exceed the capacity of {self.k.size(2)}")
        k_read, v_read = read or (k, v)
        args = (
            k, v, *k.stride()[:3], *v.stride()[:3], self.k, self.v, self.k_scale, self.v_scale,
            k_read, v_read, B * heads * T, heads, T, at, self.k.size(2),
        )  # fmt: skip
        constants = {**self._constants(), "READ": read is not None}
        return Launch(quantise.store_rows, self._grid(B * heads * T), args, constants)

    def reading(self, n: int, k: Tensor, v: Tensor) -> Launch:
        """The launch of `read`, into k and v."""
        rows = self.k.size(0) * self.k.size(1) * n
        args = (self.k, self.v, self.k_scale, self.v_scale, k, v, rows, n, self.k.size(2))
        return Launch(quantise.read_rows, self._grid(rows), args, self._constants())

    def _grid(self, rows: int) -> tuple[int, int]:
        return triton.cdiv(rows, quantise.ROWS), 2

    def _constants(self) -> dict[str, Any]:
        return {
            "D": self.size,
            "KIND": self.kind,
            "PER": self.per,
            "WORDS": triton.next_power_of_2(self.size // self.per),
            "ROWS": quantise.ROWS,
        }
