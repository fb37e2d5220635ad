"""What NVIDIA's driver says of the GPUs, by its own bindings, nvidia-ml-py. No torch here.

Its counters only grow, so that two readings say what happened in between.
"""

from __future__ import annotations

import os
from typing import Any

# Nanoseconds that the clocks were held below what was asked for: power, heat, the power supply.
SLOWED = (
    "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP",
    "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
    "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
    "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
)


class CounterError(Exception):
    """A counter that this machine does not tell, and why, in one line."""


def uuids() -> list[str]:
    """The UUID of every GPU, in the order of nvidia-smi. Raises CounterError."""
    nvml = _bindings()
    try:
        handles = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
        return [nvml.nvmlDeviceGetUUID(handle) for handle in handles]
    except nvml.NVMLError as error:
        raise CounterError(f"NVML does not list the GPUs: {error}") from None


def clocks() -> dict[str, str]:
    """Driver version, and present and largest clocks of this process's GPU. Raises CounterError."""
    nvml, device = _device()
    try:
        found = {"driver_version": str(nvml.nvmlSystemGetDriverVersion())}
        for name, kind in (("sm", nvml.NVML_CLOCK_SM), ("mem", nvml.NVML_CLOCK_MEM)):
            found[f"clocks.{name}"] = f"{nvml.nvmlDeviceGetClockInfo(device, kind)} MHz"
            found[f"clocks.max.{name}"] = f"{nvml.nvmlDeviceGetMaxClockInfo(device, kind)} MHz"
    except nvml.NVMLError as error:
        raise CounterError(f"NVML tells no clocks of this GPU: {error}") from None
    return found


def energy_mj() -> int:
    """Millijoules that the GPU's board took since its driver was loaded. Raises CounterError."""
    nvml, device = _device()
    try:
        return int(nvml.nvmlDeviceGetTotalEnergyConsumption(device))
    except nvml.NVMLError as error:  # older than Volta, or a virtual GPU
        raise CounterError(f"NVML tells no total energy of this GPU: {error}") from None


def slowed_us() -> int:
    """Microseconds that the GPU ran below its clock since then, by reason, added up.

    Raises CounterError where the driver counts none of them.
    """
    nvml, device = _device()
    fields = [getattr(nvml, name) for name in SLOWED if hasattr(nvml, name)]
    try:
        values = nvml.nvmlDeviceGetFieldValues(device, fields)
    except nvml.NVMLError as error:
        raise CounterError(f"NVML tells no slow-downs of this GPU: {error}") from None
    known: list[int] = [
        field.value.ullVal for field in values if field.nvmlReturn == nvml.NVML_SUCCESS
    ]
    if not known:
        raise CounterError("NVML counts no slow-downs of this GPU")
    return sum(known) // 1000


def _bindings() -> Any:
    try:
        import pynvml as nvml
    except ImportError:
        raise CounterError("nvidia-ml-py is not installed") from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:  # no driver
        raise CounterError(f"NVML cannot be started: {error}") from None
    return nvml


def _device() -> tuple[Any, Any]:
    """The bindings, and the GPU that this process sees first."""
    nvml = _bindings()
    name = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    try:
        if name.isdigit():
            return nvml, nvml.nvmlDeviceGetHandleByIndex(int(name))
        return nvml, nvml.nvmlDeviceGetHandleByUUID(name)
    except nvml.NVMLError as error:  # no such GPU
        raise CounterError(f"NVML cannot be asked about GPU {name}: {error}") from None
