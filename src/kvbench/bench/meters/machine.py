"""The machine a number comes from: facts for the record, and what disturbed it."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from kvbench.job import fork_server, isolation, nvml
from kvbench.records.provenance import PROJECT
from kvbench.records.record import Record

CORES = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup/cpu.stat")  # of a container that may use only so much of its cores
GIT_S = 30  # that git may take on a slow file system
LIBRARIES = ("torch", "numpy", "safetensors", "snakemake")
# A CPU sample is marked as disturbed that got less of its cores than this share, was sent off them
# more often than this a second, or began on a machine with this much to do besides.
BUSY_SHARE, BUSY_SWITCHES, BUSY_LOAD = 0.95, 100, 1.0
SLOWED_SHARE = 0.01  # a GPU's sample that ran below its clock for more of its time than this


def use_device(device: str, threads: int) -> str:
    """Settle `auto|cpu|cuda` to a device and give torch its threads; returns `cpu` or `cuda`.

    cuDNN's attention is switched off: it plans anew for every shape, which a growing cache changes
    at each step. Raises RuntimeError when CUDA is asked for and there is none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("device: cuda, but torch sees no CUDA device; use device: auto or cpu")
    torch.set_num_threads(threads)
    torch.backends.cuda.enable_cudnn_sdp(False)
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


class Watch:
    """What happened to this process while it measured: CPU share, load, switches, throttling."""

    def __init__(self, device: str, threads: int) -> None:
        self.device, self.threads = device, threads
        self.began_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.load_before = os.getloadavg()[0]
        self.before = throttling(device)
        self.began = (time.perf_counter(), time.process_time(), _switches())

    def report(self) -> Record:
        """Facts for the record; `disturbed` marks a sample, nothing ever drops one."""
        wall, cpu, switches = self.began
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        share, switches = cpu / (wall * self.threads), _switches() - switches
        throttled = since(self.before, throttling(self.device))
        on_cpu = self.device == "cpu"
        why = {
            "share": on_cpu and share < BUSY_SHARE,
            "switches": on_cpu and switches > BUSY_SWITCHES * max(1.0, wall),
            "load": on_cpu and self.load_before > self.threads + BUSY_LOAD,
            "throttled": any(count for kind, count in throttled.items() if kind != "gpu")
            or (throttled.get("gpu") or 0) > SLOWED_SHARE * wall * 1e6,
        }
        return {
            "began_at": self.began_at,
            "measured_s": wall,
            "boot_id": boot_id(),
            "load_before": self.load_before,
            "load_after": os.getloadavg()[0],
            "cpu_share": share,
            "involuntary_switches": switches,
            "throttled": throttled,
            "disturbed": any(why.values()),
            "disturbed_by": [name for name, true in why.items() if true],
        }


def throttling(device: str, cores: Path = CORES, quota: Path = QUOTA) -> dict[str, int | None]:
    """Counters of slow-downs, which only grow: what they count by kind; None where none is shown.

    thermal: events of all cores. quota: periods cut short by it. gpu, on CUDA: microseconds that
    this process's GPU ran below its clock; it idles at both readings.
    """
    found = {
        "thermal": _sum(cores.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")),
        "quota": _throttled_periods(quota),
    }
    if device == "cuda":
        try:
            found["gpu"] = nvml.slowed_us()
        except nvml.CounterError:
            found["gpu"] = None
    return found


def since(before: dict[str, int | None], after: dict[str, int | None]) -> dict[str, int | None]:
    """What was counted between two readings."""
    counts: dict[str, int | None] = {}
    for name, last in after.items():
        first = before[name]
        counts[name] = None if first is None or last is None else last - first
    return counts


def boot_id() -> str | None:
    """What names the machine's run since it was started; None where the system tells none."""
    return _read("/proc/sys/kernel/random/boot_id")


def _sum(paths: Iterable[Path]) -> int | None:
    counts = [int(path.read_text()) for path in paths]
    return sum(counts) if counts else None


def _throttled_periods(quota: Path) -> int | None:
    lines = dict(line.split() for line in (_read(quota) or "").splitlines())
    return int(lines["nr_throttled"]) if "nr_throttled" in lines else None


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def facts(device: str) -> Record:
    """The seed's machine keys, then ours: device, CPU, libraries, commit."""
    import torch

    cuda = device == "cuda"
    properties = torch.cuda.get_device_properties(0) if cuda else None
    return {
        "gpu_name": properties.name if properties else None,
        "gpu_total_vram": properties.total_memory if properties else None,
        "python_version": platform.python_version(),
        **isolation.facts(),
        "forked": fork_server.forked(),
        "pytorch_version": torch.__version__,
        "cuda_version": torch.version.cuda,
        "device": device,
        "device_name": properties.name if properties else cpu_name(),
        "device_uuid": str(properties.uuid) if properties else None,
        "cpu_name": cpu_name(),
        "cpu_count": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "affinity": len(os.sched_getaffinity(0)),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "system": platform.platform(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "commit": commit(),
    }


def cpu_name() -> str:
    """The processor's model name."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the source tree, marked when it has local changes; None outside git.

    Of this project's own repository: none that the environment names, and none around it.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    kept["GIT_CEILING_DIRECTORIES"] = str(PROJECT.parent)
    try:
        found = subprocess.run(
            command, cwd=PROJECT, env=kept, capture_output=True, text=True, timeout=GIT_S
        )
    except (OSError, subprocess.TimeoutExpired):  # no git here
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # an isolated job's Snakemake is the host's
        return getattr(sys.modules.get(name), "__version__", None)


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
