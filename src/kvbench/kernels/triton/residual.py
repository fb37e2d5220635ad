"""The residual stream of a decode step, fp32: where it begins, and its norms for several rows."""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.dependent_launch import let_next_start, wait_for_previous
from kvbench.kernels.triton.linear import LAYER_NORM


@triton.jit
def embed(
    token, position, embedding, positions, speed, x, turn, C,
    COLUMNS: tl.constexpr, PAIRS: tl.constexpr, PAIR_COLUMNS: tl.constexpr,
    LEARNED: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """x (B, C) = embedding[token] (+ positions[position] if LEARNED), a program a sequence.

    With PAIRS > 0 the first program also writes turn (2, PAIRS): cosines and sines of
    position * speed (PAIRS,). The next kernel starts after the wait only: what it reads early,
    the position above all, is then settled.
    """
    wait_for_previous(PDL)
    let_next_start(PDL)
    row, columns = tl.program_id(0), tl.arange(0, COLUMNS)
    inside = columns < C
    at, t = tl.load(position), tl.load(token + row)
    y = tl.load(embedding + t * C + columns, inside, 0.0).to(tl.float32)
    if LEARNED:
        y += tl.load(positions + at * C + columns, inside, 0.0).to(tl.float32)
    tl.store(x + row * C + columns, y, inside)
    if PAIRS > 0:
        pairs = tl.arange(0, PAIR_COLUMNS)
        angle = at.to(tl.float32) * tl.load(speed + pairs, pairs < PAIRS, 0.0)
        mine = (pairs < PAIRS) & (row == 0)
        tl.store(turn + pairs, tl.cos(angle), mine)
        tl.store(turn + PAIRS + pairs, tl.sin(angle), mine)


@triton.jit
def add_norm(
    x, summands, gain, shift, out, M, C, eps,
    COLUMNS: tl.constexpr, PARTS: tl.constexpr, NORM: tl.constexpr, SHIFT: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """x (M, C) += the sum of summands (PARTS, M, C); out (M, C) = norm(x). A program a row."""
    let_next_start(PDL)
    row, columns = tl.program_id(0).to(tl.int64), tl.arange(0, COLUMNS)
    inside = columns < C
    scale, added = tl.load(gain + columns, inside, 0.0).to(tl.float32), 0.0
    if SHIFT:
        added = tl.load(shift + columns, inside, 0.0).to(tl.float32)
    wait_for_previous(PDL)
    y = tl.load(x + row * C + columns, inside, 0.0)
    for part in tl.static_range(PARTS):
        y += tl.load(summands + (part * M + row) * C + columns, inside, 0.0)
    if PARTS > 0:
        tl.store(x + row * C + columns, y, inside)
    mean = 0.0
    if NORM == LAYER_NORM:
        mean = tl.sum(y, 0) / C
    away = tl.where(inside, y - mean, 0.0)
    z = away * tl.rsqrt(tl.sum(away * away, 0) / C + eps) * scale + added
    tl.store(out + row * C + columns, z.to(out.dtype.element_ty), inside)
