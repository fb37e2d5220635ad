"""One record against the types of records; without the registry, on which no reader depends."""

from __future__ import annotations

from typing import Any

import msgspec

from kvbench.records.benchmark_types import TYPES
from kvbench.records.record import timing_key
from kvbench.records.timed_types import Pooled, Roofline
from kvbench.records.types import Failed, Measured, Record


class SchemaError(ValueError):
    """A line that is of no record's type: which, where in it, and why."""


def check_record(record: Any, name: str) -> Record:
    """The record by its type. Raises SchemaError, naming it as `name` does, where it is of none."""
    try:
        found = msgspec.convert(record, type_of(record))
    except msgspec.ValidationError as error:
        why, _, where = str(error).partition(" - at `$.")
        where = where.rstrip("`") or "record"
        raise SchemaError(
            f"{name}, {where}: {why[:200]}; docs/records.md says what is allowed"
        ) from None
    processes = record.get("processes", []) if isinstance(found, Pooled | Roofline) else []
    for key in (timing_key(record), "wall_ms" if "P" in record else "step_ms"):
        if any(key not in run for process in processes for run in process["runs"]):
            raise SchemaError(f"{name}, processes: a run has no {key!r}")
    return found


def type_of(record: Any) -> type[Record]:
    """The type that a line's object has to be of."""
    if not isinstance(record, dict) or "error" in record:
        return Failed
    return TYPES.get(str(record.get("benchmark_name")), Measured)
