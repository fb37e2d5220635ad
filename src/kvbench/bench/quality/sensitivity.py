"""What the scores can see: v1 read through another exact path, and a cache of corrupted codes.

A figure below what v1 differs from itself by says nothing of a cache. A score that a corrupted
cache leaves as it was says nothing of it either.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from kvbench.bench.quality.logits import Comparison, compare
from kvbench.bench.quality.one_forward import logits_in_two
from kvbench.bench.quality.paired import pair
from kvbench.caches import Storage
from kvbench.models.base import LanguageModel
from kvbench.records.record import Record

FLOOR_WINDOWS, CORRUPTED_WINDOWS = 16, 2  # at most, spread over those that are scored
LARGEST = 700.0  # nats whose exponential is a number


def places(windows: int, most: int) -> set[int]:
    """At most `most` of `windows` places, spread evenly."""
    n = min(most, windows)
    return {i * windows // n for i in range(n)}


class Readings:
    """Further readings of some windows: of v1 by another exact path, of a corrupted cache.

    Half of a window is fed first and the rest attends to what was stored of it; v1's other path
    also sums attention by torch's plain operators instead of a fused kernel. v1 alone has a noise
    floor, and v0 stores nothing to corrupt.
    """

    def __init__(
        self, plain: LanguageModel, model: LanguageModel, storage: Storage, windows: int
    ) -> None:
        self.plain, self.model, self.storage = plain, model, storage
        reference = plain is model and storage == "dense"
        self.floor_at = places(windows, FLOOR_WINDOWS) if reference else set()
        self.corrupted_at = set() if storage == "none" else places(windows, CORRUPTED_WINDOWS)
        self.window = 0  # the place of the window that is read
        self.floor: dict[int, Comparison] = {}
        self.corrupted: dict[int, Comparison] = {}

    @torch.inference_mode()
    def add(self, ids: Tensor, scored: int, expected: Tensor) -> None:
        """Read the window (T,) where it is one of these.

        `expected` are v1's logits (n, vocab_size) that predict ids[scored:].
        """
        fed, n = ids[None, :-1], self.window
        half = fed.size(1) // 2
        if not half:
            return
        if n in self.floor_at:
            with sdpa_kernel(SDPBackend.MATH):
                got = logits_in_two(self.plain, "dense", fed, half)
            self.floor[n] = compare(expected, got[0, scored - 1 :], ids[scored:])
        if n in self.corrupted_at:
            first = max(scored, half + 1)  # the first scored token that is predicted by the rest
            got = logits_in_two(self.model, self.storage, fed, half, corrupt=True)
            of_rest = expected[first - scored :], got[0, first - 1 :]
            self.corrupted[n] = compare(*of_rest, ids[first:])

    def record(self, seed: int, of: int, documents: list[int]) -> Record:
        """The keys `noise_floor` and `corrupted`, each where it was read."""
        found: Record = {}
        if self.floor:
            places, read = list(self.floor), list(self.floor.values())
            own = [documents[n] for n in places]
            found["noise_floor"] = {
                "windows": len(read),
                "tokens": sum(len(one.kl) for one in read),
                **pair(read, seed, of, own),
                "window": places,
                "window_delta_nll": [float(np.mean(x.nll_cached - x.nll_plain)) for x in read],
                "window_kl": [float(one.kl.mean()) for one in read],
                "window_flips": [float((~one.agree).mean()) for one in read],
            }
        if self.corrupted:
            found["corrupted"] = _means(list(self.corrupted.values()))
        return found


def _means(read: list[Comparison]) -> Record:
    """Means over all tokens, without intervals; None for what is no finite number any more."""
    delta = float(np.concatenate([one.nll_cached - one.nll_plain for one in read]).mean())
    kl = float(np.concatenate([one.kl for one in read]).mean())
    flips = float((~np.concatenate([one.agree for one in read])).mean())
    return {
        "windows": len(read),
        "tokens": sum(len(one.kl) for one in read),
        "perplexity_ratio": math.exp(min(delta, LARGEST)) if math.isfinite(delta) else None,
        "kl": kl if math.isfinite(kl) else None,
        "flips": flips,
    }
