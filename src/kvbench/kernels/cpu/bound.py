"""Kernels bound to tensors: what stays the same from one decode step to the next is checked once.

A cache or a weight is described to the library in one struct when it is bound; a call then looks
only at the tensors that change, which keeps it at a few microseconds.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from kvbench.kernels.cpu import abi
from kvbench.kernels.cpu.tensors import FLOATS, FORMATS, check, head_size, is_dense, scale_groups

STREAMS = (1, 8, 16)  # in which the plain read may go


class Attention:
    """Decode attention over one bound cache: `attention(q, n, out)`.

    k, v: (B, Hkv, S, D) contiguous, each fp32 or bf16; or int8 or fp8 codes; or uint8
    (B, Hkv, S, D/2) holding two int4. Codes need fp32 scales (B, Hkv, S), or in fp32 or fp16
    (B, Hkv, S, groups). `scale` is the softmax's, 1/sqrt(D) by default. Raises ValueError where a
    tensor does not fit.
    """

    def __init__(
        self,
        kernels: abi.Kernels,
        threads: int,
        k: Tensor,
        v: Tensor,
        k_scale: Tensor | None = None,
        v_scale: Tensor | None = None,
        scale: float | None = None,
    ) -> None:
        self.size = head_size("k", k)
        check("k", k, tuple(FORMATS), k.shape)
        check("v", v, tuple(FORMATS), v.shape)
        if v.shape[:3] != k.shape[:3] or head_size("v", v) != self.size:
            raise ValueError(
                f"v: expected the batch, heads, positions and head size of k, {tuple(k.shape)} of "
                f"{k.dtype}, got {tuple(v.shape)} of {v.dtype}"
            )
        k_shared = scale_groups("k_scale", k_scale, k, self.size)
        v_shared = scale_groups("v_scale", v_scale, v, self.size)
        self.tensors = k, v, k_scale, v_scale  # kept alive: the library is given their addresses
        self.capacity = k.shape[2]
        self.cache = abi.Cache(
            FORMATS[k.dtype], threads, k.shape[0], k.shape[1], 0, self.size, self.capacity,
            *(t if t is None else t.data_ptr() for t in self.tensors),
            self.size**-0.5 if scale is None else scale, FORMATS[v.dtype],
            *k_shared, *v_shared,
        )  # fmt: skip
        self.address, self.kernel = ctypes.addressof(self.cache), kernels.attention
        self.shape = torch.Size()  # of the last query; the heads that share K/V follow from it

    def __call__(self, q: Tensor, n: int, out: Tensor) -> Tensor:
        """Attend from q (B, Hq, D) or (B, Hq, 1, D) to the first n positions; returns out, like q.

        q and out are both fp32 or both bf16; out is contiguous, q of any strides but in D.
        """
        shape, dtype, stride = q.shape, q.dtype, q.stride()
        if shape != self.shape:
            self._group(shape)
        if stride[-1] != 1 or dtype not in FLOATS or not q.is_cpu:
            check("q", q, FLOATS, shape, contiguous=False)
        if out.dtype is not dtype or out.shape != shape or not is_dense(out):
            check("out", out, (dtype,), shape)
        if not 1 <= n <= self.capacity:
            raise ValueError(f"n must be 1 to {self.capacity}, the cache's capacity, not {n}")
        io = 1 if dtype is torch.bfloat16 else 0
        self.kernel(self.address, io, q.data_ptr(), stride[0], stride[1], n, out.data_ptr())
        return out

    def _group(self, shape: torch.Size) -> None:
        batch, kv_heads = self.cache.batch, self.cache.kv_heads
        heads = shape[1] if len(shape) > 1 else 0
        row = (1, self.size) if len(shape) == 4 else (self.size,)
        if heads < 1 or heads % kv_heads or shape != (batch, heads, *row):
            raise ValueError(
                f"q: expected ({batch}, a multiple of {kv_heads}, {self.size}), got {tuple(shape)}"
            )
        self.shape, self.cache.group = shape, heads // kv_heads


class Append:
    """Writes rows into one bound cache: `append(x, at)`. Codes are bit for bit the reference's.

    rows: (B, H, S, D) fp32 or bf16, which takes no scale; int8 or fp8; or uint8 (B, H, S, D/2)
    holding two int4. scale: fp32 (B, H, S), or fp32 or fp16 (B, H, S, groups). blocks: int8 and
    int4 in groups of 32 are rounded as llama.cpp's q8_0 and q4_0.
    """

    def __init__(
        self,
        kernels: abi.Kernels,
        rows: Tensor,
        scale: Tensor | None = None,
        blocks: bool = False,
    ) -> None:
        self.size = head_size("rows", rows)
        check("rows", rows, tuple(FORMATS), rows.shape)
        shared = scale_groups("scale", scale, rows, self.size)
        self.tensors = rows, scale  # kept alive: the library is given their addresses
        self.batch, self.heads, self.capacity = rows.shape[:3]
        self.rows = abi.Rows(
            FORMATS[rows.dtype], self.batch, self.heads, self.capacity, self.size,
            rows.data_ptr(), scale if scale is None else scale.data_ptr(), *shared, blocks,
        )  # fmt: skip
        self.address, self.kernel = ctypes.addressof(self.rows), kernels.append

    def __call__(self, x: Tensor, at: int) -> None:
        """Write rows x (B, H, T, D) at positions at ... at + T - 1.

        x is fp32 or bf16, of any strides but in D.
        """
        shape, dtype, stride = x.shape, x.dtype, x.stride()
        rows = shape[-2] if len(shape) == 4 else 1
        whole = self.batch, self.heads, rows, self.size
        if shape != whole or stride[-1] != 1 or dtype not in FLOATS or not x.is_cpu:
            check("x", x, FLOATS, whole, contiguous=False)
        if not 0 <= at <= self.capacity - rows:
            raise ValueError(f"{rows} rows do not fit at position {at} of {self.capacity}")
        io = 1 if dtype is torch.bfloat16 else 0
        self.kernel(self.address, io, rows, x.data_ptr(), *stride[:3], at)


class Linear:
    """x w^T + bias, then GELU (tanh form) if asked, for few rows x: `linear(x, out)`.

    w (N, K) and bias (N): both fp32 or both bf16, K even. The weights are copied, rearranged, so w
    itself may be freed; `in_place` rearranges w's own memory where N fills whole panels, so w must
    not be read again. Raises ValueError where a tensor does not fit.
    """

    def __init__(
        self,
        kernels: abi.Kernels,
        threads: int,
        w: Tensor,
        bias: Tensor | None = None,
        gelu: bool = False,
        in_place: bool = False,
    ) -> None:
        check("w", w, FLOATS, w.shape)
        if w.dim() != 2 or w.shape[1] % 2:
            raise ValueError(f"w: expected (N, K) with K even, got {tuple(w.shape)}")
        if bias is not None:
            check("bias", bias, (w.dtype,), w.shape[:1])
        self.dtype, (self.outputs, self.inputs) = w.dtype, w.shape
        self.bias, self.width = bias, kernels.panel
        rows = -(-self.outputs // self.width) * self.width  # the last panel is filled with zeros
        whole = in_place and rows == self.outputs
        self.panels = w.detach() if whole else w.new_empty(rows, self.inputs)
        self.weights = abi.Weights(
            FORMATS[w.dtype], threads, self.outputs, self.inputs,
            self.panels.data_ptr(), bias if bias is None else bias.data_ptr(), gelu,
        )  # fmt: skip
        self.address, self.kernel = ctypes.addressof(self.weights), kernels.linear
        if kernels.pack(self.address, w.data_ptr()):
            raise MemoryError(f"no memory to pack w {tuple(w.shape)}")

    def rows_of(self, idx: Tensor) -> Tensor:
        """The rows idx (...) of w, read out of the panels: (..., K)."""
        pair = 2 if self.dtype is torch.bfloat16 else 1  # neighbouring inputs lie side by side
        panels = self.panels.view(-1, self.inputs // pair, self.width, pair)
        return panels[idx // self.width, :, idx % self.width].flatten(-2)

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """x (..., K) to out (..., N), both contiguous and in the weights' dtype; returns out."""
        lead, dtype = x.shape[:-1], self.dtype
        if x.dtype is not dtype or x.shape[-1] != self.inputs or not is_dense(x):
            check("x", x, (dtype,), (*lead, self.inputs))
        rows = x.numel() // self.inputs
        if out.dtype is not dtype or out.shape != (*lead, self.outputs) or not is_dense(out):
            check("out", out, (dtype,), (*lead, self.outputs))
        if self.kernel(self.address, rows, x.data_ptr(), out.data_ptr()):
            raise MemoryError(f"no memory for an fp32 copy of x {tuple(x.shape)}")
        return out


