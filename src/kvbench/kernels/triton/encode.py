"""Numbers made into stored words, bit for bit as `kvbench.kernels.reference` and the codecs do."""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.words import (
    ASSEMBLY,
    BF16,
    E4M3,
    E4M3_STEP,
    FP32,
    INT4,
    INT8,
    OFFSET,
    STEP,
    unpack,
)

ROUND = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it leaves no fraction bits, half to even


@triton.jit
def encode(x, axis: tl.constexpr, scale_type: tl.constexpr, F: tl.constexpr):
    """(words, numbers as stored, scales) of rows of fp32 numbers: F.per tensors, words on `axis`.

    A row's scale is of their shape without `axis`; scales of groups are of their shape, each
    repeated for every word of its group. Without scales the last is 1.
    """
    if F.scales == 0:
        word, numbers = pack(x, 1.0, F)
        return word, numbers, 1.0
    elif not F.grouped:
        unit = scale_of(x, axis, F).to(scale_type).to(tl.float32)
        each = unit if axis == 0 else unit[:, None]
        word, numbers = pack(x, each, F)
        return word, times(numbers, each), unit
    else:
        exact = group_scale(x, F)
        unit = exact.to(scale_type).to(tl.float32)
        word, numbers = pack(x, exact if F.blocks else unit, F)
        return word, times(numbers, unit), unit


@triton.jit
def times(numbers, unit):
    """Every tensor of a tuple, multiplied."""
    products = ()
    for i in tl.static_range(len(numbers)):
        products = products + (numbers[i] * unit,)
    return products


@triton.jit
def stored(word, unit, F: tl.constexpr):
    """The numbers that words stand for, `unit` their scale."""
    numbers = unpack(word, F)
    if F.kind == INT4:
        codes = ()
        for i in tl.static_range(len(numbers)):
            codes = codes + ((numbers[i] - OFFSET) * STEP,)
        return times(codes, unit)
    elif F.kind == E4M3:
        return times(times(numbers, E4M3_STEP), unit)
    elif F.scales == 0:
        return numbers
    else:
        return times(numbers, unit)


@triton.jit
def pack(x, unit, F: tl.constexpr):
    """(words, numbers as stored but for scales); `unit` is what codes are steps of."""
    if F.kind == FP32:
        return x[0].to(tl.int32, bitcast=True), x
    elif F.per == 2:
        HALF: tl.constexpr = tl.bfloat16 if F.kind == BF16 else tl.float16
        low, high = x[0].to(HALF), x[1].to(HALF)
        word = low.to(tl.int16, bitcast=True).to(tl.int32) & 65535
        word = word | (high.to(tl.int16, bitcast=True).to(tl.int32) << 16)
        return word, (low.to(tl.float32), high.to(tl.float32))
    else:
        BITS: tl.constexpr = 32 // F.per
        word, codes = tl.zeros_like(x[0]).to(tl.int32), ()
        for i in tl.static_range(len(x)):
            code = code_of(x[i], unit, F)
            codes = codes + (code,)
            word = word | ((code.to(tl.int32) & ((1 << BITS) - 1)) << (BITS * i))
        if F.kind == INT8 or F.kind == INT4:
            return word, codes
        else:
            return word, stored(word, 1.0, F)


@triton.jit
def limit_of(F: tl.constexpr):
    """The largest code."""
    if F.kind == INT8:
        return 127.0
    elif F.kind == INT4:
        return 7.0
    elif F.kind == E4M3:
        return 448.0
    else:
        return 57344.0


@triton.jit
def code_of(x, unit, F: tl.constexpr):
    """Codes of x in steps of `unit`, one or of x's shape; 0 where it is no finite step.

    Integers as fp32, fp8 codes as the int32 of their bits.
    """
    if F.blocks:
        return block_code(x, unit, F)
    elif F.scales == 0:
        return fp8_code(x, F)
    else:
        usable = (unit > 0) & (unit < float("inf"))
        steps = tl.div_rn(x, tl.zeros_like(x) + tl.where(usable, unit, 1.0))
        if F.kind == INT8 or F.kind == INT4:
            LIMIT: tl.constexpr = 127.0 if F.kind == INT8 else 7.0
            steps = tl.minimum(tl.maximum(steps, -LIMIT), LIMIT)
            return tl.where(usable, (steps + ROUND) - ROUND, 0.0)
        else:
            return fp8_code(tl.where(usable, steps, 0.0), F)


