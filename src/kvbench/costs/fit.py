"""What fits a memory: weights, and the caches of so many sequences. Standard library only.

By the closed forms of `kvbench.costs`: transients, fragments and what a library reserves come on
top, which benchmark `capacity` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.costs.forward import kept_bytes, weight_bytes
from kvbench.costs.layout import Layout
from kvbench.shape import Shape


@dataclass(frozen=True)
class Fit:
    """What of one format fits: `tokens` a sequence at this batch, `sequences` of this context.

    cache_bytes: of batch and context asked for; per_token: bytes of the context's mean token.
    """

    cache_bytes: int
    per_token: float
    fits: bool
    tokens: int
    sequences: int


def fit(
    shape: Shape,
    owner: Sequence[int],
    dtype: str,
    layout: Layout,
    memory: int,
    context: int,
    batch: int,
) -> Fit:
    """How a cache of this layout fits beside the weights into `memory` bytes."""
    left = memory - weight_bytes(shape, owner, dtype)
    one = kept_bytes(shape, owner, 1, layout, context)
    tokens, most = 0, shape["block_size"]
    while tokens < most:  # bytes never fall with length: the most that fits, by halving
        middle = (tokens + most + 1) // 2
        if kept_bytes(shape, owner, batch, layout, middle) <= left:
            tokens = middle
        else:
            most = middle - 1
    sequences = max(0, left // one) if one else -1
    return Fit(batch * one, one / context, batch * one <= left, tokens, sequences)
