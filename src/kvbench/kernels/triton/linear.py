"""Linear layers of a decode step: one row by every weight, or a few rows on matrix units.

Weights are (N, K) as torch has them, in any float dtype; sums are fp32. What stands before and
after a product is done on the way: a norm of its input, its bias, GELU (tanh form) or SwiGLU
(Shazeer 2020, arXiv:2002.05202), and the residual.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.dependent_launch import let_next_start, wait_for_previous
from kvbench.kernels.triton.softmax import LOG2E

NO_NORM, LAYER_NORM, RMS_NORM = (tl.constexpr(kind) for kind in range(3))
NO_ACTIVATION, GELU, SWIGLU = (tl.constexpr(kind) for kind in range(3))


@triton.jit
def one_row(
    x, w, w_gate, bias, gain, shift, out, N, eps,
    K: tl.constexpr, CHUNK: tl.constexpr, BN: tl.constexpr, TILES: tl.constexpr,
    NORM: tl.constexpr, SHIFT: tl.constexpr, ACTIVATION: tl.constexpr, BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out (N,) = activation(w norm(x) + bias) for x (K,); added to out if RESIDUAL.

    A program takes TILES tiles of BN outputs. The first tile's weights, and all that is constant,
    are on their way before it waits for x, and the next tile's while this one is summed.
    """
    let_next_start(PDL)
    CHUNKS: tl.constexpr = (K + CHUNK - 1) // CHUNK
    first = tl.program_id(0) * (BN * TILES)
    rows, columns = first + tl.arange(0, BN), tl.arange(0, CHUNK)
    weights = load_weights(w, rows, columns, N, K, CHUNK, CHUNKS)
    gates = weights
    if ACTIVATION == SWIGLU:
        gates = load_weights(w_gate, rows, columns, N, K, CHUNK, CHUNKS)
    gains, shifts, added = (), (), 0.0
    for c in tl.static_range(CHUNKS):
        at = c * CHUNK + columns
        if NORM != NO_NORM:
            gains = gains + (tl.load(gain + at, at < K, 0.0).to(tl.float32),)
            if SHIFT:
                shifts = shifts + (tl.load(shift + at, at < K, 0.0).to(tl.float32),)
    if BIAS and TILES == 1:
        added = tl.load(bias + rows, rows < N, 0.0).to(tl.float32)
    wait_for_previous(PDL)

    xs = ()
    for c in tl.static_range(CHUNKS):
        at = c * CHUNK + columns
        xs = xs + (tl.load(x + at, at < K, 0.0).to(tl.float32),)
    if RESIDUAL and TILES == 1:
        residual = tl.load(out + rows, rows < N, 0.0)
    if NORM != NO_NORM:
        xs = normalised(xs, gains, shifts, eps, K, NORM, SHIFT)
    for tile in range(TILES):
        following, following_gates = weights, gates
        if TILES > 1:
            next_rows = tl.where(tile + 1 < TILES, rows + BN, N)
            following = load_weights(w, next_rows, columns, N, K, CHUNK, CHUNKS)
            if ACTIVATION == SWIGLU:
                following_gates = load_weights(w_gate, next_rows, columns, N, K, CHUNK, CHUNKS)
        y = product(weights, xs)
        if BIAS and TILES > 1:
            added = tl.load(bias + rows, rows < N, 0.0).to(tl.float32)
        y += added
        if ACTIVATION == GELU:
            y = gelu(y)
        if ACTIVATION == SWIGLU:
            y *= silu(product(gates, xs))
        if RESIDUAL:
            if TILES > 1:
                residual = tl.load(out + rows, rows < N, 0.0)
            y += residual
        tl.store(out + rows, y.to(out.dtype.element_ty), rows < N)
        rows += BN
        weights, gates = following, following_gates


@triton.jit
def load_weights(w, rows, columns, N, K: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr):
    """Rows of w as CHUNKS tensors (BN, CHUNK)."""
    tiles = ()
    place = w + rows.to(tl.int64)[:, None] * K
    for c in tl.static_range(CHUNKS):
        at = c * CHUNK + columns
        inside = (rows < N)[:, None]
        if (c + 1) * CHUNK > K:
            inside = inside & (at < K)[None, :]
        tiles = tiles + (tl.load(place + at[None, :], inside, 0.0),)
    return tiles


