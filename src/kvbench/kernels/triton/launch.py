"""What several kernels share: programmatic dependent launch, and weights brought ahead into L2.

With `PDL` a kernel may start while the one before it in the stream still runs (CUDA programming
guide, "Programmatic Dependent Launch"; compute capability 9.0 and later). Every kernel waits before
it reads what another kernel of the step writes and before it writes anything; what it reads earlier
is constant during a step: weights, the position, cached rows of earlier steps.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.words import ASSEMBLY, INTERPRETED

if INTERPRETED:

    @triton.jit
    def wait_for_previous(PDL: tl.constexpr):
        """Nothing to wait for: the interpreter runs one kernel after another."""

    @triton.jit
    def let_next_start(PDL: tl.constexpr):
        """Nothing to start early."""

else:
    from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

    @triton.jit
    def wait_for_previous(PDL: tl.constexpr):
        """Return once every kernel before this one has ended and its writes can be read."""
        if PDL:
            gdc_wait()

    @triton.jit
    def let_next_start(PDL: tl.constexpr):
        """The next kernel may start once every program of this one has called this, or ended."""
        if PDL:
            gdc_launch_dependents()


LINE = tl.constexpr(128)  # bytes of one line of L2


@triton.jit
def fetch_line(address):
    """Ask for the lines of L2 at `address`, int64, without waiting for them."""
    if ASSEMBLY:
        tl.inline_asm_elementwise(
            asm="prefetch.global.L2 [$1]; mov.u32 $0, 0;",
            constraints="=r,l",
            args=[address],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit
def fetch_ahead(start, size, program, programs, THREADS: tl.constexpr):
    """Bring this program's share of `size` bytes from `start` on into L2."""
    share = tl.cdiv(tl.cdiv(size, LINE), programs)
    for at in range(0, share, THREADS):
        line = program * share + tl.minimum(at + tl.arange(0, THREADS), share - 1)
        fetch_line(start.to(tl.int64) + tl.minimum(line.to(tl.int64) * LINE, size - 1))


@triton.jit
def fetch_tile_ahead(
    w, row, column, N, K: tl.constexpr, BN: tl.constexpr, SPAN: tl.constexpr, THREADS: tl.constexpr
):
    """Bring BN rows of w (N, K), from `row` on, and SPAN columns of them into L2."""
    SIZE: tl.constexpr = w.dtype.element_ty.primitive_bitwidth // 8
    EACH: tl.constexpr = LINE // SIZE
    LINES: tl.constexpr = (SPAN + EACH - 1) // EACH
    for at in range(0, BN * LINES, THREADS):
        line = tl.minimum(at + tl.arange(0, THREADS), BN * LINES - 1)
        place = tl.minimum(row + line // LINES, N - 1).to(tl.int64) * K
        place += tl.minimum(column + line % LINES * EACH, K - 1)
        fetch_line(w.to(tl.int64) + place * SIZE)
