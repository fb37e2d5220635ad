"""A prompt's rows as codes and scales, and codes as rows again: K and V in one launch each."""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.encode import encode, stored

ROWS = 16  # rows of D channels that a program takes


@triton.jit
def store_rows(
    k, v, k_stride_b, k_stride_h, k_stride_t, v_stride_b, v_stride_h, v_stride_t, k_codes, v_codes,
    k_scale, v_scale, k_read, v_read, rows, heads, T, at, capacity,
    D: tl.constexpr, K: tl.constexpr, V: tl.constexpr, ROWS: tl.constexpr, READ: tl.constexpr,
):  # fmt: skip
    """Rows (B, H, T, D) of k (program axis 1 at 0) or v as K and V store them, at `at` of a cache.

    READ: the rows as stored go to k_read or v_read (B, H, T, D) as well.
    """
    if tl.program_id(1) == 0:
        store_part(k, k_stride_b, k_stride_h, k_stride_t, k_codes, k_scale, k_read, rows, heads, T,
                   at, capacity, D, K, ROWS, READ)  # fmt: skip
    else:
        store_part(v, v_stride_b, v_stride_h, v_stride_t, v_codes, v_scale, v_read, rows, heads, T,
                   at, capacity, D, V, ROWS, READ)  # fmt: skip


@triton.jit
def store_part(
    x, stride_b, stride_h, stride_t, codes, scale, read, rows, heads, T, at, capacity,
    D: tl.constexpr, F: tl.constexpr, ROWS: tl.constexpr, READ: tl.constexpr,
):  # fmt: skip
    """As `store_rows`, of K or of V."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    words = tl.arange(0, F.width)[None, :]
    inside = live[:, None] & (words < F.words)
    head, t = (row // T).to(tl.int64), row % T
    place = (head // heads) * stride_b + (head % heads) * stride_h + t * stride_t
    PER: tl.constexpr = F.per
    numbers = ()
    for i in tl.static_range(PER):
        channel = place[:, None] + words * F.per + i
        numbers = numbers + (tl.load(x + channel, inside, 0.0).to(tl.float32),)
    word, as_stored, unit = encode(numbers, 1, scale.dtype.element_ty, F)
    kept = head * capacity + at + t
    if F.grouped:
        SPAN: tl.constexpr = F.words // F.scales
        first = inside & (words % SPAN == 0)
        tl.store(scale + kept[:, None] * F.scales + words // SPAN, unit, first)
    elif F.scales == 1:
        tl.store(scale + kept, unit, live)
    tl.store(codes + kept[:, None] * F.words + words, word, inside)
    if READ:
        for i in tl.static_range(PER):
            channel = row.to(tl.int64)[:, None] * D + words * F.per + i
            tl.store(read + channel, as_stored[i].to(read.dtype.element_ty), inside)


@triton.jit
def read_rows(
    k_codes, v_codes, k_scale, v_scale, k, v, rows, n, capacity,
    D: tl.constexpr, K: tl.constexpr, V: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """k or v (B, H, n, D) of the first n rows of a cache, as numbers."""
    if tl.program_id(1) == 0:
        read_part(k_codes, k_scale, k, rows, n, capacity, D, K, ROWS)
    else:
        read_part(v_codes, v_scale, v, rows, n, capacity, D, V, ROWS)


@triton.jit
def read_part(
    codes, scale, out, rows, n, capacity, D: tl.constexpr, F: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """As `read_rows`, of K or of V."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    words = tl.arange(0, F.width)[None, :]
    inside = live[:, None] & (words < F.words)
    kept = (row // n).to(tl.int64) * capacity + row % n
    unit = 1.0
    if F.grouped:
        SPAN: tl.constexpr = F.words // F.scales
        unit = tl.load(scale + kept[:, None] * F.scales + words // SPAN, inside, 0.0)
        unit = unit.to(tl.float32)
    elif F.scales == 1:
        unit = tl.load(scale + kept, live, 0.0).to(tl.float32)[:, None]
    word = tl.load(codes + kept[:, None] * F.words + words, inside, 0)
    numbers = stored(word, unit, F)
    for i in tl.static_range(len(numbers)):
        channel = row.to(tl.int64)[:, None] * D + words * F.per + i
        tl.store(out + channel, numbers[i].to(out.dtype.element_ty), inside)
