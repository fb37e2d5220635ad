"""Stored numbers in 32-bit words: what a cache's rows look like to the kernels that read them.

A row of K or V of one head is read as words that each hold `per` neighbouring channels, the first
in the low bits: one fp32, two bf16 or fp16, four INT8 or fp8 codes or eight INT4 codes. Functions
return tuples of `per` tensors, one a place in the word. Numbers are read in units that cost least
(`OFFSET`, `step_of`), which sums correct for once a row. `encode` makes words of numbers.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import triton
import triton.language as tl

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton's interpreter knows no assembly

FP32, BF16, FP16, INT8, INT4, E4M3, E5M2 = (tl.constexpr(kind) for kind in range(7))
ASSEMBLY = tl.constexpr(not INTERPRETED)

# A code of INT4 is read as 2 + (code + 8) / 64, a bit pattern that costs one instruction a code.
# code = STEP * (number - OFFSET); the sums that use it correct for both once a row.
OFFSET = tl.constexpr(2.125)
STEP = tl.constexpr(64.0)
E4M3_STEP = tl.constexpr(256.0)  # an e4m3 code is read as an fp16 of its bits: of another bias


class Format(NamedTuple):
    """How rows of K, or of V, are stored, as kernels are given it."""

    kind: int
    per: int  # numbers of a word
    words: int  # of a row
    width: int  # the power of 2 that holds them
    scales: int  # of a row: none, one, or one of every group of channels
    grouped: bool  # whether they are of groups
    blocks: bool  # whether codes are rounded as llama.cpp's
    turned: int  # channels of a block of the Hadamard matrix that rows are stored times; 0 for none

    def constants(self) -> Format:
        """The same for a kernel: what shapes follow from has to be a constexpr where compiled."""
        return self if INTERPRETED else Format(*(tl.constexpr(field) for field in self))


@triton.jit
def step_of(F: tl.constexpr):
    """What a number as it is read is multiplied by to be the number, but for scales."""
    if F.kind == INT4:
        return STEP
    elif F.kind == E4M3:
        return E4M3_STEP
    else:
        return 1.0


@triton.jit
def unpack(word, F: tl.constexpr):
    """The numbers of int32 words as fp32, in the units said above."""
    if F.kind == FP32:
        return (word.to(tl.float32, bitcast=True),)
    elif F.kind == BF16:
        low, high = word << 16, word & -65536
        return low.to(tl.float32, bitcast=True), high.to(tl.float32, bitcast=True)
    elif F.kind == FP16:
        low, high = word.to(tl.int16), (word >> 16).to(tl.int16)
        low, high = low.to(tl.float16, bitcast=True), high.to(tl.float16, bitcast=True)
        return low.to(tl.float32), high.to(tl.float32)
    elif F.kind == INT8:
        return unpack_int8(word)
    elif F.kind == INT4:
        return unpack_int4(word)
    elif F.kind == E4M3:
        return unpack_e4m3(word)
    else:
        return unpack_e5m2(word)


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
def unpack_e5m2(word):
    """fp8 codes of which fp16 has one byte more."""
    if ASSEMBLY:
        return tl.inline_asm_elementwise(
            asm="""{
            .reg .b32 low, high;
            .reg .b16 a, b, c, d;
            prmt.b32 low, $4, 0, 0x1404;
            prmt.b32 high, $4, 0, 0x3424;
            mov.b32 {a, b}, low;
            mov.b32 {c, d}, high;
            cvt.f32.f16 $0, a;
            cvt.f32.f16 $1, b;
            cvt.f32.f16 $2, c;
            cvt.f32.f16 $3, d;
            }""",
            constraints="=&r,=&r,=&r,=&r,r",
            args=[word],
            dtype=(tl.float32, tl.float32, tl.float32, tl.float32),
            is_pure=True,
            pack=1,
        )
    else:
        numbers = ()
        for i in tl.static_range(4):
            half = (((word >> (8 * i)) & 0xFF) << 8).to(tl.int16)
            numbers = numbers + (half.to(tl.float16, bitcast=True).to(tl.float32),)
        return numbers


@triton.jit
def unpack_e4m3(word):
    """fp8 codes as fp16 of their bits: the sign, a bit of 0, the rest. See E4M3_STEP.

    Not every GPU converts e4m3. Its NaN, which no code with a scale is, is read as 480.
    """
    if ASSEMBLY:
        return tl.inline_asm_elementwise(
            asm="""{
            .reg .b32 low, high, t;
            .reg .b16 a, b, c, d;
            prmt.b32 low, $4, 0, 0x1404;
            prmt.b32 high, $4, 0, 0x3424;
            shr.u32 t, low, 1;
            and.b32 t, t, 0x3F803F80;
            lop3.b32 low, low, 0x80008000, t, 0xEA;
            shr.u32 t, high, 1;
            and.b32 t, t, 0x3F803F80;
            lop3.b32 high, high, 0x80008000, t, 0xEA;
            mov.b32 {a, b}, low;
            mov.b32 {c, d}, high;
            cvt.f32.f16 $0, a;
            cvt.f32.f16 $1, b;
            cvt.f32.f16 $2, c;
            cvt.f32.f16 $3, d;
            }""",
            constraints="=&r,=&r,=&r,=&r,r",
            args=[word],
            dtype=(tl.float32, tl.float32, tl.float32, tl.float32),
            is_pure=True,
            pack=1,
        )
    else:
        numbers = ()
        for i in tl.static_range(4):
            code = word >> (8 * i)
            half = (((code & 0x80) << 8) | ((code & 0x7F) << 7)).to(tl.int16)
            numbers = numbers + (half.to(tl.float16, bitcast=True).to(tl.float32),)
        return numbers
