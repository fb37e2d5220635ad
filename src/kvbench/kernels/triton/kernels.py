"""Triton kernels of the decode step: split-K attention, and the append that quantises.

Where the step is (`position`, the newest token's index) is read on the device, so that one captured
graph serves every depth. Formats, by a cache's dtype: floats, INT8 codes, INT4 codes two in a byte
(even column in the low half). TRITON_INTERPRET=1, set before this is imported, runs them on a CPU.

Bound to tensors by `triton_bound`; what they compute is said in `reference`.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
ROUND = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it leaves no fraction bits, half to even


@triton.jit
def attend_split(
    q, stride_qb, stride_qh,
    k, v, k_scale, v_scale,
    position, part, part_max, part_sum, out,
    capacity, scale,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr,
    D: tl.constexpr, COLUMNS: tl.constexpr, KEYS: tl.constexpr, SPLITS: tl.constexpr,
    CODES: tl.constexpr, PACKED: tl.constexpr, DOT: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """One share of the keys of one K/V head: softmax over it alone, with its maximum and sum.

    Program (b * KV_HEADS + h, split). ROWS >= GROUP queries read each key once. A key's scale
    multiplies its score and a value's its probability. With one split the result goes to `out`.
    """
    head, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n = tl.load(position) + 1
    share = tl.cdiv(tl.cdiv(n, SPLITS), KEYS) * KEYS
    first, last = split * share, tl.minimum(split * share + share, n)

    rows, columns, keys = tl.arange(0, ROWS), tl.arange(0, COLUMNS), tl.arange(0, KEYS)
    step: tl.constexpr = 2 if PACKED else 1
    width: tl.constexpr = D // step
    batch, kv_head = head // KV_HEADS, head % KV_HEADS
    query = q + batch * stride_qb + (kv_head * GROUP + rows[:, None]) * stride_qh
    wanted = (rows < GROUP)[:, None] & (columns < width)[None, :]
    q_even = operand(tl.load(query + columns[None, :] * step, wanted, 0.0), q, HALF)
    q_odd = q_even
    if PACKED:
        q_odd = operand(tl.load(query + columns[None, :] * step + 1, wanted, 0.0), q, HALF)

    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    y_even = tl.zeros([ROWS, COLUMNS], tl.float32)
    y_odd = tl.zeros([ROWS, COLUMNS], tl.float32)
    k += head * capacity * width
    v += head * capacity * width
    for at in range(first, last, KEYS):
        live = at + keys < last
        tile = (at + keys)[:, None] * width + columns[None, :]
        inside = live[:, None] & (columns < width)[None, :]
        k_even, k_odd = unpack(tl.load(k + tile, inside, 0), PACKED)
        scores = multiply(operand(k_even, q, HALF), q_even, DOT)  # (KEYS, ROWS)
        if PACKED:
            scores += multiply(operand(k_odd, q, HALF), q_odd, DOT)
        scores *= scale * LOG2E
        if CODES:
            scores *= tl.load(k_scale + head * capacity + at + keys, live, 0.0)[:, None]
        scores = tl.where(live[:, None], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 0))
        p, shrink = tl.exp2(scores - higher[None, :]), tl.exp2(top - higher)
        total = total * shrink + tl.sum(p, 0)
        if CODES:
            p *= tl.load(v_scale + head * capacity + at + keys, live, 0.0)[:, None]
        p = operand(p, q, HALF)
        v_even, v_odd = unpack(tl.load(v + tile, inside, 0), PACKED)
        y_even = y_even * shrink[:, None] + weigh(p, operand(v_even, q, HALF), DOT)
        if PACKED:
            y_odd = y_odd * shrink[:, None] + weigh(p, operand(v_odd, q, HALF), DOT)
        top = higher

    query_head = head * GROUP + rows
    if SPLITS == 1:
        y_even, y_odd = y_even / total[:, None], y_odd / total[:, None]
        place = out + query_head[:, None] * D
    else:
        slot = query_head * SPLITS + split
        tl.store(part_max + slot, top, rows < GROUP)
        tl.store(part_sum + slot, total, rows < GROUP)
        place = part + slot[:, None] * D
    place += columns[None, :] * step
    tl.store(place, y_even.to(place.dtype.element_ty), wanted)
    if PACKED:
        tl.store(place + 1, y_odd.to(place.dtype.element_ty), wanted)


@triton.jit
def unpack(stored, PACKED: tl.constexpr):
    """(even, odd) columns of packed codes, sign extended; anything else as it is, twice."""
    even, odd = stored, stored
    if PACKED:
        codes = stored.to(tl.int8, bitcast=True)
        even, odd = (codes << 4) >> 4, codes >> 4
    return even, odd


@triton.jit
def operand(x, q, HALF: tl.constexpr):
    """x as it is multiplied: fp32, or on matrix units q's two-byte float, where codes are exact."""
    return x.to(q.dtype.element_ty if HALF else tl.float32)


