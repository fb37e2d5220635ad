"""Stand-ins for what torch.cuda tells of a GPU: its queue and clock, and its allocator."""

import math
import time
from types import SimpleNamespace

import torch


class Device:
    """A GPU's queue, in ms: work waits for what was launched before it, and takes its time."""

    def __init__(self, monkeypatch):
        self.host = self.busy_until = 0.0  # the host's clock, and when the device will be idle
        self.made = []  # the host's time when an event was made, at its first record
        device = self

        class Event:
            def __init__(self, enable_timing):
                self.at = None

            def record(self):
                if self.at is None:
                    device.made.append(device.host)
                    device.host += 0.05
                self.at = max(device.host, device.busy_until)

            def elapsed_time(self, other):
                return other.at - self.at

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "synchronize", self.synchronise)
        monkeypatch.setattr(time, "perf_counter_ns", lambda: round(self.host * 1e6))

    def launch(self, ms, latency=0.01, costs=0.002):
        """What an idle device begins `latency` after; launching costs the host `costs`."""
        self.busy_until = max(self.host + latency, self.busy_until) + ms
        self.host += costs

    def synchronise(self):
        self.host = max(self.host, self.busy_until)


class CudaAllocator:
    """What torch.cuda tells of an allocator that rounds up to 512 bytes and takes 2 MiB at once."""

    def __init__(self):
        self.now, self.peak = [0, 0, 0], [0, 0, 0]  # requested, allocated, reserved

    def take(self, n):
        blocks = math.copysign(-(-abs(n) // 512) * 512, n)
        now = [self.now[0] + n, self.now[1] + int(blocks), 0]
        now[2] = max(self.now[2], -(-now[1] // 2**21) * 2**21)
        self.now, self.peak = now, list(map(max, now, self.peak))

    def memory_stats(self):
        names = ("requested_bytes", "allocated_bytes", "reserved_bytes")
        both = {"current": self.now, "peak": self.peak}
        return {f"{names[i]}.all.{w}": n for w, now in both.items() for i, n in enumerate(now)}

    def reset_peak_memory_stats(self):
        self.peak = list(self.now)

    def empty_cache(self):
        self.now[2] = -(-self.now[1] // 2**21) * 2**21


class Driver:
    """The functions of NVIDIA's bindings that are used; `slowed` is in ns, by field."""

    NVML_SUCCESS = 0
    NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP = 74
    NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN = 270

    class NVMLError(Exception):
        pass

    def __init__(self):
        self.slowed = {74: 1_000_000, 270: 2_000_000}
        self.asked, self.energy = [], 5_000  # mJ; or a function, or None

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return 4

    def nvmlDeviceGetUUID(self, index):
        return f"GPU-{'abcd'[index]}"

    def nvmlDeviceGetHandleByIndex(self, index):
        self.asked.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid == "GPU-none":
            raise self.NVMLError("Not Found")
        self.asked.append(uuid)
        return uuid

    def nvmlDeviceGetFieldValues(self, device, fields):
        def reading(field):
            code = self.NVML_SUCCESS if field in self.slowed else 3
            return SimpleNamespace(
                nvmlReturn=code, value=SimpleNamespace(ullVal=self.slowed.get(field, 0))
            )

        return [reading(field) for field in fields]

    def nvmlDeviceGetTotalEnergyConsumption(self, device):
        if self.energy is None:
            raise self.NVMLError("Not Supported")
        return self.energy() if callable(self.energy) else self.energy
