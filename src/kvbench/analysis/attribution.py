"""Where the time per token goes: TPOT = what bytes take + what FLOP take beyond + dispatch + rest.

The first two are floors from the cost model at this machine's own rates: compulsory bytes at its
read bandwidth, and by how much FLOP at the rate of its large products would outlast them. Dispatch
is measured: the same calls on a model one head wide, whose numbers weigh nothing. The rest is what
none of them explains, which a better kernel could win.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, variance

from kvbench.analysis.bounds import step_cost
from kvbench.analysis.table import Table
from kvbench.records.record import Record, apart, measured, times_ms
from kvbench.stats.paired import t_critical

LEVEL = 0.95
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
    empty = {(c["version"], c["depth"]): c for c in measured(dispatch)}
    found = []
    for cell in measured(cells):
        cost, tpot = step_cost(cell, cell["depth"]), cell["tpot_ms_median"]
        bandwidth = cost.bytes / (1e6 * roofs["read_gb_s"])
        compute = max(0.0, cost.flop / (1e6 * roofs["gemm_gflop_s"]) - bandwidth)
        tiny = empty.get((cell["version"], cell["depth"]))
        calls = None if tiny is None else tiny["tpot_ms_median"]
        rest = None if calls is None else tpot - bandwidth - compute - calls
        found.append(
            {key: cell[key] for key in ("version", "batch_size", "depth")}
            | {"tpot_ms": tpot}
            | _ends("tpot_ms", *(cell["tpot_ms_interval"][end] for end in ("low", "high")))
            | dict(zip(PARTS, (bandwidth, compute, calls, rest), strict=True))
            | _ends("rest_ms", *_around(rest, cell, tiny))
            | {"remark": OVERLAP if rest is not None and rest < 0 else None}
            | {"bandwidth_share": bandwidth / tpot}
            | _ends("bandwidth_share", *_share(bandwidth, cell["tpot_ms_interval"]))
        )
    return found


def _ends(name: str, low: float | None, high: float | None) -> Record:
    return {f"{name}_low": low, f"{name}_high": high}


def _share(bandwidth: float, tpot: Record) -> tuple[float | None, float | None]:
    """The interval of a share of the time, by that of the time."""
    low, high = (None if tpot[end] is None else bandwidth / tpot[end] for end in ("high", "low"))
    return low, high


def _around(
    rest: float | None, cell: Record, tiny: Record | None
) -> tuple[float | None, float | None]:
    """The interval of the rest: a difference of two independent sets of processes.

    Student's t with the degrees of freedom of Welch (1947) and Satterthwaite. The floors have no
    error here: that of the roofs is common to all rows. None where a cell has one process.
    """
    if rest is None or tiny is None:
        return None, None
    sides = [[median(runs) for runs in times_ms(record).values()] for record in (cell, tiny)]
    if min(map(len, sides)) < 2:
        return None, None
    errors = [variance(side) / len(side) for side in sides]
    total = sum(errors)
    if total == 0:
        return rest, rest
    freedom = total**2 / sum(
        error**2 / (len(side) - 1) for error, side in zip(errors, sides, strict=True)
    )
    half = t_critical(LEVEL, freedom) * total**0.5
    return rest - half, rest + half


def notes(roofs: Record) -> list[str]:
    """What must be read with the rows."""
    return [
        "tpot_ms = bandwidth_ms + compute_ms + dispatch_ms + rest_ms. bandwidth_ms: compulsory "
        f"bytes, shared rows counted once, at the {roofs['read_gb_s']:.3g} GB/s this machine "
        "reads; compute_ms: by how much FLOP at the "
        f"{roofs['gemm_gflop_s']:.3g} GFLOP/s of its large products outlast them; dispatch_ms: "
        "the same calls on a model one head wide, measured at batch 1; rest_ms: unexplained.",
        "bandwidth_share: the part of its time that a step would take if it only moved its bytes.",
        f"low, high: {100 * LEVEL:.3g} % intervals over processes, the roofs taken as they are; "
        "one process has none.",
    ]
