"""The foot of a figure or table: on which machine, and under which settings."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.records.record import Record, measured


def footer(records: Sequence[Record]) -> str:
    """One line: device, dtype, weights, batch, library, and how all cells ran where they agree."""
    cells = measured(records)
    if not cells:
        return f"every cell: {', '.join(sorted({record['error'] for record in records}))}"
    first = cells[0]
    batches = sorted({cell["batch_size"] for cell in cells})
    ways = {f"{cell['execution']}, {cell['kernel']} kernels" for cell in cells}
    disturbed = sum(map(disturbed_samples, cells))
    parts = [
        f"{first['device_name']} ({first['device']}), {first['threads']} thread"
        + ("s" if first["threads"] > 1 else ""),
        first["dtype"],
        f"weights: {first['weights']}",
        f"batch {', '.join(map(str, batches))}",
        *(ways if len(ways) == 1 else ()),
        f"torch {first['pytorch_version']}",
    ]
    if disturbed:
        parts.append(f"{disturbed} disturbed sample" + ("s" if disturbed > 1 else ""))
    return " · ".join(parts)


def disturbed_samples(record: Record) -> int:
    """How many of a cell's processes the machine disturbed."""
    return int(record.get("disturbed", record.get("machine_state", {}).get("disturbed", 0)))
