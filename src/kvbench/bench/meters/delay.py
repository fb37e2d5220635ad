"""A known delay, for the control that a benchmark must be able to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Mark = Callable[[], None]


class Clock(Protocol):
    """A mark that tells the time as well, in ns."""

    def now(self) -> int: ...
    def __call__(self) -> None: ...


Wrap = Callable[[Clock], Mark]


class Delayed:
    """A mark that first waits a share of the time since it last marked, so that it is counted."""

    def __init__(self, clock: Clock, share: float) -> None:
        self._mark, self._share, self._now = clock, share, clock.now
        self._since: int | None = None
        self.waited_ns = 0

    def __call__(self) -> None:
        began = moment = self._now()
        if self._since is not None:
            until = began + self._share * (began - self._since)
            while moment < until:
                moment = self._now()
            self.waited_ns += moment - began
        self._mark()
        self._since = moment


def delaying(share: float, device: str) -> Wrap:
    """What wraps a clock so that every step takes `share` longer; nothing at all for share 0.

    Raises ValueError on CUDA: the host's wait would hide behind the work already queued.
    """
    if not share:
        return lambda clock: clock
    if device == "cuda":
        raise ValueError("a delay of the host is not seen on CUDA; controls with one need a CPU")
    return lambda clock: Delayed(clock, share)
