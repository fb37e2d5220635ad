"""Phases: where a generation's time goes, and what it costs to look.

A pre-forward hook at each phase boundary switches a clock; a LayerNorm belongs to the phase it
feeds, a residual sum to the phase before it. Plain runs alternate with instrumented ones, and their
ratio is stored with the breakdown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from kvbench.bench.latency import WARM_TOKENS
from kvbench.bench.meters.clock import clock
from kvbench.bench.setup import Setup, ready
from kvbench.cell import Cell
from kvbench.engine.generate import generate, no_mark, overflow_steps
from kvbench.records.record import Record

PHASES = ("embedding", "attention", "mlp", "head", "other")


def run(cell: Cell, weights: str | None = None, kernels: str | None = None) -> Record:
    """One phase cell: milliseconds per phase of one generation of T tokens, medians over runs."""
    with ready(cell, weights, kernels) as setup:
        for _ in range(cell.num_warmup_runs):
            plain_run(setup, T=min(cell.T, WARM_TOKENS))
        setup.begin()
        plain, runs = [], []
        for _ in setup.measured_runs():
            plain.append(plain_run(setup))
            runs.append(instrumented_run(setup))
        T = cell.T
        return setup.record(
            T=T,
            time_phase_ms={key: median(run[key] for run in runs) for key in (*PHASES, "total")},
            plain_total_ms=median(plain),
            instrumented_ratio=median(run["total"] for run in runs) / median(plain),
            overflow_steps=overflow_steps(cell.prompt_length, T, cell.model_config["block_size"]),
            runs=runs,
            plain_runs_ms=plain,
        )


def plain_run(setup: Setup, mark: Callable[[], None] = no_mark, T: int | None = None) -> float:
    """Wall milliseconds of one generation, by default of the cell's T tokens."""
    T = T or setup.cell.T
    cache = setup.cache(setup.prompt.size(1) + T)
    setup.synchronise()
    began = time.perf_counter_ns()
    generate(setup.model, setup.prompt, T, cache, setup.pick(), mark)
    setup.synchronise()
    return (time.perf_counter_ns() - began) / 1e6


def instrumented_run(setup: Setup) -> dict[str, float]:
    """Milliseconds per phase of one generation; `other` is the total less the named phases."""
    T = setup.cell.T
    boundaries = setup.model.phase_boundaries()
    tick = clock(setup.device, (len(boundaries) + 2) * T + 1)
    phases: list[str] = []  # phases[i] began at tick i

    def enter(phase: str) -> None:
        tick()
        phases.append(phase)

    with _hooks(setup, enter):
        total = plain_run(setup, lambda: enter("other"))
    spent = dict.fromkeys(PHASES, 0.0)
    for phase, ms in zip(phases, tick.intervals_ms(), strict=False):
        spent[phase] += ms
    spent["other"] = total - sum(spent[phase] for phase in PHASES if phase != "other")
    return {**spent, "total": total}


@contextmanager
def _hooks(setup: Setup, enter: Callable[[str], None]) -> Iterator[None]:
    handles = [
        module.register_forward_pre_hook(lambda *_, phase=phase: enter(phase))
        for module, phase in setup.model.phase_boundaries()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
