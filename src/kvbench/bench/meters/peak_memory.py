"""Peak memory of a piece of work, to the byte, from the allocator's own accounting.

CUDA keeps the peak itself. On a CPU torch reports every allocation and release of its allocator;
their running sum is the memory in use. Who listens is our account
(`kvbench.kernels.cpu.memory_account`), or, where nothing compiled it, torch's profiler: the same
bytes, at several times the cost. Resident set size would see neither, and what a library allocates
outside torch (a oneDNN scratch pad) is in none of these numbers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from kvbench.kernels.cpu.memory_account import NAME, load


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind `tensors`."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


class CpuPeak:
    """Peaks of successive sections, in bytes above what was in use when the first began."""

    def __init__(self, account: ctypes.CDLL) -> None:
        self._account = account
        self.peaks: list[int] = []

    def start(self) -> None:
        """Begin the first section."""
        self._account.account_start()

    def split(self) -> None:
        """End a section, keep its peak and begin the next."""
        self.peaks.append(self._account.account_split())

    def stop(self) -> None:
        """End the last section and keep its peak."""
        self.split()
        self._account.account_stop()


class ProfilerPeak:
    """The same from the profiler's events."""

    def __init__(self) -> None:
        self._in_use = 0
        self.peaks: list[int] = []

    def start(self) -> None:
        """Begin the first section."""
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profile.__enter__()

    def stop(self) -> None:
        """End a section and keep its peak."""
        self._profile.__exit__(None, None, None)
        results: Any = self._profile.profiler.kineto_results  # type: ignore[union-attr]
        peak = self._in_use
        for event in results.events():
            if event.name() == "[memory]":
                self._in_use += event.nbytes()
                peak = max(peak, self._in_use)
        self.peaks.append(peak)

    def split(self) -> None:
        """End a section and begin the next."""
        self.stop()
        self.start()


class CudaPeak:
    """The same through CUDA's caching allocator."""

    def __init__(self) -> None:
        self.peaks: list[int] = []

    def start(self) -> None:
        self._baseline = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()

    def stop(self) -> None:
        torch.cuda.synchronize()
        self.peaks.append(torch.cuda.max_memory_allocated() - self._baseline)

    def split(self) -> None:
        self.stop()
        torch.cuda.reset_peak_memory_stats()


def peak_meter(device: str, library: str | None = None) -> CpuPeak | ProfilerPeak | CudaPeak:
    """A meter for `device`; the account lies beside the native kernels' `library`."""
    if device == "cuda":
        return CudaPeak()
    account = load(Path(library).with_name(NAME)) if library else None
    return CpuPeak(account) if account else ProfilerPeak()