@triton.jit
def product(weights, xs):
    """Sums (BN,) over all chunks of weights (BN, CHUNK) times x (CHUNK,)."""
    total = weights[0].to(tl.float32) * xs[0][None, :]
    for c in tl.static_range(1, len(weights)):
        total += weights[c].to(tl.float32) * xs[c][None, :]
    return tl.sum(total, 1)


@triton.jit
def normalised(
    xs, gains, shifts, eps, K: tl.constexpr, NORM: tl.constexpr, SHIFT: tl.constexpr
):  # fmt: skip
    """LayerNorm or RMSNorm of a row held as chunks, zeros beyond K."""
    total, squares = xs[0], xs[0] * xs[0]
    for c in tl.static_range(1, len(xs)):
        total += xs[c]
        squares += xs[c] * xs[c]
    mean = 0.0
    variance = tl.sum(squares, 0) / K
    if NORM == LAYER_NORM:
        mean = tl.sum(total, 0) / K
        variance -= mean * mean
    factor = tl.rsqrt(tl.maximum(variance, 0.0) + eps)
    rows = ()
    for c in tl.static_range(len(xs)):
        row = (xs[c] - mean) * factor * gains[c]  # gains are zeros beyond K
        if SHIFT:
            row += shifts[c]
        rows = rows + (row,)
    return rows


@triton.jit
def few_rows(
    x, w, w_gate, bias, out, M, N,
    K: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLIT: tl.constexpr,
    STAGES: tl.constexpr, ACTIVATION: tl.constexpr, BIAS: tl.constexpr,
    PDL: tl.constexpr, MATRIX: tl.constexpr,
):  # fmt: skip
    """out (SPLIT, M, N): summands of activation(x (M, K) w^T + bias), each over a part of K.

    Program (columns, split, rows). The bias is in the first summand; an activation needs SPLIT 1.
    MATRIX: on matrix units in x's own dtype; else in fp32.
    """
    let_next_start(PDL)
    rows = tl.program_id(2) * BM + tl.arange(0, BM)
    columns, split = tl.program_id(0) * BN + tl.arange(0, BN), tl.program_id(1)
    SPAN: tl.constexpr = ((K + SPLIT - 1) // SPLIT + BK - 1) // BK * BK
    depth = tl.arange(0, BK)
    first = split * SPAN
    last = tl.minimum(first + SPAN, K)
    place = w + columns.to(tl.int64)[None, :] * K
    if BIAS:
        first_of_all = (columns < N) & (split == 0)
        added = tl.load(bias + columns, first_of_all, 0.0).to(tl.float32)
    wait_for_previous(PDL)
    total = tl.zeros([BM, BN], tl.float32)
    gate = tl.zeros([BM, BN], tl.float32)
    x += rows.to(tl.int64)[:, None] * K
    for at in tl.range(first, last, BK, num_stages=STAGES):
        inside = at + depth < last
        a = tl.load(x + (at + depth)[None, :], (rows < M)[:, None] & inside[None, :], 0.0)
        wanted = inside[:, None] & (columns < N)[None, :]
        b = tl.load(place + (at + depth)[:, None], wanted, 0.0)
        if not MATRIX:
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision="ieee")
        if ACTIVATION == SWIGLU:
            other = w_gate + columns.to(tl.int64)[None, :] * K
            b = tl.load(other + (at + depth)[:, None], wanted, 0.0)
            if not MATRIX:
                b = b.to(tl.float32)
            gate = tl.dot(a, b, gate, input_precision="ieee")
    if BIAS:
        total += added[None, :]
    if ACTIVATION == GELU:
        total = gelu(total)
    if ACTIVATION == SWIGLU:
        total *= silu(gate)
    out += (split * M + rows).to(tl.int64)[:, None] * N + columns[None, :]
    tl.store(out, total.to(out.dtype.element_ty), (rows < M)[:, None] & (columns < N)[None, :])


@triton.jit
def gelu(x):
    """GELU in its tanh form, as x * sigmoid(2 u)."""
    u = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    return x / (1.0 + tl.exp2(u * (-2.0 * LOG2E)))


@triton.jit
def silu(x):
    """x * sigmoid(x)."""
    return x / (1.0 + tl.exp2(x * (-LOG2E)))
