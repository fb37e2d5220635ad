"""A yardstick: the same work beside every run of every version, so that a drift cancels.

A shared machine runs at half its speed for seconds at a time, and a process of one version meets
other seconds than a process of another. One pass of the yardstick is a decode step less all that
versions change in it: with their own weights and kernels but for Q, K and V, over one layer of a
plain cache. It has to slow down as the runs do; bare products, which wait for memory more than a
step does, were worse. `kvbench.steady` says what is made of the readings.

Ratios between versions of one study use it. Times stay as the clock read them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from kvbench.bench.setup import Setup
from kvbench.caches.dense import KVCache
from kvbench.kernels.native_cache import native_or_same

Run = dict[str, Any]


class Yardstick:
    """Callable: milliseconds of one pass, the mean of `passes` passes."""

    def __init__(self, setup: Setup, passes: int) -> None:
        config, like = setup.model.config, setup.model.lm_head.weight
        batch, depth = setup.cell["batch_size"], min(setup.cell["prompt_length"], config.block_size)
        draw = torch.Generator().manual_seed(setup.cell["seed"])

        def rows(*shape: int) -> torch.Tensor:
            return torch.randn(batch, *shape, generator=draw).to(like.dtype)

        heads, kv_heads, hs = config.n_head, config.n_kv_head, config.head_dim
        cache = KVCache([0], batch, kv_heads, hs, depth + 1, like.dtype, "cpu")
        cache.update(0, rows(kv_heads, depth, hs), rows(kv_heads, depth, hs))
        cache.advance(depth)
        self.cache = native_or_same(cache, setup.choice.native)
        self.x, self.q = rows(1, heads * hs), rows(heads, 1, hs)
        self.model, self.passes = setup.model, passes

    @torch.inference_mode()
    def __call__(self) -> float:
        began = time.perf_counter_ns()
        for _ in range(self.passes):
            self.model.alike(self.x, self.q, self.cache)
        return (time.perf_counter_ns() - began) / 1e6 / self.passes


def beside(setup: Setup, steps: int, run: Callable[[], Run]) -> tuple[list[Run], dict[str, Any]]:
    """The cell's measured runs, of `steps` steps each, and for the record what stood beside them.

    `yardstick` holds one reading (ms a pass) from before the first run and one from after each.
    Nothing where the cell asks for none, and on CUDA, which no other process uses meanwhile.
    """
    n = setup.cell["num_measure_runs"]
    if not setup.cell.get("yardstick") or setup.device == "cuda":
        setup.begin()
        return [run() for _ in range(n)], {}
    yardstick = Yardstick(setup, steps)
    yardstick()  # warm
    setup.begin()
    runs, readings = [], [yardstick()]
    for _ in range(n):
        runs.append(run())
        readings.append(yardstick())
    return runs, {"yardstick": {"passes": steps, "pass_ms": readings}}
