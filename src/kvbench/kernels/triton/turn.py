"""Rows turned: by their position, and by a Hadamard matrix (`kvbench.kernels.hadamard`)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_row(row, turn, words, D: tl.constexpr, ROTARY: tl.constexpr, F: tl.constexpr):
    """One new row (D,) as F.per tensors (F.width,), as it is to be stored, but for its codes.

    Its neighbouring pairs are turned if ROTARY, then all of it where the format is turned.
    """
    PER: tl.constexpr = F.per
    x, inside = (), words < F.words
    for i in tl.static_range(PER):
        x = x + (tl.load(row + words * F.per + i, inside, 0.0),)
    if ROTARY:
        turned = ()
        for i in tl.static_range(PER):
            channel = words * F.per + i
            other = tl.load(row + (channel ^ 1), inside, 0.0) if F.per == 1 else x[i ^ 1]
            cos = tl.load(turn + channel // 2, inside, 0.0)
            sin = tl.load(turn + D // 2 + channel // 2, inside, 0.0)
            turned = turned + (x[i] * cos + tl.where(channel % 2 == 0, -other, other) * sin,)
        x = turned
    if F.turned:
        x = by_hadamard(x, F)
    return x


@triton.jit
def by_hadamard(x, F: tl.constexpr):
    """A row times the matrix, as F.per tensors (F.width,), each block of F.turned channels alike.

    A channel is F.per * word + place, so that the matrix is that of words times that of places. Its
    number at (i, j) is -1 to the power of the bits that i and j have in common, over a root.
    """
    words = tl.arange(0, F.width)
    BLOCK: tl.constexpr = F.turned // F.per
    both = words[:, None] & words[None, :] & (BLOCK - 1)
    both ^= both >> 8
    both ^= both >> 4
    both ^= both >> 2
    both ^= both >> 1
    sign = (1 - 2 * (both & 1)).to(tl.float32)
    sign = tl.where(words[:, None] // BLOCK == words[None, :] // BLOCK, sign, 0.0)
    sums = ()
    for i in tl.static_range(len(x)):
        sums = sums + (tl.sum(sign * x[i][None, :], 1),)
    turned = ()
    for i in tl.static_range(len(x)):
        total = sums[0]
        for j in tl.static_range(1, len(x)):
            total += sums[j] if even(i & j) else -sums[j]
        turned = turned + (total * (1.0 / F.turned**0.5),)
    return turned


@triton.constexpr_function
def even(bits):
    """Whether an even number of bits are set."""
    return int(bits).bit_count() % 2 == 0
