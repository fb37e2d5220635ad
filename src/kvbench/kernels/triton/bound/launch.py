"""One launch of a kernel, and what a cache's tensors must be for the kernels to run on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from kvbench.kernels.triton import words
from kvbench.kernels.triton.words import Format

KINDS = {
    torch.float32: words.FP32.value,
    torch.bfloat16: words.BF16.value,
    torch.float16: words.FP16.value,
    torch.int8: words.INT8.value,
    torch.uint8: words.INT4.value,  # two codes a byte
    torch.float8_e4m3fn: words.E4M3.value,
    torch.float8_e5m2: words.E5M2.value,
}
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)  # whose scales may be left out
CODES = (torch.int8, torch.uint8, *FP8)
SCALES = (torch.float32, torch.float16)
WORD = 4  # bytes


@dataclass(frozen=True)
class Launch:
    """One kernel launch; `settings` are what a measurement chose, for the record."""

    kernel: Any
    grid: tuple[int, ...]
    args: tuple[Any, ...]
    constants: dict[str, Any]
    warps: int = 4
    pdl: bool = False

    def __call__(self) -> None:
        """Launch it on the current stream."""
        self.kernel[self.grid](*self.args, **self.constants, **self.options())

    def options(self) -> dict[str, Any]:
        """Options of the compiler and the launch; the interpreter takes none."""
        if words.INTERPRETED:
            return {}
        return {"num_warps": self.warps} | ({"launch_pdl": True} if self.pdl else {})

    def compile(self) -> None:
        """Compile it without launching it."""
        args = [a.dtype if isinstance(a, Tensor) else a for a in self.args]
        self.kernel.warmup(*args, grid=self.grid, **self.constants, **self.options())


@dataclass(frozen=True)
class Stored:
    """K or V of a layer as kernels are given it: int32 words, scales (or the words), the format."""

    words: Tensor
    scale: Tensor
    format: Format
    size: int  # numbers of a row
    shape: torch.Size  # batch, heads, positions


def stored(
    name: str, rows: Tensor, scale: Tensor | None, blocks: bool = False, turned: bool = False
) -> Stored:
    """A cache's rows and their scales, checked. Raises ValueError where no kernel reads them.

    rows: contiguous (B, H, S, D) floats, int8 or fp8 codes, or uint8 (B, H, S, D/2) of two INT4
    codes each. scale: fp32 or fp16 (B, H, S), or (B, H, S, groups); fp8 codes may have none.
    blocks: INT8 and INT4 codes of groups are rounded as llama.cpp's q8_0 and q4_0. turned: rows are
    stored times a Hadamard matrix, which kernels that are given rows as they come multiply by.
    """
    if rows.dim() != 4 or rows.dtype not in KINDS or not rows.is_contiguous():
        got = f"{tuple(rows.shape)} {rows.dtype}"
        raise ValueError(f"{name}: expected contiguous (B, H, S, D), got {got}")
    if rows.device.type == "cpu" and not words.INTERPRETED:
        raise ValueError(f"{name}: on {rows.device}, where Triton needs TRITON_INTERPRET=1 to run")
    row_bytes, pair = rows.size(3) * rows.element_size(), rows.dtype is torch.uint8
    if row_bytes % WORD:
        raise ValueError(f"{name}: a row of {row_bytes} bytes is not of whole words of {WORD}")
    count, size = row_bytes // WORD, rows.size(3) * (2 if pair else 1)
    scales = _scales_of(name, rows, scale, count)
    if blocks and (scales < 1 or size // scales != 32 or rows.dtype in FP8):
        raise ValueError(f"{name}: blocks are of INT8 or INT4 codes in groups of 32")
    block = size & -size if turned else 0
    if turned and block < size // count:
        raise ValueError(f"{name}: rows of {size} are not turned a whole word at a time")
    width = triton.next_power_of_2(count)
    grouped = scale is not None and scale.dim() == 4
    form = Format(KINDS[rows.dtype], size // count, count, width, scales, grouped, blocks, block)
    whole = rows.view(torch.int32)
    return Stored(whole, whole if scale is None else scale, form, size, rows.shape[:3])


def _scales_of(name: str, rows: Tensor, scale: Tensor | None, count: int) -> int:
    """How many scales a row of `count` words has."""
    if scale is None:
        if rows.dtype in CODES and rows.dtype not in FP8:
            raise ValueError(f"{name}_scale: a cache of {rows.dtype} needs scales (B, H, S)")
        return 0
    if rows.dtype not in CODES:
        raise ValueError(f"{name}_scale: a cache of {rows.dtype} takes no scales")
    own = (*rows.shape[:3], *scale.shape[3:4])
    dtype = scale.dtype if scale.dtype in SCALES else torch.float32
    check_like(f"{name}_scale", scale, dtype, own, rows.device)
    groups = scale.size(3) if scale.dim() == 4 else 1
    span = count // groups if groups else 0
    if not span or count % groups or (scale.dim() == 4 and span & (span - 1)):
        raise ValueError(
            f"{name}_scale: {groups} groups in a row of {count} words; allowed: groups of 1, 2, 4, "
            "8 ... words each"
        )
    return groups


def check_like(name: str, x: Tensor, dtype: torch.dtype, shape: Any, device: torch.device) -> None:
    """Raise ValueError where a tensor is not contiguous, of this dtype, shape and device."""
    if x.dtype is not dtype or x.shape != shape or x.device != device or not x.is_contiguous():
        raise ValueError(
            f"{name}: expected contiguous {tuple(shape)} of {dtype} on {device}, got "
            f"{tuple(x.shape)} of {x.dtype} on {x.device}"
        )
