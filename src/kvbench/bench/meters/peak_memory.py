"""Peak memory of a piece of work, to the byte, from the allocator's own accounting.

CUDA's allocator keeps the peak itself, of the bytes that were asked for; the blocks it gives are
larger, by amounts that depend on their sizes, and stand beside it. On a CPU torch reports every
allocation and release of its allocator; their running sum is the memory in use. Who listens is our
account (`kvbench.kernels.cpu.memory_account`), or, where nothing compiled it, torch's profiler: the
same bytes, at several times the cost. Resident set size would see neither, and what a library
allocates outside torch (a oneDNN scratch pad) is in none of these numbers.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

REQUESTED = "requested_bytes.all"  # of torch.cuda.memory_stats
PROCESS_BYTES = {
    "peak_allocated_bytes": "allocated_bytes.all",
    "peak_reserved_bytes": "reserved_bytes.all",
}


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind `tensors`."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def reserved(device: str) -> dict[str, int]:
    """On CUDA, bytes that the allocator took from the device, and those in pools of graphs.

    A captured graph keeps its pool: activations that an eager step would give back.
    """
    if device != "cuda":
        return {}
    pools = [s for s in torch.cuda.memory_snapshot() if tuple(s["segment_pool_id"]) != (0, 0)]
    return {
        "memory_reserved_bytes": torch.cuda.memory_reserved(),
        "graph_pool_bytes": sum(segment["total_size"] for segment in pools),
    }


class Peak(ABC):
    """Peaks of successive sections, in bytes above what was in use when the first began.

    process_bytes: further bytes of the whole process that the allocator reports, by record key.
    """

    def __init__(self) -> None:
        self.peaks: list[int] = []
        self.process_bytes: dict[str, int] = {}

    @abstractmethod
    def start(self) -> None:
        """Begin the first section."""

    @abstractmethod
    def split(self) -> None:
        """End a section, keep its peak and begin the next."""

    @abstractmethod
    def stop(self) -> None:
        """End the last section and keep its peak."""


class CpuPeak(Peak):
    """By our account of torch's allocator."""

    def __init__(self, account: ctypes.CDLL) -> None:
        super().__init__()
        self._account = account

    def start(self) -> None:
        self._account.account_start()

    def split(self) -> None:
        self.peaks.append(self._account.account_split())

    def stop(self) -> None:
        self.split()
        self._account.account_stop()


class ProfilerPeak(Peak):
    """The same from the profiler's events."""

    def __init__(self) -> None:
        super().__init__()
        self._in_use = 0

    def start(self) -> None:
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profile.__enter__()

    def stop(self) -> None:
        self._profile.__exit__(None, None, None)
        results: Any = self._profile.profiler.kineto_results  # type: ignore[union-attr]
        peak = self._in_use
        for event in results.events():
            if event.name() == "[memory]":
                self._in_use += event.nbytes()
                peak = max(peak, self._in_use)
        self.peaks.append(peak)

    def split(self) -> None:
        self.stop()
        self.start()


class CudaPeak(Peak):
    """By CUDA's caching allocator, in bytes requested; beside them its blocks and its segments.

    Raises RuntimeError where another allocator is set, which does not count what is requested.
    """

    def start(self) -> None:
        if (backend := torch.cuda.get_allocator_backend()) != "native":
            raise RuntimeError(
                f"PYTORCH_CUDA_ALLOC_CONF sets backend:{backend}, which does not count requested "
                "bytes; memory is measured with backend:native, torch's own"
            )
        torch.cuda.empty_cache()  # or segments kept from before would count as this run's
        torch.cuda.reset_peak_memory_stats()
        self._baseline = torch.cuda.memory_stats()[f"{REQUESTED}.current"]

    def stop(self) -> None:
        torch.cuda.synchronize()
        stats = torch.cuda.memory_stats()
        self.peaks.append(stats[f"{REQUESTED}.peak"] - self._baseline)
        for key, statistic in PROCESS_BYTES.items():
            self.process_bytes[key] = max(
                self.process_bytes.get(key, 0), stats[f"{statistic}.peak"]
            )

    def split(self) -> None:
        self.stop()
        torch.cuda.reset_peak_memory_stats()


def peak_meter(device: str, library: str | None = None) -> Peak:
    """A meter for `device`; the account lies beside the native kernels' `library`."""
    if device == "cuda":
        return CudaPeak()
    account = None
    if library:
        accounts = import_module("kvbench.kernels.cpu.memory_account")  # by name: of CPUs alone
        account = accounts.load(Path(library).with_name(accounts.NAME))
    return CpuPeak(account) if account else ProfilerPeak()
