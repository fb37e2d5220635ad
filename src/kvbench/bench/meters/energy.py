"""Energy of a piece of work, by counters that only grow: NVML's of a GPU's board, RAPL's of a CPU.

A counter is updated every few milliseconds. A reading waits for an update, so that the work lies
between two of them; what the idle device draws, measured just before, is taken off for all of that
time. RAPL counts the processor's packages, and their DRAM where reported, whatever runs on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvbench.job import nvml
from kvbench.job.nvml import CounterError

POWERCAP = Path("/sys/class/powercap")
IDLE_S = 1.0  # how long the idle device is watched
POLL_S, STUCK_S = 1e-3, 2.0  # between looks at a counter, and until it is given up
LEAST_UPDATES = 10  # in a loop: fewer could not tell its energy from an update's


@dataclass(frozen=True)
class Drawn:
    """What `repeats` of a work drew together, in `seconds`, above what the idle device would."""

    joules: float
    repeats: int
    seconds: float

    @property
    def each(self) -> float:
        """Joules of one repeat."""
        return self.joules / self.repeats


class Meter:
    """A counter's reader. `joules()` only grows; `wait()` returns when the device is idle.

    Watches the idle device first: `idle_w` is its power, `update_s` the time between two updates
    of the counter. Raises CounterError for a counter that does not move.
    """

    def __init__(
        self,
        joules: Callable[[], float],
        wait: Callable[[], Any],
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._joules, self._wait, self._now, self._sleep = joules, wait, now, sleep
        wait()
        first_s, first_j = last_s, last_j = self._update()
        updates = 0
        while last_s - first_s < IDLE_S:
            last_s, last_j = self._update()
            updates += 1
        self.idle_w = (last_j - first_j) / (last_s - first_s)
        self.update_s = (last_s - first_s) / updates

    def drawn(self, work: Callable[[], Any], seconds: float) -> Drawn:
        """Repeat `work` for at least `seconds`. Raises CounterError for too short a time."""
        before_s, before_j = self._update()
        began, repeats = self._now(), 0
        while (busy := self._now() - began) < seconds or not repeats:
            work()
            self._wait()
            repeats += 1
        after_s, after_j = self._update()
        if busy < LEAST_UPDATES * self.update_s:
            raise CounterError(
                f"watched for {busy:.3g} s, but the counter moves every {self.update_s:.2g} s: set "
                f"energy_s to {LEAST_UPDATES * self.update_s:.2g} or more"
            )
        idle = self.idle_w * (after_s - before_s)
        return Drawn(after_j - before_j - idle, repeats, busy)

    def _update(self) -> tuple[float, float]:
        """The time (s) and the count (J) just after the counter has moved."""
        since, known = self._now(), self._joules()
        while (count := self._joules()) == known:
            if self._now() - since > STUCK_S:
                raise CounterError(f"the counter has not moved for {STUCK_S:g} s")
            self._sleep(POLL_S)
        return self._now(), count


class Rapl:
    """Joules of all packages since the first call, through the kernel's powercap files.

    Raises CounterError, with the file and what is wrong, where there are none for this user.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        zones = [z for z in sorted(powercap.glob("intel-rapl:*")) if _counts(z)]
        if not zones:
            raise CounterError(f"no RAPL counters under {powercap}")
        ranges = [_number(zone / "max_energy_range_uj") for zone in zones]
        self._zones = list(zip((zone / "energy_uj" for zone in zones), ranges, strict=True))
        self._last = [_number(path) for path, _ in self._zones]
        self._sum = 0

    def __call__(self) -> float:
        for i, (path, most) in enumerate(self._zones):
            count = _number(path)
            grown = count - self._last[i]
            self._sum += grown if grown >= 0 else grown + most  # it begins anew at its range
            self._last[i] = count
        return self._sum / 1e6


def counter(device: str) -> tuple[str, Callable[[], float]]:
    """(nvml or rapl, what reads its joules). Raises CounterError."""
    if device == "cuda":
        nvml.energy_mj()
        return "nvml", lambda: nvml.energy_mj() / 1e3
    return "rapl", Rapl()


def _counts(zone: Path) -> bool:
    """Whether a zone is a package's, or the DRAM's of one: others are parts of these."""
    try:
        name = (zone / "name").read_text().strip()
    except OSError:
        return False
    return name.startswith("package") or name == "dram"


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CounterError(
            f"{path} cannot be read: {reason}; most systems let root alone"
        ) from None
