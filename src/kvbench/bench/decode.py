"""Decode at a depth: the time per output token over a cache of D tokens, step after step.

Every step is the same one: the cache is rewound to D tokens and one more is decoded, so that N
steps are N samples of one depth, where a generation gives one of each. Picking the token is not in
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from kvbench.bench.meters.clock import clock
from kvbench.bench.roofline import phase_of
from kvbench.bench.setup import Setup, ready
from kvbench.bench.yardstick import runs_with_yardstick
from kvbench.cell import Cell
from kvbench.records.record import Record


def run(cell: Cell, weights: str | None = None, kernels: str | None = None) -> Record:
    """One process's sample of a decode cell: every run, every step, raw."""
    with ready(cell, weights, kernels) as setup:
        step = phase_of(setup, "decode", cell.depth)
        for _ in range(max(1, cell.num_warmup_runs)):
            one_run(setup, step)
        runs, readings = runs_with_yardstick(setup, lambda: one_run(setup, step), cell.steps)
        return setup.record(
            **cell.axes(),
            steps=cell.steps,
            tpot_ms_median=median(run["tpot_ms"] for run in runs),
            runs=runs,
            **readings,
        )


def one_run(setup: Setup, step: Callable[[], Any]) -> Record:
    """N steps at one depth. Milliseconds: of each by the device's clock, of all by the wall's."""
    ticks = clock(setup.device, setup.cell.steps + 1)
    setup.synchronise()
    began = time.perf_counter_ns()
    ticks()
    for _ in range(setup.cell.steps):
        step()
        ticks()
    setup.synchronise()
    wall_ms = (time.perf_counter_ns() - began) / 1e6
    steps = ticks.intervals_ms()
    return {"tpot_ms": median(steps), "step_ms": steps, "wall_ms": wall_ms}
