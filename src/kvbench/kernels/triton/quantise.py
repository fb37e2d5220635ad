"""A prompt's rows as codes and scales, and codes as rows again: K and V in one launch each."""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.words import INT4, OFFSET, STEP, pack, unit_of, unpack

ROWS = 16  # rows of D channels that a program takes


@triton.jit
def store_rows(
    k, v, k_stride_b, k_stride_h, k_stride_t, v_stride_b, v_stride_h, v_stride_t, k_codes, v_codes,
    k_scale, v_scale, k_read, v_read, rows, heads, T, at, capacity,
    D: tl.constexpr, KIND: tl.constexpr, PER: tl.constexpr, WORDS: tl.constexpr,
    ROWS: tl.constexpr, READ: tl.constexpr,
):  # fmt: skip
    """Rows (B, H, T, D) of k (program axis 1 at 0) or v as codes at `at` of a cache.

    READ: the rows as stored, code times scale, go to k_read or v_read (B, H, T, D) as well.
    """
    x, codes, scale, read = k, k_codes, k_scale, k_read
    stride_b, stride_h, stride_t = k_stride_b, k_stride_h, k_stride_t
    if tl.program_id(1) == 1:
        x, codes, scale, read = v, v_codes, v_scale, v_read
        stride_b, stride_h, stride_t = v_stride_b, v_stride_h, v_stride_t
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    words = tl.arange(0, WORDS)
    inside = live[:, None] & (words < D // PER)[None, :]
    head, t = (row // T).to(tl.int64), row % T
    place = (head // heads) * stride_b + (head % heads) * stride_h + t * stride_t
    numbers = ()
    for i in tl.static_range(PER):
        channel = place[:, None] + (words * PER + i)[None, :]
        numbers = numbers + (tl.load(x + channel, inside, 0.0).to(tl.float32),)
    unit = unit_of(numbers, 1, KIND, PER)
    word, stored = pack(numbers, unit[:, None], KIND, PER)
    kept = head * capacity + at + t
    tl.store(scale + kept, unit, live)
    tl.store(codes + kept[:, None] * (D // PER) + words[None, :], word, inside)
    if READ:
        for i in tl.static_range(PER):
            channel = row.to(tl.int64)[:, None] * D + (words * PER + i)[None, :]
            tl.store(read + channel, stored[i].to(read.dtype.element_ty), inside)


@triton.jit
def read_rows(
    k_codes, v_codes, k_scale, v_scale, k, v, rows, n, capacity,
    D: tl.constexpr, KIND: tl.constexpr, PER: tl.constexpr, WORDS: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """k or v (B, H, n, D) of the first n rows of a cache, code times scale."""
    codes, scale, out = k_codes, k_scale, k
    if tl.program_id(1) == 1:
        codes, scale, out = v_codes, v_scale, v
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    words = tl.arange(0, WORDS)
    inside = live[:, None] & (words < D // PER)[None, :]
    kept = (row // n).to(tl.int64) * capacity + row % n
    unit = tl.load(scale + kept, live, 0.0)[:, None]
    word = tl.load(codes + kept[:, None] * (D // PER) + words[None, :], inside, 0)
    numbers = unpack(word, KIND)
    for i in tl.static_range(PER):
        number = numbers[i]
        if KIND == INT4:
            number = (number - OFFSET) * STEP
        channel = row.to(tl.int64)[:, None] * D + (words * PER + i)[None, :]
        tl.store(out + channel, (number * unit).to(out.dtype.element_ty), inside)
