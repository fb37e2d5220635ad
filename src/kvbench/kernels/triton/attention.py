"""Decode attention over a cache, the new token's K and V appended on the way.

One program reads a share of the keys of one K/V head for up to ROWS of its query heads. Rows are
read as 32-bit words (`words`) and every slot of a tile keeps a softmax of its own (`softmax`), so
that the loop has no barrier and sums no values across threads. A key's scale multiplies its score
and a value's its probability, a group's what its channels add to them; nothing is dequantised. All
arithmetic is fp32.

Where the step is (`position`, the new token's index) is read on the device, so that one captured
graph serves every depth.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.dependent_launch import let_next_start, wait_for_previous
from kvbench.kernels.triton.encode import encode
from kvbench.kernels.triton.softmax import LOG2E, LOWEST, absorb, as_read, dot, join
from kvbench.kernels.triton.turn import by_hadamard, load_row
from kvbench.kernels.triton.words import INT4, OFFSET, step_of


@triton.jit
def attend(
    qkv, stride_b, turn,
    k, v, k_scale, v_scale, position,
    part, part_max, part_sum, arrived, out,
    capacity, scale,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr,
    K: tl.constexpr, V: tl.constexpr,
    SLOTS: tl.constexpr, KEYS: tl.constexpr, STAGES: tl.constexpr, SPLITS: tl.constexpr,
    APPEND: tl.constexpr, ROTARY: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """out (B, Hq, D) = softmax(q K^T * scale) V over rows 0 ... position.

    qkv: fp32 (B, width), the new rows of q, and of k and v if APPEND. turn: cosines then sines (D,)
    of the position's angles, if ROTARY. k, v: int32 words (B, KV_HEADS, capacity, words of a row)
    in the formats K and V; k_scale, v_scale: (B, KV_HEADS, capacity, scales of a row) for codes.

    SLOTS keys side by side, and KEYS of them in turn, make a tile. With SPLITS > 1 the last program
    of a head to arrive joins every share, in order. PDL: 0 none, 1 the next kernel may start at
    once, 2 it may when the keys are read: where programs fill the device it would be in their way.
    """
    CHUNKS: tl.constexpr = (GROUP + ROWS - 1) // ROWS
    TILE: tl.constexpr = SLOTS * KEYS
    VALUES: tl.constexpr = V.per
    program, split = tl.program_id(0), tl.program_id(1)
    chunk, head = program % CHUNKS, (program // CHUNKS).to(tl.int64)
    batch, kv_head = head // KV_HEADS, head % KV_HEADS
    owns = (split == 0) & (chunk == 0)

    slots = tl.arange(0, SLOTS)
    k_words, v_words = tl.arange(0, K.width), tl.arange(0, V.width)
    k += head * capacity * K.words
    v += head * capacity * V.words
    k_scale += head * capacity * K.scales
    v_scale += head * capacity * V.scales

    let_next_start(PDL == 1)
    if not APPEND:  # the newest row was stored by a kernel of this step
        wait_for_previous(PDL > 0)
    n = tl.load(position).to(tl.int32) + (0 if APPEND else 1)
    share = tl.cdiv(tl.cdiv(n, SPLITS), TILE) * TILE
    first, last = split * share, tl.minimum(split * share + share, n)
    if STAGES == 0:
        loaded = load_tile(k, v, k_scale, v_scale, first, last, slots, K, V, KEYS)
    if APPEND:
        wait_for_previous(PDL > 0)

    row = qkv + batch * stride_b
    queries, sums = (), ()
    for g in tl.static_range(ROWS):
        query_head = kv_head * GROUP + tl.minimum(chunk * ROWS + g, GROUP - 1)
        q = load_row(row + query_head * D, turn, k_words, D, ROTARY, K)
        scaled, total = (), tl.zeros([K.width], tl.float32)
        for i in tl.static_range(len(q)):
            number = q[i] * (scale * LOG2E * step_of(K))
            total += number
            scaled = scaled + (number,)
        queries = queries + (scaled,)
        sums = sums + (total if K.grouped else tl.sum(total, 0),)

    own = (slots == 0) & (split == 0)
    state = ()
    if APPEND:
        new_k = row + (KV_HEADS * GROUP + kv_head) * D
        new_v = new_k + KV_HEADS * D
        new_k = load_row(new_k, turn, k_words, D, ROTARY, K)
        new_v = load_row(new_v, turn, v_words, D, False, V)
        new_k = append(new_k, k, k_scale, n, k_words, owns, K)
        new_v = append(new_v, v, v_scale, n, v_words, owns, V)
    for g in tl.static_range(ROWS):
        y = ()
        if APPEND:
            score = dot(queries[g], new_k, K)
            top = tl.where(own, tl.sum(score, 0), LOWEST)
            for i in tl.static_range(len(new_v)):
                y = y + (tl.where(own[:, None], as_read(new_v[i], V)[None, :], 0.0),)
            total = tl.where(own, 1.0, 0.0)
        else:
            top = tl.full([SLOTS], LOWEST, tl.float32)
            for _ in tl.static_range(VALUES):
                y = y + (tl.zeros([SLOTS, V.width], tl.float32),)
            total = tl.zeros([SLOTS], tl.float32)
        weight = tl.zeros([SLOTS, V.width] if V.grouped else [SLOTS], tl.float32)
        state = state + ((top, total, weight, y),)

    if STAGES == 0:  # the next tile is on its way while this one is used
        for at in range(first + TILE, last, TILE):
            following = load_tile(k, v, k_scale, v_scale, at, last, slots, K, V, KEYS)
            state = absorb(loaded, queries, sums, state, K, V, KEYS, ROWS)
            loaded = following
        state = absorb(loaded, queries, sums, state, K, V, KEYS, ROWS)
    else:
        for at in tl.range(first, last, TILE, num_stages=STAGES):
            loaded = load_tile(k, v, k_scale, v_scale, at, last, slots, K, V, KEYS)
            state = absorb(loaded, queries, sums, state, K, V, KEYS, ROWS)
    let_next_start(PDL == 2)

    for g in tl.static_range(ROWS):
        tops, totals, weights, y = state[g]
        top = tl.max(tops, 0)
        factor = tl.exp2(tops - top)
        total = tl.sum(totals * factor, 0)
        weight = tl.sum(weights * (factor[:, None] if V.grouped else factor), 0)
        member = chunk * ROWS + g
        query_head = head * GROUP + member
        if SPLITS == 1:
            place, divisor = out + query_head * D, total
        else:
            share_of = query_head * SPLITS + split
            tl.store(part_max + share_of, top, member < GROUP)
            tl.store(part_sum + share_of, total, member < GROUP)
            place, divisor = part + share_of * D, 1.0
        inside, mixed = v_words < V.words, ()
        for i in tl.static_range(len(y)):
            z = tl.sum(y[i] * factor[:, None], 0)
            if V.kind == INT4:
                z -= weight * OFFSET
            mixed = mixed + (z * step_of(V) / divisor,)
        if V.turned:
            mixed = by_hadamard(mixed, V)
        for i in tl.static_range(len(y)):
            z = mixed[i].to(place.dtype.element_ty)
            tl.store(place + v_words * V.per + i, z, inside & (member < GROUP))
    if SPLITS > 1:
        join(part, part_max, part_sum, arrived + program, out, head * GROUP + chunk * ROWS,
             GROUP - chunk * ROWS, ROWS, D, V.width * V.per, SPLITS)  # fmt: skip


@triton.jit
def load_tile(
    k, v, k_scale, v_scale, at, last, slots,
    K: tl.constexpr, V: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """For each of KEYS turns: words of K and V (SLOTS, words), their scales, which keys exist.

    A tensor a turn, so that a slot's keys stay in one thread whatever order a compiler fills axes.
    """
    WIDE: tl.constexpr = max(K.width, V.width)
    tile = ()
    for turn in tl.static_range(KEYS):
        keys = at + turn * slots.numel + slots
        live = keys < last
        k_words = load_words(k, keys, live, K, WIDE)
        v_words = load_words(v, keys, live, V, WIDE)
        k_unit, v_unit = load_scales(k_scale, keys, live, K), load_scales(v_scale, keys, live, V)
        tile = tile + ((k_words, v_words, k_unit, v_unit, live),)
    return tile


@triton.jit
def load_words(rows, keys, live, F: tl.constexpr, WIDE: tl.constexpr):
    """Words (SLOTS, F.width) of some keys' rows.

    As many threads read a row as read the wider one of K and V, 16 bytes each: a slot's score and
    its value then are in the same threads.
    """
    words = tl.arange(0, F.width)
    wanted = live[:, None]
    if F.words != F.width:
        wanted = wanted & (words < F.words)[None, :]
    place = keys[:, None] * F.words + words[None, :]
    if F.width < WIDE:
        place = tl.max_contiguous(place, [1, max(1, 4 * F.width // WIDE)])
    return tl.load(rows + place, wanted, 0)


@triton.jit
def load_scales(scale, keys, live, F: tl.constexpr):
    """Scales of some keys in fp32: one each (SLOTS,), or one for each word (SLOTS, F.width)."""
    if F.scales == 0:
        return live
    elif not F.grouped:
        return tl.load(scale + keys, live, 0.0).to(tl.float32)
    else:
        SPAN: tl.constexpr = F.words // F.scales
        COUNT: tl.constexpr = F.width // SPAN
        groups = tl.arange(0, COUNT)
        wanted = live[:, None] & (groups < F.scales)[None, :]
        unit = tl.load(scale + keys[:, None] * F.scales + groups[None, :], wanted, 0.0)
        each = tl.broadcast_to(unit.to(tl.float32)[:, :, None], [keys.numel, COUNT, SPAN])
        return tl.reshape(each, [keys.numel, F.width])


@triton.jit
def append(x, rows, scale, n, words, mine, F: tl.constexpr):
    """Store a new row at n where `mine`; returns it as it is stored."""
    word, stored, unit = encode(x, 0, scale.dtype.element_ty, F)
    inside = (words < F.words) & mine
    if F.grouped:
        SPAN: tl.constexpr = F.words // F.scales
        first = inside & (words % SPAN == 0)
        tl.store(scale + n * F.scales + words // SPAN, unit, first)
    elif F.scales == 1:
        tl.store(scale + n, unit, mine)
    tl.store(rows + n * F.words + words, word, inside)
    return stored
