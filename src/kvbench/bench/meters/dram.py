"""DRAM traffic of the whole machine from `perf`, where memory controllers have counters.

Most virtual machines hide them, and most systems ask for root: then there is no counter, and bytes
stay modelled. Other processes' traffic counts too, so this is for an idle machine.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEVICES = Path("/sys/bus/event_source/devices")
# Memory controllers of Intel (servers, then clients) and of AMD (Zen 4 and newer): their units, and
# the events that count a line of 64 bytes each.
EVENTS = (
    (r"uncore_imc(_\d+)?", ("cas_count_read", "cas_count_write")),
    (r"uncore_imc_free_running(_\d+)?", ("data_read", "data_write")),
    (r"amd_umc(_\d+)?", ("umc_cas_cmd.rd", "umc_cas_cmd.wr")),
)
LINE_BYTES = 64
_MIB = {"MiB": 1 << 20, "": LINE_BYTES}  # perf scales events that declare a unit
STARTS_S = 0.3


def events(devices: Path = DEVICES) -> list[str]:
    """perf's names of the events that count all DRAM traffic here; none where there are not any."""
    for unit, names in EVENTS:
        found = [
            f"{folder.name}/{name}/"
            for folder in sorted(devices.glob("*"))
            if re.fullmatch(unit, folder.name)
            for name in names
            if (folder / "events" / name).exists()
        ]
        if found:
            return found
    return []


def usable(devices: Path = DEVICES) -> bool:
    """Whether perf is there, the events are, and this user may read them."""
    asked = events(devices)
    if not asked or not shutil.which("perf"):
        return False
    tried = subprocess.run(_command(asked, "true"), capture_output=True, text=True, check=False)
    return tried.returncode == 0 and _bytes(tried.stderr) is not None


@contextmanager
def counting(devices: Path = DEVICES) -> Iterator[list[int]]:
    """Bytes that went over the memory bus while the block ran: one number in the list after it."""
    traffic: list[int] = []
    perf = subprocess.Popen(
        _command(events(devices), "sleep", "86400"), stderr=subprocess.PIPE, text=True
    )
    try:
        time.sleep(STARTS_S)
        yield traffic
    finally:
        perf.send_signal(signal.SIGINT)
        said = perf.communicate()[1]
    counted = _bytes(said)
    traffic += [] if counted is None else [counted]


def _command(asked: list[str], *program: str) -> list[str]:
    return ["perf", "stat", "-a", "-x", ";", "-e", ",".join(asked), "--", *program]


def _bytes(said: str) -> int | None:
    """The sum of perf's lines `value;unit;event;...`; None where one has no value."""
    total, lines = 0.0, [line.split(";") for line in said.splitlines() if line.count(";") > 2]
    for value, unit, *_ in lines:
        try:
            total += float(value) * _MIB[unit]
        except (ValueError, KeyError):  # <not supported>, <not counted>
            return None
    return round(total) if lines else None
