"""Devices handed out to measuring jobs, one job at a time on each. Standard library only.

Snakemake keeps its own jobs apart; a kernel lock per device keeps every other measuring process of
this machine away as well, and goes with its process, however that ends. A CUDA device is taken
before torch is imported: the process then sees that device alone, as its first.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TypedDict

from kvbench.files import Json
from kvbench.job import nvml
from kvbench.job.log import tell

VISIBLE = "CUDA_VISIBLE_DEVICES"
HOLD = "KVBENCH_HELD_DEVICE"  # tells this process's children (a profiler's program) what it holds
POLL_S = 0.1
PID_WIDTH = 20  # of a process id in a lock file, so that one overwrites another


class Choice(TypedDict):
    """What a configuration says of devices."""

    device: str  # auto, cpu or cuda
    devices: list[int]  # CUDA devices, by index


class DeviceError(RuntimeError):
    """A device that cannot be had, in one line."""


@dataclass(frozen=True)
class Held:
    """A device this process has to itself."""

    kind: str  # cpu or cuda
    name: str  # cpu, or what CUDA_VISIBLE_DEVICES calls it: a UUID where the driver tells
    index: int | None  # of a CUDA device, among those that the study may use
    waited_s: float

    def facts(self) -> Json:
        """For the record's machine_state: which device measured this, and the wait for it."""
        index = {} if self.index is None else {"device_index": self.index}
        return {"device_id": self.name, **index, "lock_wait_s": self.waited_s}


def has_cuda_driver() -> bool:
    """Whether an NVIDIA driver is loaded, without importing torch."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def on_cuda(device: str) -> bool:
    """Whether `auto|cpu|cuda` means CUDA on this machine, judged without torch."""
    return device == "cuda" or (device == "auto" and has_cuda_driver())


def visible() -> list[str] | None:
    """The CUDA devices this process may use, by UUID where known; None where nothing tells.

    Indices are those that nvidia-smi prints. Under CUDA_VISIBLE_DEVICES (a scheduler's allotment),
    they count what is listed there.
    """
    try:
        uuids = nvml.uuids()
    except nvml.CounterError:
        uuids = []
    allotted = os.environ.get(VISIBLE)
    if allotted is None:
        return uuids or None
    entries = [entry.strip() for entry in allotted.split(",") if entry.strip()]
    known = {str(index): uuid for index, uuid in enumerate(uuids)}
    return [known.get(entry, entry) for entry in entries]


def names(indices: Sequence[int]) -> list[str]:
    """What the CUDA devices of these indices are called. Raises DeviceError for one too many."""
    seen = visible()
    if seen is None:
        return [str(index) for index in indices]
    if beyond := [index for index in indices if index >= len(seen)]:
        raise DeviceError(f"devices names {beyond[0]}, but there are {len(seen)} CUDA devices here")
    return [seen[index] for index in indices]


def lock_path(name: str) -> Path:
    """The lock file of one device of this machine, this user's own."""
    plain = re.sub(r"[^\w.-]", "_", name)
    return Path(tempfile.gettempdir()) / f"kvbench-{os.getuid()}-{plain}.lock"


def _open_lock(name: str) -> IO[str]:
    """The lock file, made if it is not there; what else may lie in its place is left alone.

    Raises DeviceError for a link, a folder, a file of another user or one that is no lock.
    """
    path = lock_path(name)
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
    except OSError as error:
        raise DeviceError(
            f"{path} cannot be opened as a lock ({error.strerror}): remove it, or set TMPDIR"
        ) from None
    found = os.fstat(file.fileno())
    own = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.getuid()
    if not own or not re.fullmatch(r"(\d+\s*)?", file.read(PID_WIDTH + 2)):
        file.close()
        raise DeviceError(f"{path} is no lock of this user's: remove it, or set TMPDIR")
    return file


@contextmanager
def one_device(config: Choice, timed: bool = True) -> Iterator[Held]:
    """Take one of the study's `devices`, whichever is free first, and show this process no other.

    To be called before torch is imported: torch and what it loads may look at the devices only
    once. Jobs that time nothing share the CPU with each other. Raises DeviceError.
    """
    among = config["devices"]
    if not on_cuda(config["device"]):
        with _locked("cpu", ["cpu"], [None], shared=not timed) as held:
            yield held
        return
    if "torch" in sys.modules:
        raise DeviceError("a device is handed out before torch is imported, not after")
    with _locked("cuda", names(among), among) as held:
        os.environ[VISIBLE] = held.name
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # an index means what nvidia-smi prints
        yield held


@contextmanager
def device_lock(kind: str, shared: bool = False) -> Iterator[Held]:
    """Hold `cpu` or `cuda`: what `one_device` took in this process or its parent, else device 0."""
    held = json.loads(os.environ.get(HOLD, "{}"))
    if held.get("kind") == kind:
        yield Held(**held)
    elif kind == "cpu":
        with _locked("cpu", ["cpu"], [None], shared) as held:
            yield held
    else:
        with _locked("cuda", names([0]), [0]) as held:
            yield held


@contextmanager
def _locked(
    kind: str, called: Sequence[str], indices: Sequence[int | None], shared: bool = False
) -> Iterator[Held]:
    """Hold the lock of the first of these devices that is free, waiting as long as none is."""
    before, began = os.environ.pop(HOLD, None), time.monotonic()
    place, file = _first_free(called, shared)
    with file:
        held = Held(kind, called[place], indices[place], time.monotonic() - began)
        os.environ[HOLD] = json.dumps(asdict(held))
        try:
            yield held
        finally:
            del os.environ[HOLD]
            if before is not None:
                os.environ[HOLD] = before


def _first_free(called: Sequence[str], shared: bool) -> tuple[int, IO[str]]:
    """The place of the first device whose lock could be taken, and its lock file, held."""
    announced = False
    while True:
        for place, name in enumerate(called):
            file = _open_lock(name)
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                continue
            file.seek(0)
            file.write(f"{os.getpid():<{PID_WIDTH}}\n")
            file.flush()
            return place, file
        if not announced:
            tell(f"waiting for {' or '.join(called)}: process {holder} measures on it")
            announced = True
        time.sleep(POLL_S)
