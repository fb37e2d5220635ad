"""Tensors as the native kernels take them: dtypes, strides, sizes, and refusals by name."""

from __future__ import annotations

import torch
from torch import Tensor

# What the library calls a dtype.
FORMATS = {
    torch.float32: 0,
    torch.bfloat16: 1,
    torch.int8: 2,
    torch.uint8: 3,  # two int4
    torch.float8_e4m3fn: 4,
    torch.float8_e5m2: 5,
}
FLOATS = (torch.float32, torch.bfloat16)
MAX_HEAD_SIZE = 512


def is_dense(x: Tensor) -> bool:
    """Whether a tensor lies on the CPU without gaps."""
    return x.is_contiguous() and x.is_cpu


def check(
    name: str,
    x: Tensor,
    dtypes: tuple[torch.dtype, ...],
    shape: tuple[int, ...],
    contiguous: bool = True,
) -> None:
    """Raise ValueError for another device, dtype, shape or layout, naming what is allowed."""
    fits = x.is_contiguous() if contiguous else x.stride(-1) == 1
    if x.dtype not in dtypes or x.shape != shape or not x.is_cpu or not fits:
        layout = "contiguous" if contiguous else "contiguous in its last dimension"
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ValueError(
            f"{name}: expected a CPU tensor {tuple(shape)} of {wanted}, {layout}; got "
            f"{tuple(x.shape)} of {str(x.dtype).removeprefix('torch.')} on {x.device}, "
            f"strides {x.stride()}"
        )


def scale_groups(name: str, scale: Tensor | None, rows: Tensor, size: int) -> tuple[int, bool]:
    """How many channels share a scale, 0 for one in fp32 a row, and whether scales are in fp16.

    Floats have none. Raises ValueError.
    """
    if (scale is None) != (rows.dtype in FLOATS):
        needs = "takes no" if scale is not None else "needs fp32"
        raise ValueError(f"{name}: a cache of {rows.dtype} {needs} scales (B, H, S)")
    if scale is None or (scale.dim() < 4 and scale.dtype is not torch.float16):
        if scale is not None:
            check(name, scale, (torch.float32,), rows.shape[:3])
        return 0, False
    groups = scale.shape[3] if scale.dim() == 4 else 1
    _, step = _size_and_step(rows)
    if not groups or size % groups or size // groups % step:
        raise ValueError(
            f"{name}: {groups} groups of {size} channels; allowed: multiples of {step}"
        )
    own = (*rows.shape[:3], groups) if scale.dim() == 4 else rows.shape[:3]
    check(name, scale, (torch.float32, torch.float16), own)
    return size // groups, scale.dtype is torch.float16


def fits(rows: Tensor) -> bool:
    """Whether the kernels can read rows of this dtype and head size."""
    size, step = _size_and_step(rows)
    return rows.is_cpu and rows.dtype in FORMATS and not size % step and 0 < size <= MAX_HEAD_SIZE


def _size_and_step(rows: Tensor) -> tuple[int, int]:
    pair = rows.dtype is torch.uint8
    return rows.shape[-1] * (2 if pair else 1), 32 if pair else 16


def head_size(name: str, cache: Tensor) -> int:
    """Channels of a head of rows (B, H, S, D). Raises ValueError for a size without kernels."""
    if cache.dim() != 4:
        raise ValueError(f"{name}: expected (B, H, S, D), got {tuple(cache.shape)}")
    pair, (size, step) = cache.dtype is torch.uint8, _size_and_step(cache)
    if size % step or not 0 < size <= MAX_HEAD_SIZE:
        kind = " of an int4 cache" if pair else ""
        raise ValueError(
            f"{name}: head size{kind}: a multiple of {step} up to {MAX_HEAD_SIZE}, not {size}"
        )
    return size
