"""Lower bounds of what a cell's record measured: its inputs to the cost model. No torch here."""

from __future__ import annotations

from kvbench.costs.forward import Cost, forward, generation, kv_heads
from kvbench.costs.layout import Layout, equal_rows
from kvbench.records.record import Record


def cost_inputs(record: Record) -> Record:
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


def step_cost(record: Record, depth: int) -> Cost:
    """The lower bounds of one step over `depth` cached tokens; without a cache, of all anew."""
    inputs = cost_inputs(record)
    cached = depth if inputs["row_bytes"] else 0
    return forward(**inputs, depth=cached, T=depth + 1 - cached, reread=False)


def cell_costs(cell: Record) -> dict[str, Cost]:
    """The strict lower bounds of one cell's prefill and decode, or of its one step."""
    if "depth" in cell:
        return {"decode": step_cost(cell, cell["depth"])}
    return generation(**cost_inputs(cell), prompt=cell["prompt_length"], T=cell["T"], reread=False)
