"""The reference of the native kernels in plain torch: what they compute, written to be read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

FP8 = {torch.float8_e4m3fn: 448.0, torch.float8_e5m2: 57344.0}  # the largest number of each
KEYS = 256  # keys widened to fp32 at a time: the largest copy of a cache made here


def quantise_int8(x: Tensor, scale_type: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """INT8 codes and scales of rows x (..., D): symmetric absmax / 127, half to even, in fp32.

    Returns codes (..., D) int8 and scale (...) with x ~ codes * scale. A row of zeros has scale 0
    and codes 0; a row with an infinity or a NaN has that as its scale, and codes 0.
    """
    steps, scale = _steps(x, 127, scale_type)
    return steps.round().clamp(-127, 127).to(torch.int8), scale  # a subnormal scale overshoots


def quantise_int4(x: Tensor, scale_type: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """INT4 codes, two in a byte, and scales of rows x (..., D): as INT8, with absmax / 7.

    Returns codes (..., D/2) uint8, the even column in the low half, and scale (...).
    """
    steps, scale = _steps(x, 7, scale_type)
    return packed(steps.round().clamp(-7, 7).to(torch.int8)), scale


def quantise(dtype: torch.dtype) -> Callable[..., tuple[Tensor, Tensor]]:
    """What makes codes of a cache's dtype: int8, uint8 for two INT4 codes, or one of float8's.

    It is given rows x (..., D) and, where it is not fp32, the dtype of scales. fp8 codes are of
    rows over absmax / the largest code, rounded half to even.
    """
    if dtype in FP8:

        def quantise_fp8(
            x: Tensor, scale_type: torch.dtype = torch.float32
        ) -> tuple[Tensor, Tensor]:
            steps, scale = _steps(x, FP8[dtype], scale_type)
            return to_fp8(steps, dtype), scale

        return quantise_fp8
    return quantise_int4 if dtype is torch.uint8 else quantise_int8


def to_fp8(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest fp8 numbers, half to even; what is beyond the largest becomes it."""
    return x.clamp(-FP8[dtype], FP8[dtype]).to(dtype)


def packed(codes: Tensor) -> Tensor:
    """INT4 codes (..., D) int8 as pairs (..., D/2) uint8, the even column in the low half."""
    return (codes[..., ::2] & 15 | codes[..., 1::2] << 4).view(torch.uint8)


def _steps(x: Tensor, limit: float, scale_type: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows over their scales, which are absmax / limit as stored, and these scales."""
    x = x.float()
    largest = x.abs().amax(-1)
    scale = over(largest, limit).to(scale_type)
    step = scale.float()
    usable = ((step > 0) & (step < torch.inf)).unsqueeze(-1)
    return (x / step.unsqueeze(-1)).where(usable, 0.0), scale


def over(x: Tensor, number: float) -> Tensor:
    """x over a number, as a tensor: CUDA multiplies by the reciprocal of another, an ulp off."""
    return x / x.new_full((), float(number))


def widen(codes: Tensor) -> Tensor:
    """Stored numbers as fp32: floats and INT8 codes (..., D), INT4 codes uint8 (..., D/2)."""
    if codes.dtype is torch.uint8:
        codes = codes.view(torch.int8)
        codes = torch.stack([codes << 4 >> 4, codes >> 4], -1).flatten(-2)
    return codes.float()


def dequantise(codes: Tensor, scale: Tensor) -> Tensor:
    """fp32 rows (..., D) of INT8 or INT4 codes and their scales (...)."""
    return widen(codes) * scale.unsqueeze(-1)


def append(x: Tensor, codes: Tensor, scale: Tensor, at: int) -> None:
    """Write rows x (B, H, T, D) as codes at positions at ... at + T - 1 of a cache.

    codes (B, H, S, D) int8 or fp8, or (B, H, S, D/2) uint8 for INT4; scale (B, H, S) fp32.
    """
    new = slice(at, at + x.size(2))
    codes[:, :, new], scale[:, :, new] = quantise(codes.dtype)(x)


def decode_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    n: int,
    out: Tensor,
    k_scale: Tensor | None = None,
    v_scale: Tensor | None = None,
    scale: float | None = None,
    visible: Tensor | None = None,
) -> Tensor:
    """Attention of one query row q (B, Hq, D) over the first n positions of a cache, in fp32.

    k, v: (B, Hkv, S, D) floats, INT8 or fp8 codes, or (B, Hkv, S, D/2) INT4 codes, each in its own
    format; codes need scales (B, Hkv, S). `scale` is the softmax's, 1/sqrt(D) by default. `visible`
    (n,), where given, says which positions count. Writes and returns out, like q.
    A key's scale multiplies its score and a value's its probability, so nothing is dequantised.
    """
    rows = q.float().view(q.size(0), k.size(1), -1, q.size(-1))  # (B, Hkv, Hq / Hkv, D)
    rows = rows * (q.size(-1) ** -0.5 if scale is None else scale)
    chunks = [slice(at, min(at + KEYS, n)) for at in range(0, n, KEYS)]
    scores = torch.cat([rows @ widen(k[:, :, keys]).mT for keys in chunks], -1)
    if k_scale is not None:
        scores *= k_scale[:, :, None, :n]
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    p = scores.softmax(-1)
    if v_scale is not None:
        p *= v_scale[:, :, None, :n]
    y = sum((p[..., keys] @ widen(v[:, :, keys]) for keys in chunks), torch.zeros_like(rows))
    return out.copy_(y.view(q.shape))


def linear(x: Tensor, w: Tensor, bias: Tensor | None, out: Tensor, gelu: bool = False) -> Tensor:
    """x (M, K) w (N, K)^T + bias, then GELU (tanh form) if asked, in fp32, to out (M, N)."""
    y = F.linear(x.float(), w.float(), None if bias is None else bias.float())
    return out.copy_(F.gelu(y, approximate="tanh") if gelu else y)
