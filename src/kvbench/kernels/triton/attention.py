"""Decode attention over a cache, the new token's K and V appended on the way.

One program reads a share of the keys of one K/V head for up to ROWS of its query heads. Rows are
read as 32-bit words (`words`) and every slot of a tile keeps a softmax of its own (`softmax`), so
that the loop has no barrier and sums no values across threads. A key's scale multiplies its score
and a value's its probability; nothing is dequantised. All arithmetic is fp32.

Where the step is (`position`, the new token's index) is read on the device, so that one captured
graph serves every depth.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.dependent_launch import let_next_start, wait_for_previous
from kvbench.kernels.triton.softmax import LOG2E, LOWEST, absorb, as_read, dot, join
from kvbench.kernels.triton.words import INT4, OFFSET, STEP, pack, unit_of


@triton.jit
def attend(
    qkv, stride_b, turn,
    k, v, k_scale, v_scale, position,
    part, part_max, part_sum, arrived, out,
    capacity, scale,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr,
    KIND: tl.constexpr, PER: tl.constexpr, WORDS: tl.constexpr,
    SLOTS: tl.constexpr, KEYS: tl.constexpr, STAGES: tl.constexpr, SPLITS: tl.constexpr,
    APPEND: tl.constexpr, ROTARY: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """out (B, Hq, D) = softmax(q K^T * scale) V over rows 0 ... position.

    qkv: fp32 (B, width), the new rows of q, and of k and v if APPEND. turn: cosines then sines (D,)
    of the position's angles, if ROTARY. k, v: int32 words (B, KV_HEADS, capacity, D / PER);
    k_scale, v_scale: fp32 (B, KV_HEADS, capacity) for codes.

    SLOTS keys side by side, and KEYS of them in turn, make a tile. With SPLITS > 1 the last program
    of a head to arrive joins every share, in order. PDL: 0 none, 1 the next kernel may start at
    once, 2 it may when the keys are read: where programs fill the device it would be in their way.
    """
    CHUNKS: tl.constexpr = (GROUP + ROWS - 1) // ROWS
    W: tl.constexpr = D // PER
    TILE: tl.constexpr = SLOTS * KEYS
    program, split = tl.program_id(0), tl.program_id(1)
    chunk, head = program % CHUNKS, (program // CHUNKS).to(tl.int64)
    batch, kv_head = head // KV_HEADS, head % KV_HEADS
    owns = (split == 0) & (chunk == 0)

    words, slots = tl.arange(0, WORDS), tl.arange(0, SLOTS)
    inside = words < W
    k += head * capacity * W
    v += head * capacity * W
    k_scale += head * capacity
    v_scale += head * capacity

    let_next_start(PDL == 1)
    if not APPEND:  # the newest row was stored by a kernel of this step
        wait_for_previous(PDL > 0)
    n = tl.load(position).to(tl.int32) + (0 if APPEND else 1)
    share = tl.cdiv(tl.cdiv(n, SPLITS), TILE) * TILE
    first, last = split * share, tl.minimum(split * share + share, n)
    if STAGES == 0:
        loaded = load_tile(
            k, v, k_scale, v_scale, first, last, slots, words, W, WORDS, SLOTS, KEYS, KIND, PER
        )
    if APPEND:
        wait_for_previous(PDL > 0)

    row = qkv + batch * stride_b
    queries, sums = (), ()
    for g in tl.static_range(ROWS):
        query_head = kv_head * GROUP + tl.minimum(chunk * ROWS + g, GROUP - 1)
        q = load_row(row + query_head * D, turn, words, inside, D, PER, ROTARY)
        scaled, total = (), tl.zeros([WORDS], tl.float32)
        for i in tl.static_range(PER):
            number = q[i] * (scale * LOG2E)
            total += number
            scaled = scaled + (number,)
        queries = queries + (scaled,)
        sums = sums + (tl.sum(total, 0),)

    own = (slots == 0) & (split == 0)
    state = ()
    if APPEND:
        new_k = row + (KV_HEADS * GROUP + kv_head) * D
        new_v = new_k + KV_HEADS * D
        new_k = load_row(new_k, turn, words, inside, D, PER, ROTARY)
        new_v = load_row(new_v, turn, words, inside, D, PER, False)
        new_k = append(new_k, k + n * W + words, k_scale + n, owns, inside, KIND, PER)
        new_v = append(new_v, v + n * W + words, v_scale + n, owns, inside, KIND, PER)
    for g in tl.static_range(ROWS):
        y = ()
        if APPEND:
            score = dot(queries[g], new_k, PER)
            top = tl.where(own, tl.sum(score, 0), LOWEST)
            for i in tl.static_range(PER):
                y = y + (tl.where(own[:, None], as_read(new_v[i], KIND)[None, :], 0.0),)
            total = tl.where(own, 1.0, 0.0)
        else:
            top = tl.full([SLOTS], LOWEST, tl.float32)
            for _ in tl.static_range(PER):
                y = y + (tl.zeros([SLOTS, WORDS], tl.float32),)
            total = tl.zeros([SLOTS], tl.float32)
        state = state + ((top, total, tl.zeros([SLOTS], tl.float32), y),)

    if STAGES == 0:  # the next tile is on its way while this one is used
        for at in range(first + TILE, last, TILE):
            following = load_tile(
                k, v, k_scale, v_scale, at, last, slots, words, W, WORDS, SLOTS, KEYS, KIND, PER
            )
            state = absorb(loaded, queries, sums, state, KIND, PER, KEYS, ROWS)
            loaded = following
        state = absorb(loaded, queries, sums, state, KIND, PER, KEYS, ROWS)
    else:
        for at in tl.range(first, last, TILE, num_stages=STAGES):
            loaded = load_tile(
                k, v, k_scale, v_scale, at, last, slots, words, W, WORDS, SLOTS, KEYS, KIND, PER
            )
            state = absorb(loaded, queries, sums, state, KIND, PER, KEYS, ROWS)
    let_next_start(PDL == 2)

    for g in tl.static_range(ROWS):
        tops, totals, weights, y = state[g]
        top = tl.max(tops, 0)
        factor = tl.exp2(tops - top)
        total, weight = tl.sum(totals * factor, 0), tl.sum(weights * factor, 0)
        member = chunk * ROWS + g
        query_head = head * GROUP + member
        if SPLITS == 1:
            place, divisor = out + query_head * D, total
        else:
            share_of = query_head * SPLITS + split
            tl.store(part_max + share_of, top, member < GROUP)
            tl.store(part_sum + share_of, total, member < GROUP)
            place, divisor = part + share_of * D, 1.0
        for i in tl.static_range(PER):
            z = tl.sum(y[i] * factor[:, None], 0)
            if KIND == INT4:
                z = (z - weight * OFFSET) * STEP
            z = (z / divisor).to(place.dtype.element_ty)
            tl.store(place + words * PER + i, z, inside & (member < GROUP))
    if SPLITS > 1:
        join(part, part_max, part_sum, arrived + program, out, head * GROUP + chunk * ROWS,
             GROUP - chunk * ROWS, ROWS, D, WORDS * PER, SPLITS)  # fmt: skip


@triton.jit
def load_tile(
    k, v, k_scale, v_scale, at, last, slots, words,
    W: tl.constexpr, WORDS: tl.constexpr, SLOTS: tl.constexpr, KEYS: tl.constexpr,
    KIND: tl.constexpr, PER: tl.constexpr,
):  # fmt: skip
    """For each of KEYS turns: words of K and V (SLOTS, WORDS), scales of codes, which keys exist.

    A tensor a turn, so that a slot's keys stay in one thread whatever order a compiler fills axes.
    """
    tile = ()
    for turn in tl.static_range(KEYS):
        keys = at + turn * SLOTS + slots
        live = keys < last
        wanted = live[:, None]
        if W != WORDS:
            wanted = wanted & (words < W)[None, :]
        place = keys[:, None] * W + words[None, :]
        k_words, v_words = tl.load(k + place, wanted, 0), tl.load(v + place, wanted, 0)
        k_unit, v_unit = live, live
        if PER > 2:
            k_unit, v_unit = tl.load(k_scale + keys, live, 0.0), tl.load(v_scale + keys, live, 0.0)
            if KIND == INT4:
                k_unit *= STEP
        tile = tile + ((k_words, v_words, k_unit, v_unit, live),)
    return tile


@triton.jit
def load_row(row, turn, words, inside, D: tl.constexpr, PER: tl.constexpr, ROTARY: tl.constexpr):
    """One new row (D,) as PER tensors (WORDS,), its neighbouring pairs turned if ROTARY."""
    x = ()
    for i in tl.static_range(PER):
        x = x + (tl.load(row + words * PER + i, inside, 0.0),)
    if ROTARY:
        turned = ()
        for i in tl.static_range(PER):
            channel = words * PER + i
            other = tl.load(row + (channel ^ 1), inside, 0.0) if PER == 1 else x[i ^ 1]
            cos = tl.load(turn + channel // 2, inside, 0.0)
            sin = tl.load(turn + D // 2 + channel // 2, inside, 0.0)
            turned = turned + (x[i] * cos + tl.where(channel % 2 == 0, -other, other) * sin,)
        return turned
    else:
        return x


@triton.jit
def append(x, place, scale, mine, inside, KIND: tl.constexpr, PER: tl.constexpr):
    """Store a new row where `mine`; returns it as it is stored."""
    unit = 1.0
    if PER > 2:
        unit = unit_of(x, 0, KIND, PER)
        tl.store(scale, unit, mine)
    word, stored = pack(x, unit, KIND, PER)
    tl.store(place, word, inside & mine)
    return stored
