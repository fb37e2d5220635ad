"""Exactly one phase of one version, ready to run: a prefill of P tokens, or one step at depth P.

The same forwards that `latency` times. Used by the roofline cells and the profiling script.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from kvbench.bench.meters import dram
from kvbench.bench.meters.clock import clock
from kvbench.bench.setup import Setup, ready
from kvbench.caches import Cache, layout_of
from kvbench.cell import Cell
from kvbench.costs import forward as costs
from kvbench.records.record import Record

# Machine noise outlasts a short step: it is repeated for so long, at most so often. Of a run budget
# no more is used: a cell's interval is over its processes.
LEAST_MS, ENOUGH = 500.0, 30
# Between two marks on a GPU: a lone step's would hold the latency of its launch as well.
BETWEEN_MS, MOST_BETWEEN = 5.0, 50


def phase_of(setup: Setup, phase: str, P: int) -> Callable[[], Any]:
    """A callable that runs the phase once. For decode the cache is filled here, outside it.

    v0 has no cache to fill: its decode step recomputes P + 1 tokens.
    """
    shape = (setup.cell.batch_size, P + 1)
    draw = torch.Generator().manual_seed(setup.cell.seed)
    tokens = torch.randint(setup.cell.model_config["vocab_size"], shape, generator=draw)
    tokens = tokens.to(setup.device)
    cache = setup.cache(P + 1)
    if phase == "decode":
        fill(cache, P, setup.cell.seed)
        return step_over(setup, cache, tokens)

    @torch.inference_mode()
    def once() -> None:
        cache.rewind(0)
        setup.model(tokens[:, :P], cache)

    return once


@torch.inference_mode()
def fill(cache: Cache, tokens: int, seed: int) -> None:
    """Store seeded normal K and V of `tokens` tokens in an empty cache, the same in each layer.

    A step's time does not depend on the numbers, and a prefill may take longer than all of a cell.
    """
    draw = torch.Generator().manual_seed(seed)
    shape = (2, cache.batch, cache.n_head, tokens, cache.head_dim)
    k, v = torch.randn(shape, generator=draw).to(cache.device, cache.dtype)
    for layer in cache.layers:
        cache.update(layer, k, v)
    cache.advance(tokens)


def step_over(setup: Setup, cache: Cache, tokens: Tensor) -> Callable[[], Any]:
    """A callable that decodes the last of `tokens` (B, P + 1) after the P that `cache` holds.

    A cache that keeps nothing is given all of them.
    """
    P = tokens.size(1) - 1
    if setup.choice.static:
        step = setup.step(cache)
        step.begin(tokens[:, P:], P)
        return step

    @torch.inference_mode()
    def once() -> None:
        cache.rewind(P)
        setup.model(tokens[:, cache.length :], cache)

    return once


def run(cell: Cell, weights: str | None = None, kernels: str | None = None) -> Record:
    """One process's sample of a roofline cell: its time, beside analytic FLOP and least bytes."""
    with ready(cell, weights, kernels) as setup:
        once = phase_of(setup, cell.phase, cell.P)
        for _ in range(max(1, cell.num_warmup_runs)):
            once()
        setup.begin()
        runs = [timed(setup, once) for _ in setup.measured_runs(LEAST_MS / 1e3)]
        while len(runs) < ENOUGH and sum(run["wall_ms"] for run in runs) < LEAST_MS:
            runs.append(timed(setup, once))
        times = [run["device_ms"] for run in runs]
        cost = cell_cost(cell)
        traffic = measured_traffic(setup, once)
        return setup.record(
            **cell.axes(),
            time_ms_median=median(times),
            source="model",
            bytes_are="modelled bytes (lower bound)",
            **cost.to_dict(),
            **({"dram_bytes_measured": traffic} if traffic is not None else {}),
            runs=runs,
        )


def measured_traffic(setup: Setup, once: Callable[[], Any]) -> int | None:
    """DRAM bytes of one phase, by the memory controllers; None where they have no counters."""
    if setup.device != "cpu" or not dram.usable():
        return None
    runs = setup.cell.num_measure_runs
    with dram.counting() as counted:
        for _ in range(runs):
            once()
    return round(counted[0] / runs) if counted else None


def timed(setup: Setup, once: Callable[[], Any]) -> dict[str, float]:
    """One phase's time by the wall, from an idle device until it is idle again, and by its clock.

    On a GPU the clock's is a mean over `repeats` of the phase, one behind the other.
    """
    setup.synchronise()
    began = time.perf_counter_ns()
    once()
    setup.synchronise()
    wall = (time.perf_counter_ns() - began) / 1e6
    if setup.device == "cpu":
        return {"device_ms": wall, "wall_ms": wall}
    repeats = max(1, min(MOST_BETWEEN, math.ceil(BETWEEN_MS / wall)))
    mark = clock(setup.device, 2)
    mark()
    for _ in range(repeats):
        once()
    mark()
    return {"device_ms": sum(mark.intervals_ms()) / repeats, "wall_ms": wall, "repeats": repeats}


def cell_cost(cell: Cell) -> costs.Cost:
    """The cost model of the cell's phase. Without a cache a step is a forward over P + 1 tokens."""
    shape, dtype = cell.model_config, cell.dtype
    itemsize = costs.ITEMSIZE[dtype]
    kept = layout_of(cell.storage, costs.head_dim(shape), itemsize)
    P, decode = cell.P, cell.phase == "decode"
    depth, T = (P, 1) if decode and kept.row else (0, P + decode)
    return costs.forward(shape, cell.layer_owner, dtype, cell.batch_size, depth, T, kept)
