"""Programmatic dependent launch, which every kernel of a step shares.

With `PDL` a kernel may start while the one before it in the stream still runs (CUDA programming
guide, "Programmatic Dependent Launch"; compute capability 9.0 and later). Every kernel waits before
it reads what another kernel of the step writes and before it writes anything; what it reads earlier
is constant during a step: weights, the position, cached rows of earlier steps.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kvbench.kernels.triton.words import INTERPRETED

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
