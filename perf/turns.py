"""Things run in turn in one process, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kvbench.bench.meters import machine
from kvbench.bench.meters.clock import clock

# Milliseconds by the `wall` clock, by this process's `cpu` time and, on a GPU, by the `device`'s.
Sample = dict[str, float]
Times = dict[str, list[float]]  # of each clock, one a sample
Turn = Callable[[], Sample]  # takes one sample
ROUNDS, LEAST_MS = 5, 30.0


@dataclass(frozen=True)
class Samples:
    """Every side's samples, in the order they were taken, and what disturbed them."""

    times: dict[str, Times]
    disturbed_by: list[str]

    def pair(self, above: str, below: str) -> dict[str, Times]:
        """A ratio's two sides."""
        return {"above": self.times[above], "below": self.times[below]}


def now() -> tuple[float, float]:
    """Milliseconds of both clocks: the wall's, and the CPU time of this process."""
    return time.perf_counter_ns() / 1e6, time.process_time_ns() / 1e6


def since(began: tuple[float, float], share: int = 1) -> Sample:
    """Milliseconds since then, over `share`."""
    wall, cpu = now()
    return {"wall": (wall - began[0]) / share, "cpu": (cpu - began[1]) / share}


def waiting(device: str) -> Callable[[], None]:
    """What waits until the device has done what it was given."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def repeated(once: Callable[[], Any], device: str = "cpu") -> Turn:
    """A turn of as many calls as last LEAST_MS, so that a clock's grain is nothing beside it."""
    wait = waiting(device)
    for _ in range(2):  # the first pays for what is only done once
        wait()
        began = now()
        once()
        wait()
    calls = max(1, math.ceil(LEAST_MS / max(since(began)["wall"], 1e-3)))

    def turn() -> Sample:
        mark = clock(device, 2)
        wait()
        began = now()
        mark()
        for _ in range(calls):
            once()
        mark()
        wait()
        clocks = since(began, calls)
        return clocks | {"device": sum(mark.intervals_ms()) / calls} if device == "cuda" else clocks

    return turn


def generated(
    run: Callable[[Callable[[], None]], Tensor], tokens: int, device: str = "cpu"
) -> Turn:
    """A turn of one generation of `tokens` tokens: a decode step of it, with the pick of its token.

    `run(mark)` marks as `kvbench.engine.generate.generate` does; the prefill is left out.
    Other runners have streams of their own, which events do not see: the wall's clock is read on an
    idle device.
    """
    wait = waiting(device)

    def turn() -> Sample:
        marks, began = 0, now()

        def mark() -> None:
            nonlocal marks, began
            marks += 1
            if marks == 3:  # start, prefill's forward, its pick: decode begins here
                wait()
                began = now()

        run(mark)
        wait()
        return since(began, tokens - 1)

    return turn


def alternate(sides: Mapping[str, Turn], seconds: float, device: str = "cpu") -> Samples:
    """Every side in turn, back and forth, for at least ROUNDS rounds and `seconds`."""
    watch, began = machine.Watch(device, 1), time.perf_counter()
    times: dict[str, Times] = {name: defaultdict(list) for name in sides}
    order, rounds = list(sides), 0
    while rounds < ROUNDS or time.perf_counter() - began < seconds:
        for name in order:
            for clock_name, ms in sides[name]().items():
                times[name][clock_name].append(round(ms, 4))  # 0.1 us: a clock tells no more
        order.reverse()
        rounds += 1
    return Samples(
        {name: dict(each) for name, each in times.items()}, watch.report()["disturbed_by"]
    )
