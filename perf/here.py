"""The machine that a row's numbers come from, with the read bandwidth of that moment."""

from __future__ import annotations

from typing import Any

import torch

from kvbench.bench import roofs
from kvbench.bench.meters import machine as facts
from kvbench.cli.doctor import cpu_flags, has

KEPT = (
    *("device_name", "cpu_name", "cpu_count", "cpu_capability", "threads", "governor", "system"),
    *("python_version", "pytorch_version", "cuda_version", "commit"),
)
SECONDS = 0.1  # of each way to read


def machine(settings: dict[str, Any]) -> dict[str, Any]:
    """Facts of the device, and the GB/s it reads just now, by the fastest way a version may use."""
    asked = settings.get("device", "cpu")
    device = facts.use_device(asked if torch.cuda.is_available() else "cpu", 1)
    known = facts.facts(device)
    source = torch.rand(roofs.BUFFER_BYTES[device] // 4, device=device)
    reads = roofs.read_times(source, device, settings["library"], SECONDS)
    best = min(min(times) for times in reads.values())
    extensions = [name for name, there in has(cpu_flags()).items() if there]
    read = source.nbytes / best / 1e9
    return {key: known[key] for key in KEPT} | {"cpu_extensions": extensions, "read_gb_s": read}
