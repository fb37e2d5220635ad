"""Roofs of this machine, measured: read and copy bandwidth, and the rate of a large product.

Decode's pattern is the read-only sum; the copy counts bytes read plus bytes written; the product is
of random data in the study's dtype, since zeros run faster than numbers do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from kvbench import machine
from kvbench.models import DTYPES

BUFFER_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30}  # several times any last-level cache
GEMM_N = {"cpu": 1536, "cuda": 8192}
SECONDS, RUNS = 1.0, 5  # at least this many runs, at least this long


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Measure the roofs for one dtype. GB/s and GFLOP/s are 1e9; the roof is the best run."""
    device = machine.use_device(settings["device"], settings["threads"])
    with machine.device_lock(device) as waited:
        watch = machine.Watch(device, settings["threads"])
        size, n, dtype = BUFFER_BYTES[device], GEMM_N[device], DTYPES[settings["dtype"]]
        source = torch.rand(size // 4, device=device)
        target = torch.empty_like(source)
        copies = _times(lambda: target.copy_(source), device)
        reads = _times(lambda: source.sum(), device)
        a, b = (torch.rand(n, n, device=device).sub_(0.5).to(dtype) for _ in range(2))
        products = _times(lambda: a @ b, device)
        return {
            **machine.facts(device),
            "benchmark_name": "roofs",
            "dtype": settings["dtype"],
            "copy_gb_s": 2 * size / min(copies) / 1e9,
            "read_gb_s": size / min(reads) / 1e9,
            "gemm_gflop_s": 2 * n**3 / min(products) / 1e9,
            "runs_s": {"copy": copies, "read": reads, "gemm": products},
            "machine_state": {**watch.report(), "lock_wait_s": waited},
        }


def _times(work: Callable[[], Any], device: str) -> list[float]:
    """Seconds of each run, after one that is not counted."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times: list[float] = []
    work()
    while len(times) < RUNS or sum(times) < SECONDS:
        wait()
        began = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - began)
    return times
