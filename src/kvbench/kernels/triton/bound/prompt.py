"""A prompt's rows quantised into a cache, bound to its tensors (`kernels.triton.quantise`)."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from kvbench.kernels.triton import quantise
from kvbench.kernels.triton.bound.launch import Launch, stored


class Quantise:
    """Stores a prompt's rows in a cache: `store(k, v, at)`, one launch for K and V.

    k, v, their scales and `blocks` as `Attention` takes them; rows are given turned. Codes and
    scales are those of `kvbench.kernels.reference` and `kvbench.caches.codecs`, bit for bit.
    """

    def __init__(
        self,
        k: Tensor,
        v: Tensor,
        k_scale: Tensor | None = None,
        v_scale: Tensor | None = None,
        blocks: tuple[bool, bool] = (False, False),
    ) -> None:
        self.k, self.v = stored("k", k, k_scale, blocks[0]), stored("v", v, v_scale, blocks[1])
        if self.v.shape != self.k.shape or self.v.size != self.k.size or v.device != k.device:
            raise ValueError(
                f"v: expected rows as those of k, {tuple(k.shape)} of {k.dtype}, got "
                f"{tuple(v.shape)} of {v.dtype} on {v.device}"
            )
        self.shape, self.size, self.device = self.k.shape, self.k.size, k.device

    def store(
        self, k: Tensor, v: Tensor, at: int, read: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Write rows k, v (B, H, T, D), of any strides but in D, at positions at ... at + T - 1.

        read: two tensors (B, H, T, D) that receive the rows as they are stored.
        """
        self.storing(k, v, at, read)()

    def read(self, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The first n rows of K and of V (B, H, n, D) as numbers, rounded to dtype."""
        shape = (*self.shape[:2], n, self.size)
        k, v = (torch.empty(shape, dtype=dtype, device=self.device) for _ in "kv")
        self.reading(n, k, v)()
        return k, v

    def storing(
        self, k: Tensor, v: Tensor, at: int, read: tuple[Tensor, Tensor] | None = None
    ) -> Launch:
        """The launch of `store`."""
        B, heads, T, _ = k.shape
        wanted = (*self.shape[:2], T, self.size)
        for name, x in (("k", k), ("v", v)):
            if x.shape != wanted or x.stride(3) != 1:
                got = tuple(x.shape)
                raise ValueError(f"{name}: expected {wanted}, contiguous in D, got {got}")
        if at + T > self.shape[2]:
            raise ValueError(f"rows up to {at + T} exceed the capacity of {self.shape[2]}")
        k_read, v_read = read or (k, v)
        args = (
            k, v, *k.stride()[:3], *v.stride()[:3], *self._tensors(),
            k_read, v_read, B * heads * T, heads, T, at, self.shape[2],
        )  # fmt: skip
        constants = {**self._constants(), "READ": read is not None}
        return Launch(quantise.store_rows, self._grid(B * heads * T), args, constants)

    def reading(self, n: int, k: Tensor, v: Tensor) -> Launch:
        """The launch of `read`, into k and v."""
        rows = self.shape[0] * self.shape[1] * n
        args = (*self._tensors(), k, v, rows, n, self.shape[2])
        return Launch(quantise.read_rows, self._grid(rows), args, self._constants())

    def _grid(self, rows: int) -> tuple[int, int]:
        return triton.cdiv(rows, quantise.ROWS), 2

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.k.words, self.v.words, self.k.scale, self.v.scale

    def _constants(self) -> dict[str, Any]:
        formats = {"K": self.k.format.constants(), "V": self.v.format}
        return {"D": self.size, **formats, "ROWS": quantise.ROWS}
