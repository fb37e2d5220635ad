"""TPOT as a line: over depth, what each cached token adds; over batch, what each sequence adds.

Over depth from the decode steps of the longest generation of each version (the prefill and the
steps past block_size, where every version recomputes its window, are left out), and from decode
cells; over batch from decode cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from kvbench.analysis.bounds import step_cost
from kvbench.analysis.table import Table
from kvbench.records.record import Record, apart, by, measured
from kvbench.stats.lines import BreakEven, Line, break_even, fit_line

MOST = 64  # depths fitted: Theil and Sen's line takes the slope of every two of them
LEVEL = 0.95
FAR = 1024  # cached tokens, over which the modelled slope is taken


@dataclass(frozen=True)
class Points:
    """One version's times: x (depths or batch sizes), and per process the ms at each x."""

    x: list[int]
    times: dict[int, list[float]]
    cell: Record  # any of the cells, for what they share


def table(records: Sequence[Record], axis: str) -> Table:
    """The table over `depth` or `batch_size` of the cells among `records`; roofs where measured."""
    cells, own = apart(records, "roofs")
    roofs = next(iter(own), None)
    found = rows(cells, roofs) if axis == "depth" else batch_rows(cells, roofs)
    title = f"Time per token against {axis.removesuffix('_size')} of {cells[0]['pretrained']}"
    return Table(title, found, notes(roofs, axis), cells)


def rows(cells: Sequence[Record], roofs: Record | None) -> list[Record]:
    """One row per source, batch size and version: slope, intercept, and break-even depth.

    `roofs` is the record of this machine's bandwidths, which the compulsory bytes are divided by.
    """
    whole = measured(cells)
    found = []
    for batch, here in by([c for c in whole if "T" in c], "batch_size").items():
        longest = {c["version"]: c for c in sorted(here, key=lambda c: c["T"])}
        points = {name: _of_generation(longest[name]) for name in by(here, "version")}
        found += _fitted(points, {"batch_size": batch, "from": "generation"}, roofs, "depth")
    for batch, here in by([c for c in whole if "depth" in c], "batch_size").items():
        points = {name: _of_steps(own, "depth") for name, own in by(here, "version").items()}
        found += _fitted(points, {"batch_size": batch, "from": "decode"}, roofs, "depth")
    return found


def batch_rows(cells: Sequence[Record], roofs: Record | None) -> list[Record]:
    """One row per depth and version of decode cells: what a sequence adds, and break-even batch."""
    found = []
    for depth, here in by(measured(cells), "depth").items():
        points = {name: _of_steps(own, "batch_size") for name, own in by(here, "version").items()}
        found += _fitted(points, {"depth": depth}, roofs, "batch_size")
    return found


def notes(roofs: Record | None, axis: str = "depth") -> list[str]:
    """What must be read with the rows."""
    floor = "modelled: not given, as this study measured no bandwidth (benchmark `roofline`)."
    if roofs is not None:
        floor = (
            f"modelled: compulsory bytes at the {roofs['read_gb_s']:.3g} GB/s this machine reads, "
            "a floor; without a cache FLOP, not bytes, set the time, and none is given."
        )
    x = "depth, the tokens attended to" if axis == "depth" else "batch, the sequences decoded"
    limit = "block_size" if axis == "depth" else "the largest batch measured"
    return [
        f"tpot_ms = intercept_ms + slope_us / 1000 x {x}; low, high: "
        f"{100 * LEVEL:.4g} % intervals over processes; one process has none.",
        floor,
        f"break_even: the {axis.removesuffix('_size')} from which the version is faster than v1, "
        f"up to {limit}; low, high: what the data allow, an empty high end meaning beyond it.",
    ]


def _of_generation(cell: Record) -> Points:
    """At most MOST steps, evenly spread; step i attends to prompt_length + i tokens."""
    last = min(cell["T"] - 1, cell["model_config"]["block_size"] - cell["prompt_length"])
    n = min(last, MOST)
    steps = [1 + round(k * (last - 1) / (n - 1)) for k in range(n)] if n > 1 else []
    times = {
        process["replicate"]: [median(run["step_ms"][i] for run in process["runs"]) for i in steps]
        for process in cell["processes"]
    }
    return Points([cell["prompt_length"] + i for i in steps], times, cell)


def _of_steps(cells: Sequence[Record], axis: str) -> Points:
    """Decode cells along one axis; a step over D cached tokens attends to D + 1."""
    line = sorted(cells, key=lambda cell: cell[axis])
    of = [
        {p["replicate"]: median(run["tpot_ms"] for run in p["runs"]) for p in cell["processes"]}
        for cell in line
    ]
    shared = set.intersection(*map(set, of))
    x = [cell[axis] + (axis == "depth") for cell in line]
    return Points(x, {r: [times[r] for times in of] for r in sorted(shared)}, line[-1])


def _fitted(
    points: dict[str, Points], about: Record, roofs: Record | None, axis: str
) -> list[Record]:
    """A row per version with two points or more, over the processes that all of them have."""
    points = {name: p for name, p in points.items() if len(p.x) > 1}
    blocks = sorted(set.intersection(*(set(p.times) for p in points.values()))) if points else []
    if not blocks:
        return []
    lines = {n: fit_line(p.x, [p.times[r] for r in blocks], LEVEL) for n, p in points.items()}
    found = []
    for name, line in lines.items():
        cell, crossing = points[name].cell, None
        if "v1" in lines and name != "v1":
            reach = cell["model_config"]["block_size"] if axis == "depth" else max(points[name].x)
            crossing = break_even(line, lines["v1"], reach)
        row = about | {"version": name} | ({"T": cell.get("T")} if axis == "depth" else {})
        found.append(row | _shown(line, axis) | _modelled(cell, roofs, axis) | _when(crossing))
    return found


def _shown(line: Line, axis: str) -> Record:
    def us(ms: float | None) -> float | None:
        return None if ms is None else 1000 * ms

    return {
        "depths" if axis == "depth" else "batches": f"{line.depth_min:.0f}-{line.depth_max:.0f}",
        "replicates": line.replicates,
        "slope_us": us(line.slope),
        "slope_us_low": us(line.slope_low),
        "slope_us_high": us(line.slope_high),
        "intercept_ms": line.intercept,
        "intercept_ms_low": line.intercept_low,
        "intercept_ms_high": line.intercept_high,
    }


def _modelled(cell: Record, roofs: Record | None, axis: str) -> Record:
    """The line that compulsory bytes draw, shared rows counted once."""
    if roofs is None or not cell["cache_bytes_per_token"]:
        return {"modelled_slope_us": None, "modelled_intercept_ms": None}
    if axis == "depth":  # rows of one cache may differ: the mean of many
        one, far = (step_cost(cell, cached).bytes for cached in (0, FAR))
        slope = (far - one) / FAR
    else:
        one, two = (step_cost(cell | {axis: batch}, cell["depth"]).bytes for batch in (1, 2))
        slope = two - one
    bytes_per_ms = 1e6 * roofs["read_gb_s"]
    return {
        "modelled_slope_us": 1000 * slope / bytes_per_ms,
        "modelled_intercept_ms": (one - slope) / bytes_per_ms,
    }


def _when(found: BreakEven | None) -> Record:
    if found is None:
        return {"break_even": None, "break_even_low": None, "break_even_high": None, "remark": None}
    remark = "extrapolated" if found.extrapolated else found.reason
    return {
        "break_even": found.depth,
        "break_even_low": found.low,
        "break_even_high": found.high,
        "remark": remark,
    }
