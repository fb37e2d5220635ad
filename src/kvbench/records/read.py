"""Reading cells for figures and tables: whole records only, and of one kind. Stdlib only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kvbench.records.byte_sums import check_bytes
from kvbench.records.gather import gathered
from kvbench.records.provenance import PARTS
from kvbench.records.record import SETTING, Record, is_error

SAME = (*SETTING, "pytorch_version")


class MixedRecordsError(ValueError):
    """Cells that cannot stand in one comparison."""


def read_cells(paths: Iterable[str], replicates: bool = False) -> list[Record]:
    """The records of cells that belong together, in the order given, from their files or gathered.

    Raises MixedRecordsError, naming two files that disagree, where device, dtype, threads or
    library differ, or one preset's weights do, by name or by digest; for `replicates`, samples of
    one cell, where any part of their provenance differs. ByteSumError for a memory record whose
    parts are not its whole, RecordError for a file that is no whole record.
    """
    seen: dict[tuple[str, str], tuple[Any, str]] = {}
    records = []
    for path, record in each_cell(paths):
        for key, scope, value in _identity(record, replicates):
            known, first = seen.setdefault((key, scope), (value, path))
            if known != value:
                raise MixedRecordsError(
                    f"cells differ in {key}: {first} has {known}, {path} has {value}; delete the "
                    "older one and run again, or name another study"
                )
        records.append(record)
    return records


def each_cell(paths: Iterable[str]) -> Iterator[tuple[str, Record]]:
    """Every record of the files, gathered ones too, beside the path of its cell, one at a time.

    Raises ByteSumError and RecordError, as `read_cells`.
    """
    for path in paths:
        for cell, record in gathered(path):
            check_bytes(record, cell)
            yield cell, record


def _identity(record: Record, replicates: bool) -> Iterator[tuple[str, str, Any]]:
    """(key, scope, value) of all that must agree among records that share the scope."""
    if is_error(record):
        return
    origin, preset = record.get("provenance", {}), record.get("pretrained", "")
    if record.get("benchmark_name") == "dispatch":
        preset += ", one head wide"  # random numbers, whatever the preset's weights are
    yield from ((key, "", record.get(key)) for key in SAME)
    yield "weights", preset, record.get("weights")
    if origin.get("weights"):  # roofs have none, nor have random numbers drawn in the process
        fitted = record.get("weights_variant")
        of = f" {fitted} {record.get('layer_owner')}" if fitted else ""  # a file of their own
        yield "provenance.weights", f"{preset} {record.get('weights')}{of}", origin["weights"]
    if replicates:
        yield from ((f"provenance.{part}", "", origin.get(part)) for part in PARTS)
