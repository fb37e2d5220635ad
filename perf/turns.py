"""Things run in turn in one process, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kvbench.bench.meters import machine

Times = dict[str, list[float]]  # milliseconds by `wall` and by `cpu` clock, one of each a sample
Turn = Callable[[], tuple[float, float]]  # takes one sample: wall and CPU milliseconds
ROUNDS, LEAST_MS = 5, 30.0


@dataclass(frozen=True)
class Heard:
    """Every side's samples, in the order they were taken, and what disturbed them."""

    times: dict[str, Times]
    disturbed_by: list[str]

    def pair(self, above: str, below: str) -> dict[str, Times]:
        """A ratio's two sides."""
        return {"above": self.times[above], "below": self.times[below]}


def now() -> tuple[float, float]:
    """Milliseconds of both clocks: the wall's, and the CPU time of this process."""
    return time.perf_counter_ns() / 1e6, time.process_time_ns() / 1e6


def since(began: tuple[float, float], share: int = 1) -> tuple[float, float]:
    """Milliseconds since then, over `share`."""
    wall, cpu = now()
    return (wall - began[0]) / share, (cpu - began[1]) / share


def repeated(once: Callable[[], Any], wait: Callable[[], Any] = lambda: None) -> Turn:
    """A turn of as many calls as last LEAST_MS, so that a clock's grain is nothing beside it."""
    for _ in range(2):  # the first pays for what is only done once
        wait()
        began = now()
        once()
        wait()
    calls = max(1, math.ceil(LEAST_MS / max(since(began)[0], 1e-3)))

    def turn() -> tuple[float, float]:
        wait()
        began = now()
        for _ in range(calls):
            once()
        wait()
        return since(began, calls)

    return turn


def generated(run: Callable[[Callable[[], None]], Tensor], tokens: int) -> Turn:
    """A turn of one generation of `tokens` tokens: a decode step of it, with the pick of its token.

    `run(mark)` marks as `kvbench.engine.generate.generate` does; the prefill is left out.
    """

    def turn() -> tuple[float, float]:
        at: list[tuple[float, float]] = []
        run(lambda: at.append(now()))
        first, last = at[2], at[-1]
        return (last[0] - first[0]) / (tokens - 1), (last[1] - first[1]) / (tokens - 1)

    return turn


def alternate(sides: Mapping[str, Turn], seconds: float, device: str = "cpu") -> Heard:
    """Every side in turn, back and forth, for at least ROUNDS rounds and `seconds`."""
    watch, began = machine.Watch(device, 1), time.perf_counter()
    times: dict[str, Times] = {name: {"wall": [], "cpu": []} for name in sides}
    order, rounds = list(sides), 0
    while rounds < ROUNDS or time.perf_counter() - began < seconds:
        for name in order:
            wall, cpu = sides[name]()
            times[name]["wall"].append(round(wall, 4))  # 0.1 us: a clock tells no more
            times[name]["cpu"].append(round(cpu, 4))
        order.reverse()
        rounds += 1
    return Heard(times, watch.report()["disturbed_by"])
