"""How rows of K or V are stored, and read back: what a cache of rows is composed of.

A codec gives the tensors that hold rows, `encode`s new ones, and reads them as `numbers` in fp32
and, where a row has one scale, that `scale`: q.(s c) = s (q.c), so that scales of K multiply scores
and scales of V probabilities, and no row is dequantised. Scales of groups multiply their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from kvbench.costs.part import BLOCKS, CODEBOOK, Part
from kvbench.kernels import reference

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.int8,
    "int4": torch.uint8,  # two in a byte
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}
KEYS = 256  # rows read in fp32 at a time: the largest copy that is made


class Codec:
    """Rows of the model's own numbers, or of another float type; the base of the others.

    Shapes: rows (B, H, T, hs) are stored as tensors (B, H, T, ...).
    """

    scaled = False  # whether a row has one scale
    native = True  # whether all kernels that read rows know the format
    on_cpu = True  # whether those of CPUs do
    on_gpu = True  # whether those of GPUs do

    def __init__(self, part: Part, head_dim: int, dtype: torch.dtype) -> None:
        self.part, self.head_dim, self.dtype = part, head_dim, DTYPES.get(part.type, dtype)

    def encode(self, x: Tensor) -> Sequence[Tensor]:
        """Rows x (B, H, T, hs) as they are stored."""
        return (x.to(self.dtype),)

    def numbers(self, stored: Sequence[Tensor]) -> Tensor:
        """Stored rows in fp32 (B, H, T, hs), but for the scales of whole rows."""
        return stored[0].float()

    def scale(self, stored: Sequence[Tensor]) -> Tensor | None:
        """Scales (B, H, T) of whole rows, in fp32."""
        return stored[-1].float() if self.scaled else None

    def zeros(self, batch: int, heads: int, rows: int, device: torch.device) -> list[Tensor]:
        """Tensors that hold so many rows."""
        like = self.encode(torch.zeros(batch, heads, 1, self.head_dim, device=device))
        size = batch, heads, rows
        return [torch.zeros(*size, *x.shape[3:], dtype=x.dtype, device=device) for x in like]


class Codes(Codec):
    """Integer or fp8 codes with a scale a row, or one of every `group` channels of it."""

    def __init__(self, part: Part, head_dim: int, dtype: torch.dtype) -> None:
        super().__init__(part, head_dim, dtype)
        self.scaled = not part.group
        self.native = self.scaled and part.scale_type == "fp32"
        self.scale_dtype = DTYPES[part.scale_type]
        self.quantise = reference.quantise(self.dtype)

    def encode(self, x: Tensor) -> Sequence[Tensor]:
        if self.native:
            return self.quantise(x)
        rows = x.unflatten(-1, (-1, self.part.group or self.head_dim))
        codes, scale = self.quantise(rows, self.scale_dtype)
        return codes.flatten(-2), scale.squeeze(-1) if self.scaled else scale

    def numbers(self, stored: Sequence[Tensor]) -> Tensor:
        codes = reference.widen(stored[0])
        return codes if self.scaled else grouped_product(codes, stored[1])


class UnitScale(Codec):
    """fp8 codes of the numbers themselves: one scale, 1, for all; what is too large saturates."""

    native = on_cpu = False

    def encode(self, x: Tensor) -> Sequence[Tensor]:
        return (reference.to_fp8(x.float(), self.dtype),)


class LlamaCpp(Codec):
    """llama.cpp's blocks of 32 numbers, `q8_0`, `q4_0` and `q5_1`, with its arithmetic.

    A block has an fp16 scale d and, in q5_1, the fp16 least m: codes c read as d c, d (c - 8), and
    d c + m. Codes are rounded as its reference does, halves away from zero, by the scale in fp32.
    """

    native = False

    def __init__(self, part: Part, head_dim: int, dtype: torch.dtype) -> None:
        super().__init__(part, head_dim, dtype)
        self.on_cpu = self.on_gpu = part.type != "q5_1"

    def encode(self, x: Tensor) -> Sequence[Tensor]:
        x = x.float().unflatten(-1, (-1, 32))
        if self.part.type == "q5_1":
            return self._with_least(x)
        largest = x.gather(-1, x.abs().argmax(-1, keepdim=True))  # the first of the largest
        if self.part.type == "q8_0":
            d = reference.over(largest.abs(), 127)
            codes = _half_away(_times_inverse(x, d)).to(torch.int8)
            return codes.flatten(-2), d.half().squeeze(-1)
        d = largest / -8
        codes = (_times_inverse(x, d) + 8.5).floor().clamp(0, 15) - 8
        return reference.packed(codes.to(torch.int8).flatten(-2)), d.half().squeeze(-1)

    def _with_least(self, x: Tensor) -> Sequence[Tensor]:
        least = x.amin(-1, keepdim=True)
        d = reference.over(x.amax(-1, keepdim=True) - least, 31)
        codes = (_times_inverse(x - least, d) + 0.5).floor().clamp(0, 31).to(torch.uint8)
        codes = codes.flatten(-2)
        low = codes[..., ::2] & 15 | (codes[..., 1::2] & 15) << 4
        bits = 1 << torch.arange(8, dtype=torch.uint8, device=x.device)
        high = ((codes >> 4).unflatten(-1, (-1, 8)) * bits).sum(-1, dtype=torch.uint8)
        return low, high, torch.cat([d, least], -1).half().flatten(-2)

    def numbers(self, stored: Sequence[Tensor]) -> Tensor:
        if self.part.type != "q5_1":
            return grouped_product(reference.widen(stored[0]), stored[1])
        low, high, numbers = stored
        bits = torch.arange(8, dtype=torch.uint8, device=low.device)
        codes = torch.stack([low & 15, low >> 4], -1).flatten(-2)
        codes = codes | ((high.unsqueeze(-1) >> bits) & 1).flatten(-2) << 4
        d, least = numbers.float().unflatten(-1, (-1, 2)).unbind(-1)
        rows = codes.float().unflatten(-1, (-1, 32))
        return (rows * d.unsqueeze(-1) + least.unsqueeze(-1)).flatten(-2)


class Codebook(Codec):
    """4-bit indices of the best 16 numbers for a rotated row, with the row's norm.

    A row turned at random has coordinates of one density, whatever it was (TurboQuant: Zandieh et
    al. 2025, arXiv:2504.19874). The scale makes the norm of what is read that of the row.
    """

    scaled, native, on_cpu, on_gpu = True, False, False, False

    def encode(self, x: Tensor) -> Sequence[Tensor]:
        x = x.float()
        levels = centroids(self.head_dim).to(x.device)
        norm = x.norm(dim=-1, keepdim=True)
        usable = (norm > 0) & (norm < torch.inf)
        unit = torch.where(usable, x / norm, 0.0).contiguous()
        codes = torch.bucketize(unit, (levels[1:] + levels[:-1]) / 2)
        of_codes = levels[codes].norm(dim=-1)
        scale = (norm.squeeze(-1) / of_codes).to(DTYPES[self.part.scale_type])
        return reference.packed((codes - 8).to(torch.int8)), scale

    def numbers(self, stored: Sequence[Tensor]) -> Tensor:
        levels = centroids(self.head_dim).to(stored[0].device)
        return levels[reference.widen(stored[0]).long() + 8]


def codec(part: Part, head_dim: int, dtype: torch.dtype) -> Codec:
    """The codec of a part that is stored row by row, in a model of `dtype`."""
    if part.type in BLOCKS:
        return LlamaCpp(part, head_dim, dtype)
    if part.type == CODEBOOK:
        return Codebook(part, head_dim, dtype)
    if part.scale == "tensor":
        return UnitScale(part, head_dim, dtype)
    return (Codes if part.coded else Codec)(part, head_dim, dtype)


def grouped_product(codes: Tensor, scale: Tensor) -> Tensor:
    """Codes (..., hs) times the scale (..., groups) of their group of channels, in fp32."""
    groups = scale.size(-1)
    return (codes.unflatten(-1, (groups, -1)) * scale.float().unsqueeze(-1)).flatten(-2)


def scores(rows: Tensor, stored: Sequence[Tensor], of: Codec) -> Tensor:
    """Products (B, H, R, S) of queries (B, H, R, hs) in fp32 and stored keys."""
    out = rows.new_empty(*rows.shape[:3], stored[0].size(2))
    for at in range(0, out.size(-1), KEYS):
        keys = slice(at, at + KEYS)
        some = of.numbers([x[:, :, keys] for x in stored])
        torch.matmul(rows, some.mT, out=out[..., keys])
    scale = of.scale(stored)
    return out if scale is None else out.mul_(scale.unsqueeze(2))


def weigh(p: Tensor, stored: Sequence[Tensor], of: Codec) -> Tensor:
    """The sum (B, H, R, hs) of stored values with weights p (B, H, R, S)."""
    scale = of.scale(stored)
    p = p if scale is None else p * scale.unsqueeze(2)
    y = p.new_zeros(())
    for at in range(0, p.size(-1), KEYS):
        keys = slice(at, at + KEYS)
        y = y + p[..., keys] @ of.numbers([x[:, :, keys] for x in stored])
    return y


@cache
def centroids(head_dim: int) -> Tensor:
    """The 16 numbers (16,) nearest in the mean square to a coordinate of a random unit vector.

    Its density on [-1, 1] is proportional to (1 - t^2)^((head_dim - 3) / 2); the numbers are those
    of Lloyd (1982, doi:10.1109/TIT.1982.1056489) and Max: each the mean of its cell, whose bounds
    lie half way. Found in float64 on a grid, until they no longer move.
    """
    reach = min(1.0, 8 * head_dim**-0.5)  # beyond which there is next to nothing
    t = torch.linspace(-reach, reach, 20_001, dtype=torch.float64)
    weight = (1 - t**2).clamp(0) ** ((head_dim - 3) / 2)
    share = (weight ** (1 / 3)).cumsum(0)  # of cells of equal error, to begin with
    levels = t[torch.searchsorted(share / share[-1], (torch.arange(16) + 0.5).double() / 16)]
    for _ in range(1000):
        cells = torch.bucketize(t, (levels[1:] + levels[:-1]) / 2)
        mass = torch.zeros(16, dtype=torch.float64).index_add_(0, cells, weight)
        moved = torch.zeros(16, dtype=torch.float64).index_add_(0, cells, weight * t) / mass
        moved = (moved - moved.flip(0)) / 2
        if float((moved - levels).abs().max()) < 1e-8:
            break
        levels = moved
    return levels.float()


def _times_inverse(x: Tensor, d: Tensor) -> Tensor:
    """x over d as a product with 1 / d in fp32; 0 where d is."""
    return torch.where(d == 0, 0.0, x * (1.0 / d))


def _half_away(x: Tensor) -> Tensor:
    """The nearest whole numbers, halves away from zero."""
    return x.sign() * (x.abs() + 0.5).floor()