@triton.jit
def multiply(k, q, DOT: tl.constexpr):
    """(KEYS, ROWS) products of k (KEYS, COLUMNS) and q (ROWS, COLUMNS); one row needs no matrix."""
    return tl.dot(k, tl.trans(q), input_precision="ieee") if DOT else tl.sum(k * q, 1)[:, None]


@triton.jit
def weigh(p, v, DOT: tl.constexpr):
    """(ROWS, COLUMNS) sums of values v (KEYS, COLUMNS) with the weights p (KEYS, ROWS)."""
    return tl.dot(tl.trans(p), v, input_precision="ieee") if DOT else tl.sum(p * v, 0)[None, :]


@triton.jit
def join_splits(
    part, part_max, part_sum, out,
    D: tl.constexpr, COLUMNS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """The shares of one query head as one softmax. An empty share has maximum -inf: weight 0."""
    head = tl.program_id(0).to(tl.int64)
    splits, columns = tl.arange(0, SPLITS), tl.arange(0, COLUMNS)
    top = tl.load(part_max + head * SPLITS + splits)
    weight = tl.exp2(top - tl.max(top, 0))
    total = tl.sum(weight * tl.load(part_sum + head * SPLITS + splits), 0)
    inside = (columns < D)[None, :]
    tile = (head * SPLITS + splits)[:, None] * D + columns[None, :]
    y = tl.sum(tl.load(part + tile, inside, 0.0) * weight[:, None], 0) / total
    place = out + head * D + columns
    tl.store(place, y.to(place.dtype.element_ty), columns < D)


@triton.jit
def append_row(
    x, stride_b, stride_h, codes, scale, position, capacity,
    HEADS: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr, LIMIT: tl.constexpr,
):  # fmt: skip
    """Store one row of one head at `position`: as it is (LIMIT 0), or as codes and a scale."""
    head = tl.program_id(0).to(tl.int64)
    row = head * capacity + tl.load(position)
    step: tl.constexpr = 2 if LIMIT == 7 else 1
    columns = tl.arange(0, COLUMNS)
    inside = columns < D // step
    source = x + (head // HEADS) * stride_b + (head % HEADS) * stride_h + columns * step
    place = codes + row * (D // step) + columns
    even = tl.load(source, inside, 0.0)
    if LIMIT == 0:
        tl.store(place, even.to(place.dtype.element_ty), inside)
    else:
        even = even.to(tl.float32)
        largest = tl.max(tl.abs(even), 0)
        broken = tl.max((even != even).to(tl.int32), 0)
        if LIMIT == 7:
            odd = tl.load(source + 1, inside, 0.0).to(tl.float32)
            largest = tl.maximum(largest, tl.max(tl.abs(odd), 0))
            broken = tl.maximum(broken, tl.max((odd != odd).to(tl.int32), 0))
        unit = tl.where(broken > 0, float("nan"), tl.div_rn(largest, LIMIT * 1.0))
        tl.store(scale + row, unit)
        code = quantise(even, unit, LIMIT)
        if LIMIT == 7:
            code = (code & 15) | (quantise(odd, unit, LIMIT) << 4)
        tl.store(place, code.to(place.dtype.element_ty), inside)


@triton.jit
def quantise(x, unit, LIMIT: tl.constexpr):
    """int32 codes of x in steps of `unit`, half to even; 0 where there is no such step."""
    usable = (unit > 0) & (unit < float("inf"))
    steps = tl.div_rn(x, tl.zeros_like(x) + tl.where(usable, unit, 1.0))
    steps = tl.minimum(tl.maximum(steps, -LIMIT * 1.0), LIMIT * 1.0)
    return tl.where(usable, (steps + ROUND) - ROUND, 0.0).to(tl.int32)
