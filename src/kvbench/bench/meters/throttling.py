"""How often the machine was slowed down on purpose: heat, power, a quota.

Counters that only grow, read before and after a measurement; None where a machine shows none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kvbench import nvml

CORES = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup/cpu.stat")  # of a container that may use only so much of its cores


def counters(device: str, cores: Path = CORES, quota: Path = QUOTA) -> dict[str, int | None]:
    """Thermal events of all cores, periods cut short by a quota; on CUDA, us below the clock."""
    found = {
        "thermal": _sum(cores.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")),
        "quota": _stat(quota, "nr_throttled"),
    }
    return found | {"gpu": _gpu()} if device == "cuda" else found


def since(before: dict[str, int | None], after: dict[str, int | None]) -> dict[str, int | None]:
    """What was counted between two readings."""
    counts: dict[str, int | None] = {}
    for name, last in after.items():
        first = before[name]
        counts[name] = None if first is None or last is None else last - first
    return counts


def _sum(paths: Iterable[Path]) -> int | None:
    counts = [int(path.read_text()) for path in paths]
    return sum(counts) if counts else None


def _stat(path: Path, key: str) -> int | None:
    try:
        lines = dict(line.split() for line in path.read_text().splitlines())
    except OSError:
        return None
    return int(lines[key]) if key in lines else None


def _gpu() -> int | None:
    """Microseconds that this process's GPU ran below its clock; it idles at both readings."""
    try:
        return nvml.slowed_us()
    except nvml.Unreadable:
        return None