def attend_prompt(kernels: abi.Kernels, threads: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of T queries, the newest of S keys: query i sees keys 0 .. S - T + i.

    q (B, Hq, T, D), k and v (B, Hkv, S, D), in fp32 or bf16, k and v alike, of any strides but in
    D; Hq a multiple of Hkv. Returns (B, Hq, T, D) in q's dtype, contiguous as (B, T, Hq, D).
    Raises ValueError where a tensor does not fit, MemoryError without room for K and V of a head.
    """
    check("q", q, FLOATS, q.shape, contiguous=False)
    if q.dim() != 4 or k.dim() != 4 or not 0 < q.shape[2] <= k.shape[2] or q.shape[1] % k.shape[1]:
        raise ValueError(
            f"expected q (B, Hq, T, D) and k (B, Hkv, S, D), Hq a multiple of Hkv and S at least "
            f"T; got {tuple(q.shape)} and {tuple(k.shape)}"
        )
    batch, heads, queries, size = q.shape
    rows = (batch, k.shape[1], k.shape[2], size)
    check("k", k, FLOATS, rows, contiguous=False)
    check("v", v, (k.dtype,), rows, contiguous=False)
    out = q.new_empty(batch, queries, heads, size).transpose(1, 2)
    tensors = q, k, v, out
    prompt = abi.Prompt(
        FORMATS[q.dtype], FORMATS[k.dtype], threads, size**-0.5,
        batch, heads, rows[1], queries, rows[2], size,
        *(x.data_ptr() for x in tensors), *((abi.I64 * 3)(*x.stride()[:3]) for x in tensors),
    )  # fmt: skip
    if kernels.prompt(ctypes.addressof(prompt)):
        raise MemoryError(f"no memory for an fp32 copy of K and V of a head, {rows[2:]} each")
    return out


def read_sum(kernels: abi.Kernels, x: Tensor, times: int = 1, streams: int = 1) -> float:
    """Sum of a contiguous fp32 tensor, added up `times` times, read in 1, 8 or 16 streams.

    Raises ValueError where the tensor or the streams do not fit.
    """
    check("x", x, (torch.float32,), x.shape)
    if streams not in STREAMS:
        raise ValueError(f"streams must be 1, 8 or 16, not {streams}")
    return kernels.read_sum(x.data_ptr(), x.numel(), times, streams)
