"""Roofs of this machine, measured: read and copy bandwidth, and the rate of a large product.

Decode's pattern is the read-only sum; the copy counts bytes read plus bytes written; the product is
of random data in the study's dtype, since zeros run faster than numbers do. Caches are read over
and over, each in a buffer of half its size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kvbench.bench.meters import cpu_caches, machine
from kvbench.job import devices
from kvbench.kernels.cpu import bound, tensors
from kvbench.kernels.cpu import library as native
from kvbench.models.build import DTYPES
from kvbench.records.record import Record

BUFFER_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30}  # at least; and LARGER times the largest cache
LARGER = 4
CACHE_READS = {"cpu": 256 << 20, "cuda": 64 << 30}  # bytes of one timed run
GEMM_N = {"cpu": 1536, "cuda": 8192}
SECONDS, RUNS = 1.0, 5  # at least this many runs, at least this long
CACHE_SECONDS = 0.2
Ways = dict[str, Callable[[], Any]]  # by name, what is timed


def run(settings: Record, library: str | None = None) -> Record:
    """Measure the roofs for one dtype. GB/s and GFLOP/s are 1e9; a roof is its best run.

    A roof is the fastest of the ways that a version may go: reading once by torch's sum, its dot
    product and, with `library`, the native kernels' file, their sum in one stream and in several;
    multiplying by torch or them.
    """
    device = machine.use_device(settings["device"], settings["threads"])
    with devices.device_lock(device) as held:
        watch = machine.Watch(device, settings["threads"])
        caches, dtype, n = cpu_caches.caches(device), DTYPES[settings["dtype"]], GEMM_N[device]
        size = max([BUFFER_BYTES[device], *(LARGER * cache["size_bytes"] for cache in caches)])
        source = torch.rand(size // 4, device=device)
        target = torch.empty_like(source)
        copies = _times(lambda: target.copy_(source), device, SECONDS)
        reads = read_times(source, device, library, SECONDS)
        a, b = (torch.rand(n, n, device=device).sub_(0.5).to(dtype) for _ in range(2))
        kernels = _native(device, library)
        products = {
            way: _times(multiply, device, SECONDS)
            for way, multiply in _ways_to_multiply(a, b, kernels).items()
        }
        read_by, rates = _rates(size, reads)
        gemm_by, gemms = _rates(2 * n**3, products)
        return {
            **machine.facts(device),
            "benchmark_name": "roofs",
            "dtype": settings["dtype"],
            "copy_gb_s": 2 * size / min(copies) / 1e9,
            "read_gb_s": rates[read_by],
            "read_by": read_by,
            "reads_gb_s": rates,
            "gemm_gflop_s": gemms[gemm_by],
            "gemm_by": gemm_by,
            "gemms_gflop_s": gemms,
            "caches": [_cache(cache, device, kernels) for cache in caches],
            "buffer_bytes": size,
            "gemm_n": n,
            "runs_s": {"copy": copies, "read": reads[read_by], "gemm": products[gemm_by]},
            "machine_state": {**watch.report(), **held.facts()},
        }


def read_times(
    source: Tensor, device: str, library: str | None, seconds: float
) -> dict[str, list[float]]:
    """Seconds of each read of all of `source`, by each way to read it."""
    ways = ways_to_read(source, device, library)
    return {way: _times(read, device, seconds) for way, read in ways.items()}


def ways_to_read(source: Tensor, device: str, library: str | None) -> Ways:
    """Ways to read every byte of `source` once."""
    ways: Ways = {"torch sum": source.sum, "torch dot": lambda: source.dot(source)}
    if kernels := _native(device, library):
        ways |= _native_reads(kernels, source)
    return ways


def _native_reads(kernels: native.Native, x: Tensor, times: int = 1) -> Ways:
    """The native sum in one stream, fastest from a near cache, and in several, from memory."""
    return {
        "native sum" if streams == 1 else f"native sum, {streams} streams": partial(
            kernels.read_sum, x, times, streams
        )
        for streams in bound.STREAMS
    }


def _ways_to_multiply(a: Tensor, b: Tensor, kernels: native.Native | None) -> Ways:
    ways: Ways = {"torch": lambda: a @ b}
    if kernels and a.dtype in tensors.FLOATS:
        linear, out = kernels.linear(b), torch.empty_like(a)
        ways["native"] = lambda: linear(a, out)
    return ways


def _native(device: str, library: str | None) -> native.Native | None:
    """The native kernels where they can work for a roof: their sum is one thread's."""
    if library and device == "cpu" and torch.get_num_threads() == 1:
        with suppress(OSError, ValueError):  # a file that says why there is no library
            return native.load(Path(library))
    return None


def _cache(cache: Record, device: str, kernels: native.Native | None) -> Record:
    """A cache with `read_gb_s`: the rate of the faster of torch's and the native kernels' sums,
    over and over a buffer that half fills it.
    """
    buffer = torch.rand(cache["size_bytes"] // 8, device=device)
    again = max(1, CACHE_READS[device] // (4 * len(buffer)))
    rows = buffer.expand(again, -1)  # the same bytes in each: one call reads them many times
    ways: Ways = {"torch sum": lambda: rows.sum(1)}
    if kernels:
        ways |= _native_reads(kernels, buffer, again)
    times = {way: _times(read, device, CACHE_SECONDS) for way, read in ways.items()}
    best, rates = _rates(4 * rows.numel(), times)
    return {**cache, "buffer_bytes": 4 * len(buffer), "read_gb_s": rates[best], "read_by": best}


def _rates(amount: int, times: dict[str, list[float]]) -> tuple[str, dict[str, float]]:
    """The fastest way, and 1e9 units a second of each way's best run, `amount` units a run."""
    rates = {way: amount / min(seconds) / 1e9 for way, seconds in times.items()}
    return max(rates, key=lambda way: rates[way]), rates


def _times(work: Callable[[], Any], device: str, seconds: float) -> list[float]:
    """Seconds of each run, after one that is not counted."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times: list[float] = []
    work()
    since = time.perf_counter()
    while len(times) < RUNS or time.perf_counter() - since < seconds:
        wait()
        began = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - began)
    return times
