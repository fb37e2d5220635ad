"""Softmax over keys that come a tile at a time, several queries at once.

A query's state: of every slot of a tile the running maximum, the sum, the sum of weights that INT4
codes need (for each word where groups have scales), and the weighted values (Milakov and Gimelshein
2018, arXiv:1805.02867).
"""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.words import E4M3, INT4, OFFSET, step_of, unpack

LOG2E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-3.0e38)  # the maximum of no score: finite, so that no difference is NaN


@triton.jit
def as_read(number, F: tl.constexpr):
    """A number in the units in which stored ones are read, but for scales."""
    if F.kind == INT4 or F.kind == E4M3:
        return number / step_of(F)
    else:
        return number


@triton.jit
def dot(a, b, F: tl.constexpr):
    """The sum over a word's numbers of a * b, as b is read."""
    total = a[0] * as_read(b[0], F)
    for i in tl.static_range(1, len(a)):
        total += a[i] * as_read(b[i], F)
    return total


@triton.jit
def scores_of(words, unit, query, sum_of_query, K: tl.constexpr):
    """Scores (slots,) of the keys of words (slots, K.width)."""
    k = unpack(words, K)
    total = k[0] * query[0][None, :]
    for i in tl.static_range(1, len(k)):
        total += k[i] * query[i][None, :]
    if K.grouped:
        if K.kind == INT4:
            total -= sum_of_query[None, :] * OFFSET
        return tl.sum(total * unit, 1)
    else:
        score = tl.sum(total, 1)
        if K.kind == INT4:
            score -= sum_of_query * OFFSET
        if K.scales == 1:
            score *= unit
        return score


@triton.jit
def absorb(
    tile, queries, sums, state,
    K: tl.constexpr, V: tl.constexpr, KEYS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """The state of every query once a tile's keys have been counted in."""
    scores = ()
    for turn in tl.static_range(KEYS):
        every = ()
        for g in tl.static_range(ROWS):
            score = scores_of(tile[turn][0], tile[turn][2], queries[g], sums[g], K)
            every = every + (tl.where(tile[turn][4], score, float("-inf")),)
        scores = scores + (every,)
    after = ()
    for g in tl.static_range(ROWS):
        top, total, weight, y = state[g]
        higher = tl.maximum(top, scores[0][g])
        for turn in tl.static_range(1, KEYS):
            higher = tl.maximum(higher, scores[turn][g])
        shrink, shrunk = tl.exp2(top - higher), ()
        for i in tl.static_range(len(y)):
            shrunk = shrunk + (y[i] * shrink[:, None],)
        weight *= shrink[:, None] if V.grouped else shrink
        after = after + ((higher, total * shrink, weight, shrunk),)
    for turn in tl.static_range(KEYS):
        v, before, after = unpack(tile[turn][1], V), after, ()
        for g in tl.static_range(ROWS):
            higher, total, weight, y = before[g]
            p = tl.exp2(scores[turn][g] - higher)
            total += p
            if V.scales == 1 and not V.grouped:
                p *= tile[turn][3]
            each = p[:, None] * tile[turn][3] if V.grouped else p[:, None]
            if V.kind == INT4:
                weight += each if V.grouped else p
            grown = ()
            for i in tl.static_range(len(v)):
                grown = grown + (y[i] + each * v[i],)
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
