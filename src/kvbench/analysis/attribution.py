"""Where the time per token goes: TPOT = what bytes take + what FLOP take beyond + dispatch + rest.

The first two are floors from the cost model at this machine's own rates: compulsory bytes at its
read bandwidth, and by how much FLOP at the rate of its large products would outlast them. Dispatch
is measured: the same calls on a model one head wide, whose numbers weigh nothing. The rest is what
none of them explains, which a better kernel could win.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.analysis.bounds import step_cost
from kvbench.analysis.table import Table
from kvbench.records.record import Record, apart, measured

PARTS = ("bandwidth_ms", "compute_ms", "dispatch_ms", "rest_ms")
OVERLAP = "rest below 0: the parts overlap in time, or data came from a cache nearer than memory"


def table(records: Sequence[Record]) -> Table:
    """The attribution of the decode cells among `records`, which hold dispatch and roofs too."""
    others, (roofs,) = apart(records, "roofs")
    cells, dispatch = apart(others, "dispatch")
    title = f"Where the time per token of {cells[0]['pretrained']} goes"
    return Table(title, rows(cells, dispatch, roofs), notes(roofs), cells)


def rows(cells: Sequence[Record], dispatch: Sequence[Record], roofs: Record) -> list[Record]:
    """One row per decode cell: its TPOT with its interval, and the four parts that add up to it.

    `dispatch` are the cells of the tiny model at the same depths, `roofs` this machine's rates.
    Dispatch does not depend on the batch, so that one at batch 1 serves all.
    """
    empty = {(c["version"], c["depth"]): c["tpot_ms_median"] for c in measured(dispatch)}
    found = []
    for cell in measured(cells):
        cost, tpot = step_cost(cell, cell["depth"]), cell["tpot_ms_median"]
        bandwidth = cost.bytes / (1e6 * roofs["read_gb_s"])
        compute = max(0.0, cost.flop / (1e6 * roofs["gemm_gflop_s"]) - bandwidth)
        calls = empty.get((cell["version"], cell["depth"]))
        rest = None if calls is None else tpot - bandwidth - compute - calls
        found.append(
            {key: cell[key] for key in ("version", "batch_size", "depth")}
            | {"tpot_ms": tpot}
            | {f"tpot_ms_{end}": cell["tpot_ms_interval"][end] for end in ("low", "high")}
            | dict(zip(PARTS, (bandwidth, compute, calls, rest), strict=True))
            | {"remark": OVERLAP if rest is not None and rest < 0 else None}
            | {"bandwidth_share": bandwidth / tpot}
        )
    return found


def notes(roofs: Record) -> list[str]:
    """What must be read with the rows."""
    return [
        "tpot_ms = bandwidth_ms + compute_ms + dispatch_ms + rest_ms. bandwidth_ms: compulsory "
        f"bytes, shared rows counted once, at the {roofs['read_gb_s']:.3g} GB/s this machine "
        "reads; compute_ms: by how much FLOP at the "
        f"{roofs['gemm_gflop_s']:.3g} GFLOP/s of its large products outlast them; dispatch_ms: "
        "the same calls on a model one head wide, measured at batch 1; rest_ms: unexplained.",
        "bandwidth_share: the part of its time that a step would take if it only moved its bytes.",
    ]
