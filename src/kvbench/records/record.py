"""What a record is, and the views of it that analyses and reports share. Standard library only.

A record is the JSON object that a measuring job writes, of a type of `records.types`; a cell of
several processes keeps them in `processes`, each with its `runs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Any

Record = dict[str, Any]
Row = dict[str, Any]  # of a table: column -> value

TIMED = ("latency_vs_T", "decode")  # whose cells are compared by their processes' times
SETTING = ("device_name", "dtype", "threads")  # what records of one comparison share
# What a record that is worked out from cells repeats of them.
SHARED = ("pretrained", "device", *SETTING, "pytorch_version", "weights")


def is_error(record: Record) -> bool:
    """Whether there is no measurement in it: out of memory, or not measured."""
    return "error" in record


def measured(records: Sequence[Record]) -> list[Record]:
    """The records that hold a measurement."""
    return [record for record in records if not is_error(record)]


def timing_key(record: Record) -> str:
    """The time of a run that a cell is judged by: of a generation, a roofline's phase, a step."""
    if "P" in record:
        return "device_ms"
    return "time_total_ms" if "T" in record else "tpot_ms"


def times_ms(record: Record) -> dict[int, list[float]]:
    """That time of every run, by process."""
    key = timing_key(record)
    return {p["replicate"]: [run[key] for run in p["runs"]] for p in record["processes"]}


def readings_ms(process: Record) -> list[float] | None:
    """The yardstick's reading beside each run of a process; None where none was taken.

    A run without readings of its own has the geometric mean of those before and after it.
    """
    readings = process.get("yardstick_ms")
    if readings is None or len(readings) == len(process["runs"]):
        return readings
    return [sqrt(before * after) for before, after in pairwise(readings)]


def by(records: Sequence[Record], *keys: str) -> dict[Any, list[Record]]:
    """Records grouped by one key's value, or a tuple of several, in order of appearance."""
    groups: dict[Any, list[Record]] = {}
    for record in records:
        name = tuple(record[key] for key in keys) if len(keys) > 1 else record[keys[0]]
        groups.setdefault(name, []).append(record)
    return groups


def apart(records: Sequence[Record], benchmark: str) -> tuple[list[Record], list[Record]]:
    """The records of every other benchmark, and those of this one."""
    own = [record for record in records if record.get("benchmark_name") == benchmark]
    return [r for r in records if r.get("benchmark_name") != benchmark], own
