"""What a timed process writes: its sample, or its cell where no other process is pooled with it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from kvbench.records.store import write_record

# By name: samples do not depend on it, and an edit of it re-runs none.
POOLING = "kvbench.analysis.pool"


def numbered(record: dict[str, Any], wildcards: Mapping[str, str], place: int) -> dict[str, Any]:
    """The record with its number among the cell's processes, and its place in line."""
    return record | {"replicate": int(wildcards.get("replicate", 1)), "place_in_line": place}


def write_timed(path: str | Path, record: dict[str, Any], wildcards: Mapping[str, str]) -> None:
    """Write a stamped record: as it is where its path has a {replicate}, else as a whole cell."""
    if "replicate" not in wildcards.keys():  # noqa: SIM118 - Snakemake's wildcards iterate values
        record = import_module(POOLING).pool([record])
    write_record(path, record)
