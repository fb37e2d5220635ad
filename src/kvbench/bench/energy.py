"""Energy of a latency cell: joules a token, of prefill and of decode, above the idle device's.

Measured apart from the timed runs and before them, in loops long enough for the counter: whole
generations, and prefills alone. What a generation draws beyond its prefill is decode's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from kvbench.bench.meters import energy
from kvbench.bench.setup import Runner, Setup
from kvbench.engine.generate import no_mark
from kvbench.records.record import Record


def of_runs(setup: Setup, runner: Runner) -> Record:
    """The record's `energy`; nothing where the cell asks for none."""
    seconds = setup.cell.energy_s
    if not seconds:
        return {}
    try:
        source, joules = energy.counter(setup.device)
        meter = energy.Meter(joules, setup.synchronise)
        found = per_token(setup, runner, meter, seconds)
    except energy.CounterError as reason:
        return {"energy": joules_of(None, reason=str(reason))}
    return {"energy": joules_of(source, idle_w=meter.idle_w, update_s=meter.update_s, **found)}


def per_token(setup: Setup, runner: Runner, meter: energy.Meter, seconds: float) -> Record:
    """What both loops drew, and joules a token of each phase. Raises energy.CounterError."""
    (B, P), T = setup.prompt.shape, setup.cell.T
    prefill = meter.drawn(prefill_of(setup), seconds)
    whole = meter.drawn(lambda: runner(no_mark, T), seconds)
    decode = (whole.each - prefill.each) / (B * (T - 1)) if T > 1 else None
    return {
        "prefill_j_per_token": prefill.each / (B * P),
        "decode_j_per_token": decode,
        "reason": None if T > 1 else "T is 1: there is no decode step",
        "prefills": asdict(prefill),
        "generations": asdict(whole),
    }


def prefill_of(setup: Setup) -> Callable[[], Any]:
    """The prefill of the cell's prompt into an empty cache, again and again."""
    cache = setup.cache(setup.prompt.size(1) + 1)

    @torch.inference_mode()
    def once() -> None:
        cache.reset()
        setup.model(setup.prompt, cache)

    return once


def joules_of(source: str | None, **found: Any) -> Record:
    """Every key of a process's energy; null where it could not be read, and `reason` says why."""
    keys = ("idle_w", "update_s", "prefill_j_per_token", "decode_j_per_token", "reason")
    return {"source": source, **dict.fromkeys(keys), **found}
