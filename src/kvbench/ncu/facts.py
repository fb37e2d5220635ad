"""What a profile ran with: ncu's version, its passes, the driver, the clocks. Stdlib only."""

import csv
import re
from collections.abc import Iterable

from kvbench.job import nvml

_VERSION = re.compile(r"Version (\d[\w.]*)")
_PASSES = "profiler__replayer_passes"


def version(said: str) -> str | None:
    """The version in what `ncu --version` says."""
    found = _VERSION.search(said)
    return found[1] if found else None


def passes(raw_page: Iterable[str]) -> int | None:
    """The most passes that any launch was run for its counters, from the lines of a raw page."""
    most, at = None, None
    for row in csv.reader(raw_page):
        if _PASSES in row:
            at = row.index(_PASSES)
        elif at is not None and len(row) > at and row[at].isdigit():
            most = max(most or 0, int(row[at]))
    return most


def clocks() -> dict[str, str] | None:
    """Driver version and clocks as the driver says; read, never set. None without a driver."""
    try:
        return nvml.clocks()
    except nvml.CounterError:
        return None
