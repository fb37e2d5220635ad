"""Whether a job's weights and cache fit into this machine's memory, before either is there.

Linux kills a process that takes more than there is: no record would say why. Standard library only.
"""

from __future__ import annotations

from pathlib import Path

MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def check_memory(weights: int, cache: int) -> None:
    """Raise MemoryError, in one line, where so many bytes are not to be had here.

    They are the least that a cell takes, so that none is refused that would fit.
    """
    free = available()
    if free is not None and weights + cache > free:
        raise MemoryError(
            f"weights {_gib(weights)} and cache {_gib(cache)} do not fit into the {_gib(free)} of "
            "memory that are free; take a smaller model, batch or depth, or another dtype"
        )


def available(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Bytes of memory that a process can still get; None where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        limit, used = (int((cgroup / f"memory.{name}").read_text()) for name in ("max", "current"))
        return min(free, max(0, limit - used))
    except (OSError, ValueError):  # no limit of its own: `max`, or no such file
        return free


def _gib(n: int) -> str:
    return f"{n / 2**30:.1f} GiB"
