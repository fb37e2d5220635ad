"""Reading cells for figures and tables: whole records only, and of one kind. Stdlib only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kvbench.costs.forward import Cost, forward, kv_heads
from kvbench.costs.layout import Layout, equal_rows
from kvbench.records.byte_sums import check_bytes
from kvbench.records.gather import gathered
from kvbench.records.provenance import PARTS

Record = dict[str, Any]
SAME = ("device_name", "dtype", "threads", "pytorch_version")  # what one comparison must share


class MixedRecords(ValueError):
    """Cells that cannot stand in one comparison."""


def read_cells(paths: Iterable[str], replicates: bool = False) -> list[dict[str, Any]]:
    """The records of cells that belong together, in the order given, from their files or gathered.

    Raises MixedRecords, naming two files that disagree, where device, dtype, threads or library
    differ, or one preset's weights do, by name or by digest; for `replicates`, samples of one cell,
    where any part of their provenance differs. BytesDoNotAddUp for a memory record whose parts are
    not its whole, IncompleteRecord for a file that is no whole record.
    """
    seen: dict[tuple[str, str], tuple[Any, str]] = {}
    records = []
    for path, record in each_cell(paths):
        for key, scope, value in _identity(record, replicates):
            known, first = seen.setdefault((key, scope), (value, path))
            if known != value:
                raise MixedRecords(
                    f"cells differ in {key}: {first} has {known}, {path} has {value}; delete the "
                    "older one and run again, or name another study"
                )
        records.append(record)
    return records


def each_cell(paths: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every record of the files, gathered ones too, beside the path of its cell, one at a time.

    Raises BytesDoNotAddUp and IncompleteRecord, as `read_cells`.
    """
    for path in paths:
        for cell, record in gathered(path):
            check_bytes(record, cell)
            yield cell, record


def _identity(record: dict[str, Any], replicates: bool) -> Iterator[tuple[str, str, Any]]:
    """(key, scope, value) of all that must agree among records that share the scope."""
    if "error" in record:
        return
    origin, preset = record.get("provenance", {}), record.get("pretrained", "")
    if record.get("benchmark_name") == "dispatch":
        preset += ", one head wide"  # random numbers, whatever the preset's weights are
    yield from ((key, "", record.get(key)) for key in SAME)
    yield "weights", preset, record.get("weights")
    if origin.get("weights"):  # roofs have none, nor have random numbers drawn in the process
        fitted = record.get("weights_variant")
        of = f" {fitted} {record['layer_owner']}" if fitted else ""  # a file of their own
        yield "provenance.weights", f"{preset} {record['weights']}{of}", origin["weights"]
    if replicates:
        yield from ((f"provenance.{part}", "", origin.get(part)) for part in PARTS)


def by(records: Sequence[dict[str, Any]], *keys: str) -> dict[Any, list[dict[str, Any]]]:
    """Records grouped by one key's value, or a tuple of several, in order of appearance."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for record in records:
        name = tuple(record[key] for key in keys) if len(keys) > 1 else record[keys[0]]
        groups.setdefault(name, []).append(record)
    return groups


def apart(records: Sequence[Record], benchmark: str) -> tuple[list[Record], list[Record]]:
    """The records of every other benchmark, and those of this one."""
    its = [record for record in records if record.get("benchmark_name") == benchmark]
    return [r for r in records if r.get("benchmark_name") != benchmark], its


def measured(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records that hold a measurement: not out of memory."""
    return [record for record in records if "error" not in record]


def timing_key(record: dict[str, Any]) -> str:
    """The time of a run that a cell is judged by: of the whole generation, or of one step."""
    return "time_total_ms" if "T" in record else "tpot_ms"


def paired_times(
    a: dict[str, Any], b: dict[str, Any]
) -> tuple[list[list[float]], list[list[float]]]:
    """Times (ms) of two cells' runs, process by process, of the replicates both have."""
    times = [
        {p["replicate"]: [run[timing_key(cell)] for run in p["runs"]] for p in cell["processes"]}
        for cell in (a, b)
    ]
    both = [replicate for replicate in times[0] if replicate in times[1]]
    return [times[0][r] for r in both], [times[1][r] for r in both]


def cost_inputs(record: dict[str, Any]) -> dict[str, Any]:
    """What the cost model asks of a cell: shape, owners, dtype, batch, what its cache keeps.

    `row_bytes` is None where nothing is cached.
    """
    shape, owner = record["model_config"], record["layer_owner"]
    kept = equal_rows(record["cache_bytes_per_token"] // (2 * kv_heads(shape, owner, 1)))
    if "cache_layout" in record:  # older records say bytes per token only: their rows are all equal
        kept = Layout(**record["cache_layout"])
    return {
        "shape": shape,
        "owner": owner,
        "dtype": record["dtype"],
        "batch": record["batch_size"],
        "row_bytes": kept if kept.row else None,
    }


def step_cost(record: dict[str, Any], depth: int, reread: bool = False) -> Cost:
    """The lower bounds of one step over `depth` cached tokens; without a cache, of all anew."""
    inputs = cost_inputs(record)
    cached = depth if inputs["row_bytes"] else 0
    return forward(**inputs, depth=cached, T=depth + 1 - cached, reread=reread)
