"""Latency: how long a version takes to generate T tokens, step by step.

A step is one forward; picking the next token is timed apart. The first step is the prefill, so its
time is the TTFT; the others are the decode steps, whose mean is the TPOT at their depths.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, median
from typing import Any

from kvbench.bench import energy
from kvbench.bench.meters.clock import CpuClock, clock
from kvbench.bench.meters.delay import Mark, Wrap, delaying
from kvbench.bench.setup import Setup, ready
from kvbench.bench.yardstick import Within, wanted
from kvbench.cell import Cell
from kvbench.engine.generate import overflow_steps
from kvbench.records.record import Record

WARM_TOKENS = 16  # of a warm-up run: the prefill and steps enough to touch all that a step does


def run(cell: Cell, weights: str | None = None, kernels: str | None = None) -> Record:
    """One process's sample of a latency cell: every run, every step, raw."""
    with ready(cell, weights, kernels) as setup:
        wrap = delaying(cell.delay or 0.0, setup.device)
        runner = setup.runner(cell.T)

        def generation(T: int, readings: Within | None = None) -> Record:
            return one_run(setup, lambda mark: runner(mark, T), wrap, T, readings)

        T = cell.T
        for _ in range(cell.num_warmup_runs):
            generation(min(T, WARM_TOKENS))
        drawn = energy.of_runs(setup, runner)
        readings = Within(setup) if wanted(setup) else None
        runs: list[Record] = []
        read_ms: list[float] = []
        setup.begin()
        for _ in setup.measured_runs():
            runs.append(generation(T, readings))
            if readings:
                read_ms.append(readings.total_ms())
        return setup.record(
            **cell.axes(),
            **summarise(runs, T),
            overflow_steps=overflow_steps(cell.prompt_length, T, cell.model_config["block_size"]),
            runs=runs,
            **({"yardstick_ms": read_ms} if readings else {}),
            **drawn,
        )


def one_run(
    setup: Setup,
    run: Callable[[Callable[[], None]], Any],
    wrap: Wrap,
    T: int,
    readings: Within | None = None,
) -> Record:
    """Generate T tokens. Milliseconds: all by the wall clock, the parts by the device's clock.

    `readings` of the yardstick are taken between steps, and no time of the run.
    """
    ticks = clock(setup.device, 2 * T + 1)
    mark = wrap(ticks)
    if readings:
        assert isinstance(ticks, CpuClock)
        readings.begin()
        mark = _reading_between_steps(mark, ticks, readings)
    setup.synchronise()
    began = ticks.now()
    run(mark)
    setup.synchronise()
    total_ms = (ticks.now() - began) / 1e6
    intervals = ticks.intervals_ms()
    forward_ms, pick_ms = intervals[0::2], intervals[1::2]
    return {
        "time_total_ms": total_ms,
        "ttft_ms": forward_ms[0] + pick_ms[0],
        "step_ms": forward_ms,  # [0] is the prefill; [i] decodes at depth prompt_length + i
        "sampling_ms": sum(pick_ms),
        "device_ms": sum(intervals),
    }


def _reading_between_steps(mark: Mark, ticks: CpuClock, readings: Within) -> Mark:
    """A mark that has a part of the reading taken after each step but the prefill.

    Marks come before the first forward, after each forward and after each pick.
    """
    marks = 0

    def mark_and_read() -> None:
        nonlocal marks
        mark()
        marks += 1
        if marks > 3 and marks % 2:
            readings.after_step(ticks)

    return mark_and_read


def summarise(runs: list[Record], T: int) -> Record:
    """Medians over runs, and the standard deviation that error bars are drawn from."""
    totals = [run["time_total_ms"] for run in runs]
    centre = fmean(totals)
    sd = (sum((t - centre) ** 2 for t in totals) / max(1, len(totals) - 1)) ** 0.5
    decode = [fmean(run["step_ms"][1:]) for run in runs if T > 1]
    return {
        "time_total_ms_median": median(totals),
        "time_per_token_ms_median": median(totals) / T,
        "time_total_ms_std": sd,
        "ttft_ms_median": median(run["ttft_ms"] for run in runs),
        "tpot_ms_median": median(decode) if decode else None,
        "sampling_ms_median": median(run["sampling_ms"] for run in runs),
    }
