"""Reading cells for figures and tables: whole records only, and of one kind. Stdlib only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kvbench.store import read_record

SAME = ("device_name", "dtype", "threads", "pytorch_version")  # what one comparison must share


class MixedRecords(ValueError):
    """Cells that cannot stand in one comparison."""


def read_cells(paths: Iterable[str]) -> list[dict[str, Any]]:
    """The records of cells that belong together, in the order given.

    Raises MixedRecords, naming two files that disagree, where device, dtype, threads or library
    differ, or one preset's weights do; IncompleteRecord for a file that is not a whole record.
    """
    seen: dict[tuple[str, str], tuple[Any, str]] = {}
    records = []
    for path in paths:
        record = read_record(path)
        if "error" not in record:
            for key in (*SAME, "weights"):
                scope = record.get("pretrained", "") if key == "weights" else ""
                value, first = seen.setdefault((key, scope), (record.get(key), path))
                if value != record.get(key):
                    raise MixedRecords(
                        f"cells differ in {key}: {first} has {value}, {path} has "
                        f"{record.get(key)}; delete the older one and run again, or name "
                        "another study"
                    )
        records.append(record)
    return records


def by(records: Sequence[dict[str, Any]], *keys: str) -> dict[Any, list[dict[str, Any]]]:
    """Records grouped by one key's value, or a tuple of several, in order of appearance."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for record in records:
        name = tuple(record[key] for key in keys) if len(keys) > 1 else record[keys[0]]
        groups.setdefault(name, []).append(record)
    return groups


def measured(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records that hold a measurement: not out of memory."""
    return [record for record in records if "error" not in record]


def paired_totals(
    a: dict[str, Any], b: dict[str, Any]
) -> tuple[list[list[float]], list[list[float]]]:
    """Whole times (ms) of two latency cells, process by process, of the replicates both have."""
    totals = [
        {p["replicate"]: [run["time_total_ms"] for run in p["runs"]] for p in cell["processes"]}
        for cell in (a, b)
    ]
    both = [replicate for replicate in totals[0] if replicate in totals[1]]
    return [totals[0][r] for r in both], [totals[1][r] for r in both]


def cost_inputs(record: dict[str, Any]) -> dict[str, Any]:
    """What the cost model asks of a cell: shape, owners, dtype, batch, bytes of one cached row.

    `row_bytes` is None where nothing is cached.
    """
    shape, owner = record["model_config"], record["layer_owner"]
    heads = shape.get("n_kv_head", shape["n_head"])
    return {
        "shape": shape,
        "owner": owner,
        "dtype": record["dtype"],
        "batch": record["batch_size"],
        "row_bytes": record["cache_bytes_per_token"] // (2 * len(set(owner)) * heads) or None,
    }


def provenance(records: Sequence[dict[str, Any]]) -> str:
    """One line for the foot of a figure or table: device, dtype, weights, library, settings."""
    whole = measured(records)
    if not whole:
        return "every cell ran out of memory"
    first = whole[0]
    batches = sorted({record["batch_size"] for record in whole})
    disturbed = sum(map(_disturbed, whole))
    parts = [
        f"{first['device_name']} ({first['device']}), {first['threads']} thread"
        + ("s" if first["threads"] > 1 else ""),
        first["dtype"],
        f"weights: {first['weights']}",
        f"batch {', '.join(map(str, batches))}",
        f"{first['execution']}, {first['kernel']} kernels",
        f"torch {first['pytorch_version']}",
    ]
    if disturbed:
        parts.append(f"{disturbed} disturbed sample" + ("s" if disturbed > 1 else ""))
    return " · ".join(parts)


def _disturbed(record: dict[str, Any]) -> int:
    """How many of a record's processes were disturbed."""
    return int(record.get("disturbed", record.get("machine_state", {}).get("disturbed", 0)))
