"""One launch of a kernel, and what a cache's tensors must be for the kernels to run on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kvbench.kernels.triton import words

KINDS = {
    torch.float32: words.FP32.value,
    torch.bfloat16: words.BF16.value,
    torch.float16: words.FP16.value,
    torch.int8: words.INT8.value,
    torch.uint8: words.INT4.value,  # two codes a byte
}
CODES = (torch.int8, torch.uint8)
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


def check_rows(name: str, x: Tensor) -> None:
    """Raise ValueError where a cache's tensor is none that the kernels can run on."""
    if x.dim() != 4 or x.dtype not in KINDS or not x.is_contiguous():
        got = f"{tuple(x.shape)} {x.dtype}"
        raise ValueError(f"{name}: expected contiguous (B, H, S, D), got {got}")
    if x.device.type == "cpu" and not words.INTERPRETED:
        raise ValueError(f"{name}: on {x.device}, where Triton needs TRITON_INTERPRET=1 to run")


def check_like(name: str, x: Tensor, dtype: torch.dtype, shape: Any, device: torch.device) -> None:
    """Raise ValueError where a tensor is not contiguous, of this dtype, shape and device."""
    if x.dtype is not dtype or x.shape != shape or x.device != device or not x.is_contiguous():
        raise ValueError(
            f"{name}: expected contiguous {tuple(shape)} of {dtype} on {device}, got "
            f"{tuple(x.shape)} of {x.dtype} on {x.device}"
        )
