"""How often the machine was slowed down on purpose: heat, power, a quota. Standard library only.

Counters that only grow, read before and after a measurement; None where a machine shows none.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CORES = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup/cpu.stat")  # of a container that may use only so much of its cores
GPU = ("sw_power_cap", "hw_slowdown", "sw_thermal_slowdown")


def counters(device: str, cores: Path = CORES, quota: Path = QUOTA) -> dict[str, int | None]:
    """Thermal events of all cores, periods cut short by a quota; on CUDA, reasons now active."""
    found = {
        "thermal": _sum(cores.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")),
        "quota": _stat(quota, "nr_throttled"),
    }
    return found | {"gpu": _gpu()} if device == "cuda" else found


def since(before: dict[str, int | None], after: dict[str, int | None]) -> dict[str, Any]:
    """What was counted between two readings; a GPU's reasons count where active at either end."""
    told: dict[str, int | None] = {}
    for name, last in after.items():
        first = before[name]
        if first is None or last is None:
            told[name] = None
        else:
            told[name] = max(first, last) if name == "gpu" else last - first
    return told


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
    """How many reasons to run below its clock this process's GPU gives now."""
    query = ",".join(f"clocks_event_reasons.{reason}" for reason in GPU)
    mine = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    command = ["nvidia-smi", f"--id={mine}", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return [word.strip() for word in said.stdout.split(",")].count("Active")