@triton.jit
def fp8_code(x, F: tl.constexpr):
    """The nearest fp8 codes (int32), half to even; what is beyond the largest becomes it.

    Kept are 3 bits of mantissa and a least exponent of -6 in e4m3, 2 and -14 in e5m2.
    """
    KEPT: tl.constexpr = 3 if F.kind == E4M3 else 2
    LEAST: tl.constexpr = -6 if F.kind == E4M3 else -14
    DROPPED: tl.constexpr = 23 - KEPT
    bits = x.to(tl.int32, bitcast=True)
    size = tl.minimum(tl.abs(x), limit_of(F))
    magnitude = size.to(tl.int32, bitcast=True)
    even = (magnitude >> DROPPED) & 1
    normal = (magnitude + ((1 << (DROPPED - 1)) - 1) + even) >> DROPPED
    normal -= (LEAST + 126) << KEPT
    below = tl.minimum(size, 2.0**LEAST) * 2.0 ** (KEPT - LEAST)
    small = ((below + ROUND) - ROUND).to(tl.int32)
    code = tl.where(size < 2.0**LEAST, small, normal)
    code = tl.where(x != x, 0x7F, code)
    return code | ((bits >> 24) & 0x80)


@triton.jit
def scale_of(x, axis: tl.constexpr, F: tl.constexpr):
    """The scale of a row: its largest magnitude over the largest code; NaN of a row with a NaN."""
    largest, broken = tl.abs(x[0]), x[0] != x[0]
    for i in tl.static_range(1, len(x)):
        largest, broken = tl.maximum(largest, tl.abs(x[i])), broken | (x[i] != x[i])
    most = tl.max(largest, axis)
    unit = tl.div_rn(most, tl.zeros_like(most) + limit_of(F))
    return tl.where(tl.max(broken.to(tl.int32), axis) > 0, float("nan"), unit)


@triton.jit
def over_groups(x, most: tl.constexpr, F: tl.constexpr):
    """The greatest, or least, of each group of words, repeated for each of its words."""
    SPAN: tl.constexpr = F.words // F.scales
    grouped = tl.reshape(x, [x.numel // SPAN, SPAN])
    found = tl.max(grouped, 1) if most else tl.min(grouped, 1)
    return tl.reshape(tl.broadcast_to(found[:, None], [x.numel // SPAN, SPAN]), x.shape)


@triton.jit
def group_scale(x, F: tl.constexpr):
    """The scale of each group of channels, of the shape of a tensor of x, in fp32.

    Of llama.cpp's blocks of four bits: the first number of the largest magnitude is -8 steps.
    """
    largest, broken = tl.abs(x[0]), x[0] != x[0]
    for i in tl.static_range(1, len(x)):
        largest, broken = tl.maximum(largest, tl.abs(x[i])), broken | (x[i] != x[i])
    most = over_groups(largest, True, F)
    if F.blocks and F.kind == INT4:
        words = tl.arange(0, F.width)
        first = tl.zeros_like(x[0]).to(tl.int32) + F.width * F.per
        for i in tl.static_range(len(x)):
            place = tl.zeros_like(first) + words * F.per + i
            first = tl.minimum(first, tl.where(tl.abs(x[i]) == most, place, first))
        first = over_groups(first, False, F)
        value = tl.zeros_like(x[0]) + float("-inf")
        for i in tl.static_range(len(x)):
            place = tl.zeros_like(first) + words * F.per + i
            value = tl.where(place == first, x[i], value)
        unit = over_groups(value, True, F) * -0.125
    else:
        unit = tl.div_rn(most, tl.zeros_like(most) + limit_of(F))
    return tl.where(over_groups(broken.to(tl.int32), True, F) > 0, float("nan"), unit)


@triton.jit
def block_code(x, unit, F: tl.constexpr):
    """llama.cpp's codes of a block: by the inverse of the scale; INT8 rounds halves away from 0."""
    one = tl.zeros_like(x) + 1.0
    inverse = tl.where(unit == 0, 0.0, tl.div_rn(one, tl.where(unit == 0, one, unit)))
    steps = product(x, inverse)
    if F.kind == INT4:
        return tl.minimum(tl.maximum(tl.floor(steps + 8.5), 0.0), 15.0) - 8.0
    else:
        away = tl.floor(tl.abs(steps) + 0.5)
        return tl.where(steps < 0, -away, away)


@triton.jit
def product(a, b):
    """a * b rounded, which no compiler may join with a sum that follows."""
    if ASSEMBLY:
        return tl.inline_asm_elementwise(
            asm="mul.rn.f32 $0, $1, $2;",
            constraints="=f,f,f",
            args=[a, b],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
    else:
        return a * b
