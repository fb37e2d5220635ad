"""Stored numbers in 32-bit words: what a cache's rows look like to the kernels that read them.

A row of K or V of one head is read as words that each hold PER neighbouring channels, the first in
the low bits: one fp32, two bf16 or fp16, four INT8 codes or eight INT4 codes. `KIND` names the
format. Functions return tuples of PER tensors, one a place in the word.
"""

from __future__ import annotations

import os

import triton
import triton.language as tl

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton's interpreter knows no assembly

FP32, BF16, FP16, INT8, INT4 = (tl.constexpr(kind) for kind in range(5))
ASSEMBLY = tl.constexpr(not INTERPRETED)
ROUND = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it leaves no fraction bits, half to even

# A code of INT4 is read as 2 + (code + 8) / 64, a bit pattern that costs one instruction a code.
# code = STEP * (number - OFFSET); the sums that use it correct for both once a row.
OFFSET = tl.constexpr(2.125)
STEP = tl.constexpr(64.0)


@triton.jit
def unpack(word, KIND: tl.constexpr):
    """The numbers of int32 words as fp32, INT4 codes as said at OFFSET."""
    if KIND == FP32:
        return (word.to(tl.float32, bitcast=True),)
    elif KIND == BF16:
        low, high = word << 16, word & -65536
        return low.to(tl.float32, bitcast=True), high.to(tl.float32, bitcast=True)
    elif KIND == FP16:
        low, high = word.to(tl.int16), (word >> 16).to(tl.int16)
        low, high = low.to(tl.float16, bitcast=True), high.to(tl.float16, bitcast=True)
        return low.to(tl.float32), high.to(tl.float32)
    elif KIND == INT8:
        return unpack_int8(word)
    else:
        return unpack_int4(word)


@triton.jit
def unpack_int8(word):
    if ASSEMBLY:
        # A code's bits, its sign flipped, as the last byte of 2^23, from which 2^23 + 128 is taken.
        return tl.inline_asm_elementwise(
            asm="""{
            .reg .b32 t;
            xor.b32 t, $4, 0x80808080;
            prmt.b32 $0, t, 0x4B000000, 0x7540;
            prmt.b32 $1, t, 0x4B000000, 0x7541;
            prmt.b32 $2, t, 0x4B000000, 0x7542;
            prmt.b32 $3, t, 0x4B000000, 0x7543;
            add.f32 $0, $0, 0fCB000080;
            add.f32 $1, $1, 0fCB000080;
            add.f32 $2, $2, 0fCB000080;
            add.f32 $3, $3, 0fCB000080;
            }""",
            constraints="=&r,=&r,=&r,=&r,r",
            args=[word],
            dtype=(tl.float32, tl.float32, tl.float32, tl.float32),
            is_pure=True,
            pack=1,
        )
    else:
        codes = ()
        for i in tl.static_range(4):
            codes = codes + (((word << (24 - 8 * i)) >> 24).to(tl.float32),)
        return codes


@triton.jit
def unpack_int4(word):
    if ASSEMBLY:
        # A nibble, its sign flipped, becomes the mantissa bits 2^-2 ... 2^-6 of the number 2.
        return tl.inline_asm_elementwise(
            asm="""{
            .reg .b32 low, high, t;
            shr.u32 t, $8, 4;
            lop3.b32 low, $8, 0x0F0F0F0F, 0x08080808, 0x6A;
            lop3.b32 high, t, 0x0F0F0F0F, 0x08080808, 0x6A;
            prmt.b32 $0, low, 0x40000000, 0x7055;
            prmt.b32 $1, high, 0x40000000, 0x7055;
            prmt.b32 $2, low, 0x40000000, 0x7155;
            prmt.b32 $3, high, 0x40000000, 0x7155;
            prmt.b32 $4, low, 0x40000000, 0x7255;
            prmt.b32 $5, high, 0x40000000, 0x7255;
            prmt.b32 $6, low, 0x40000000, 0x7355;
            prmt.b32 $7, high, 0x40000000, 0x7355;
            }""",
            constraints="=&r,=&r,=&r,=&r,=&r,=&r,=&r,=&r,r",
            args=[word],
            dtype=(tl.float32,) * 8,
            is_pure=True,
            pack=1,
        )
    else:
        codes = ()
        for i in tl.static_range(8):
            bits = (((word >> (4 * i)) & 15) ^ 8) << 16
            codes = codes + ((bits | 0x40000000).to(tl.float32, bitcast=True),)
        return codes


@triton.jit
def pack(numbers, unit, KIND: tl.constexpr, PER: tl.constexpr):
    """(words, numbers as stored) of fp32 numbers; `unit` is the scale of codes, from `unit_of`."""
    if KIND == FP32:
        return numbers[0].to(tl.int32, bitcast=True), numbers
    elif PER == 2:
        HALF: tl.constexpr = tl.bfloat16 if KIND == BF16 else tl.float16
        low, high = numbers[0].to(HALF), numbers[1].to(HALF)
        word = low.to(tl.int16, bitcast=True).to(tl.int32) & 65535
        word = word | (high.to(tl.int16, bitcast=True).to(tl.int32) << 16)
        return word, (low.to(tl.float32), high.to(tl.float32))
    else:
        BITS: tl.constexpr = 8 if KIND == INT8 else 4
        LIMIT: tl.constexpr = 127 if KIND == INT8 else 7
        stored = ()
        word = tl.zeros_like(numbers[0]).to(tl.int32)
        for i in tl.static_range(PER):
            code = quantise(numbers[i], unit, LIMIT)
            stored = stored + (code * unit,)
            word = word | ((code.to(tl.int32) & ((1 << BITS) - 1)) << (BITS * i))
        return word, stored


@triton.jit
def unit_of(numbers, axis: tl.constexpr, KIND: tl.constexpr, PER: tl.constexpr):
    """The scale of a row: its largest magnitude over 127 or 7; NaN where the row holds a NaN."""
    LIMIT: tl.constexpr = 127.0 if KIND == INT8 else 7.0
    largest = tl.abs(numbers[0])
    broken = numbers[0] != numbers[0]
    for i in tl.static_range(1, PER):
        largest = tl.maximum(largest, tl.abs(numbers[i]))
        broken = broken | (numbers[i] != numbers[i])
    unit = tl.div_rn(tl.max(largest, axis), tl.zeros_like(tl.max(largest, axis)) + LIMIT)
    return tl.where(tl.max(broken.to(tl.int32), axis) > 0, float("nan"), unit)


@triton.jit
def quantise(x, unit, LIMIT: tl.constexpr):
    """Codes of x in steps of `unit` (one, or of x's shape), fp32, half to even; 0 without one."""
    usable = (unit > 0) & (unit < float("inf"))
    steps = tl.div_rn(x, tl.zeros_like(x) + tl.where(usable, unit, 1.0))
    steps = tl.minimum(tl.maximum(steps, -LIMIT * 1.0), LIMIT * 1.0)
    return tl.where(usable, (steps + ROUND) - ROUND, 0.0)
