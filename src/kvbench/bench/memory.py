"""Peak memory of a piece of work, to the byte, from the allocator's own accounting.

CUDA keeps the peak itself. On a CPU the profiler reports every allocation and release of torch's
allocator; their running sum is the memory in use. Resident set size would see neither, and what a
library allocates outside torch (a oneDNN scratch pad) is in none of these numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind `tensors`."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


class CpuPeak:
    """Peaks of successive sections, in bytes above what was in use when the first began."""

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


def peak_meter(device: str) -> CpuPeak | CudaPeak:
    """A meter for `device`."""
    return CudaPeak() if device == "cuda" else CpuPeak()
