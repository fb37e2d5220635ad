"""Softmax over keys that come a tile at a time, several queries at once.

A query's state: of every slot of a tile the running maximum, the sum, the sum of weights that codes
of four bits need, and the weighted values (Milakov and Gimelshein 2018, arXiv:1805.02867).
"""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.words import INT4, OFFSET, STEP, unpack

LOG2E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-3.0e38)  # the maximum of no score: finite, so that no difference is NaN


@triton.jit
def as_read(number, KIND: tl.constexpr):
    """A value of the new row, in the units in which values are summed."""
    return number / STEP if KIND == INT4 else number


@triton.jit
def dot(a, b, PER: tl.constexpr):
    """The sum over a word's numbers of a * b."""
    total = a[0] * b[0]
    for i in tl.static_range(1, PER):
        total += a[i] * b[i]
    return total


@triton.jit
def absorb(
    tile, queries, sums, state,
    KIND: tl.constexpr, PER: tl.constexpr, KEYS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """The state of every query once a tile's keys have been counted in."""
    scores = ()
    for turn in tl.static_range(KEYS):
        k, every = unpack(tile[turn][0], KIND), ()
        for g in tl.static_range(ROWS):
            total = k[0] * queries[g][0][None, :]
            for i in tl.static_range(1, PER):
                total += k[i] * queries[g][i][None, :]
            score = tl.sum(total, 1)
            if KIND == INT4:
                score -= sums[g] * OFFSET
            if PER > 2:
                score *= tile[turn][2]
            every = every + (tl.where(tile[turn][4], score, float("-inf")),)
        scores = scores + (every,)
    after = ()
    for g in tl.static_range(ROWS):
        top, total, weight, y = state[g]
        higher = tl.maximum(top, scores[0][g])
        for turn in tl.static_range(1, KEYS):
            higher = tl.maximum(higher, scores[turn][g])
        shrink, shrunk = tl.exp2(top - higher), ()
        for i in tl.static_range(PER):
            shrunk = shrunk + (y[i] * shrink[:, None],)
        after = after + ((higher, total * shrink, weight * shrink, shrunk),)
    for turn in tl.static_range(KEYS):
        v, before, after = unpack(tile[turn][1], KIND), after, ()
        for g in tl.static_range(ROWS):
            higher, total, weight, y = before[g]
            p = tl.exp2(scores[turn][g] - higher)
            total += p
            if PER > 2:
                p *= tile[turn][3]
            if KIND == INT4:
                weight += p
            grown = ()
            for i in tl.static_range(PER):
                grown = grown + (y[i] + p[:, None] * v[i],)
            after = after + ((higher, total, weight, grown),)
    return after


@triton.jit
def join(
    part, part_max, part_sum, arrived, out, query_head, members,
    ROWS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """The last program of a chunk of query heads to arrive makes one softmax of their shares."""
    tl.debug_barrier()
    before = tl.atomic_add(arrived, 1, sem="acq_rel")
    if before == SPLITS - 1:
        splits, columns = tl.arange(0, SPLITS), tl.arange(0, COLUMNS)
        inside = columns < D
        for g in tl.static_range(ROWS):
            if g < members:
                shares = (query_head + g) * SPLITS + splits
                # L1 may hold lines from before the other programs wrote: read past it.
                tops = tl.load(part_max + shares, cache_modifier=".cg")
                factor = tl.exp2(tops - tl.max(tops, 0))
                sums = tl.load(part_sum + shares, cache_modifier=".cg")
                tile = shares[:, None] * D + columns[None, :]
                y = tl.load(part + tile, inside[None, :], 0.0, cache_modifier=".cg")
                y = tl.sum(y * factor[:, None], 0) / tl.sum(factor * sums, 0)
                place = out + (query_head + g) * D + columns
                tl.store(place, y.to(place.dtype.element_ty), inside)
        tl.store(arrived, 0)
