"""Records on disk: written whole or not at all, and read only when whole. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from kvbench.files import replacing, write_text
from kvbench.records.record import Record

SCHEMA_VERSION = 2
COMPLETE = "complete"  # the last key of every record; a file without it is not a result


class RecordError(ValueError):
    """A file that is not a whole record: truncated, foreign, or of another schema version."""


def write_record(path: str | Path, record: Record) -> None:
    """Write one record as JSON, atomically, ending in the completeness mark.

    Raises ValueError for a value that is not JSON (NaN and infinities included).
    """
    whole = {"schema_version": SCHEMA_VERSION, **record, COMPLETE: True}
    write_text(path, json.dumps(whole, indent=1, allow_nan=False) + "\n")


def read_record(path: str | Path) -> Record:
    """Read one record. Raises RecordError, with the cure, for anything that is not whole."""
    cure = f"delete it and run again: rm '{path}'"
    try:
        record = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not a whole record ({error}); {cure}") from None
    if not isinstance(record, dict) or record.get(COMPLETE) is not True:
        raise RecordError(f"{path} lacks its completeness mark; {cure}")
    if not isinstance(record.get("provenance", {}), dict):
        raise RecordError(f"{path} has a provenance that is no object; {cure}")
    if record.get("schema_version") != SCHEMA_VERSION:
        found = record.get("schema_version")
        raise RecordError(f"{path} has schema version {found}, not {SCHEMA_VERSION}; {cure}")
    return record


def write_lines(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, one at a time, atomically."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, allow_nan=False) + "\n")
        file.flush()
