"""Clocks that mark moments without stopping the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


class CpuClock:
    """Wall-clock marks, in ns."""

    def __init__(self, marks: int) -> None:
        self._at: list[int] = []
        self._aside_ns = 0

    def now(self) -> int:
        """Nanoseconds that have passed on this clock."""
        return time.perf_counter_ns() - self._aside_ns

    def __call__(self) -> None:
        self._at.append(self.now())

    def aside(self, work: Callable[[], Result]) -> Result:
        """What `work` gives; the time it takes does not pass on this clock."""
        began = time.perf_counter_ns()
        result = work()
        self._aside_ns += time.perf_counter_ns() - began
        return result

    def intervals_ms(self) -> list[float]:
        """Milliseconds between successive marks."""
        return [(b - a) / 1e6 for a, b in zip(self._at, self._at[1:], strict=False)]


class CudaClock:
    """Event marks on the current stream: made ahead, read once, so no mark waits for the device.

    torch makes an event when it is first recorded, so each is recorded here, before anything runs.
    """

    def __init__(self, marks: int) -> None:
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(marks)]
        for event in self._events:
            event.record()
        torch.cuda.synchronize()
        self._used = 0

    def now(self) -> int:
        """Nanoseconds by the host's clock."""
        return time.perf_counter_ns()

    def __call__(self) -> None:
        self._events[self._used].record()
        self._used += 1

    def intervals_ms(self) -> list[float]:
        """Device milliseconds between successive marks; waits for the last one."""
        torch.cuda.synchronize()
        used = self._events[: self._used]
        return [a.elapsed_time(b) for a, b in zip(used, used[1:], strict=False)]


def clock(device: str, marks: int) -> CpuClock | CudaClock:
    """A clock for `device` with room for `marks` marks."""
    return CudaClock(marks) if device == "cuda" else CpuClock(marks)
