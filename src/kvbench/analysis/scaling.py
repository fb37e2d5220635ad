"""TPOT as a line: over depth, what each cached token adds; over batch, what each sequence adds.

Over depth from the decode steps of the longest generation of each version (the prefill and the
steps past block_size, where every version recomputes its window, are left out), and from decode
cells; over batch from decode cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from kvbench.analysis.bounds import step_cost
from kvbench.analysis.points import Points, of_generation, of_steps, pace_by_cell
from kvbench.analysis.rounds import APART, UnpairedError, by_place, rounds, side_by_side
from kvbench.analysis.table import Table
from kvbench.records.record import Record, apart, by, measured
from kvbench.stats.lines import BEYOND, BreakEven, Line, break_even, fit_line
from kvbench.stats.paired import t_interval

LEVEL = 0.95
BELOW = "error: slope below what its bytes take"
SAME_SLOPE = "faster, slopes too close to tell where"
FAR = 1024  # cached tokens, over which the modelled slope is taken


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
    return _with_own_baseline(cells, partial(_depth_rows, roofs=roofs))


def batch_rows(cells: Sequence[Record], roofs: Record | None) -> list[Record]:
    """One row per depth and version of decode cells: what a sequence adds, and break-even batch."""
    return _with_own_baseline(cells, partial(_batch_rows, roofs=roofs))


def _with_own_baseline(
    cells: Sequence[Record], rows_of: Callable[[Sequence[Record]], list[Record]]
) -> list[Record]:
    """The rows; of a version measured again alone, from the baseline's processes beside its own."""
    found = rows_of(measured(cells))
    for n, row in enumerate(found):
        if str(row["remark"]).startswith(APART):
            name, places = row["version"], by_place(measured(cells))
            couples = [{cell["version"]: cell for cell in here} for _, here in places]
            both = [side_by_side(c[name], c["v1"]) for c in couples if {name, "v1"} <= set(c)]
            alone = rows_of([cell for couple in both for cell in couple if cell["processes"]])
            same = {"version", "batch_size", "depth", "from"} & set(row)
            fits = [other for other in alone if all(other.get(k) == row[k] for k in same)]
            found[n] = fits[0] if fits else row
    return found


def _depth_rows(whole: Sequence[Record], roofs: Record | None) -> list[Record]:
    found, pace = [], pace_by_cell(whole)
    for batch, here in by([c for c in whole if "T" in c], "batch_size").items():
        longest = {c["version"]: c for c in sorted(here, key=lambda c: c["T"])}
        points = {name: of_generation(longest[name], pace) for name in by(here, "version")}
        found += _fitted(points, {"batch_size": batch, "from": "generation"}, roofs, "depth")
    for batch, here in by([c for c in whole if "depth" in c], "batch_size").items():
        points = {name: of_steps(own, "depth", pace) for name, own in by(here, "version").items()}
        found += _fitted(points, {"batch_size": batch, "from": "decode"}, roofs, "depth")
    return found


def _batch_rows(whole: Sequence[Record], roofs: Record | None) -> list[Record]:
    found, pace = [], pace_by_cell(whole)
    for depth, here in by(whole, "depth").items():
        points = {
            name: of_steps(own, "batch_size", pace) for name, own in by(here, "version").items()
        }
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
        f"up to {limit}, where the data say that it is and the two slopes differ; low, high: what "
        "they allow, an empty high end meaning beyond it. too close to tell: they say neither; "
        "beyond: slower all the way; never: slower, and ever more so.",
        "Times are those of the clock, each brought to the pace of its round by the yardstick "
        "where the verdicts are, so that versions met the same machine; what rounds have apart is "
        "in the intervals. A slope below what its bytes take by more than its error is flagged.",
    ]


def _fitted(
    points: dict[str, Points], about: Record, roofs: Record | None, axis: str
) -> list[Record]:
    """A row per version with two points or more, over the rounds that all of them have.

    A version whose processes ran in no round of v1's (or of the first version's) gets no line.
    """
    points = {name: p for name, p in points.items() if len(p.x) > 1}
    if not points:
        return []
    first = points.get("v1") or next(iter(points.values()))
    shared, lost = {}, {}
    for name, own in points.items():
        try:
            in_round = [rounds(first.cells[0], cell).replicates for cell in own.cells]
            shared[name] = set(own.times).intersection(*in_round)
        except UnpairedError as reason:
            lost[name] = str(reason)
    blocks = sorted(set.intersection(*shared.values())) if shared else []
    lines = {
        name: fit_line(p.x, [p.times[r] for r in blocks], LEVEL, p.lost if len(blocks) > 2 else 0)
        for name, p in points.items()
        if name in shared and blocks
    }
    found = []
    for name, own in points.items():
        cell, crossing = own.cells[-1], None
        row = about | {"version": name} | ({"T": cell.get("T")} if axis == "depth" else {})
        if name not in lines:
            found.append(row | {"remark": lost.get(name, "no round in common with the others")})
            continue
        line = lines[name]
        if "v1" in lines and name != "v1":
            reach = cell["model_config"]["block_size"] if axis == "depth" else max(own.x)
            crossing = with_slopes_apart(line, lines["v1"], break_even(line, lines["v1"], reach))
        row |= _shown(line, axis) | _when(crossing, axis) | _modelled(cell, roofs, axis)
        processes = sum(len(cell["processes"]) for cell in own.cells)
        row["disturbed"] = sum(cell.get("disturbed", 0) for cell in own.cells)
        row["flag"] = _impossible(row, processes)
        found.append(row)
    return found


def _impossible(row: Record, processes: int) -> str | None:
    """A fault of measuring: a slope that is below what the bytes take by more than its error."""
    if row["slope_us_high"] is None or row["slope_us_high"] >= (row["modelled_slope_us"] or 0):
        return None
    return f"{BELOW}, {row['disturbed']} of {processes} processes disturbed"


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


def with_slopes_apart(line: Line, base: Line, found: BreakEven) -> BreakEven:
    """The crossing of two lines; none where the interval of their slopes' difference holds 0.

    A version that is faster from depth 0 on needs no crossing, and keeps its word.
    """
    if not found.depth or line.replicates == 1:
        return found
    apart = np.subtract(line.slopes, base.slopes)
    mean, half = t_interval(apart, line.level, line.lost + base.lost)
    if abs(mean) > half:
        return found
    return replace(found, depth=None, extrapolated=False, reason=SAME_SLOPE)


def _when(found: BreakEven | None, axis: str) -> Record:
    if found is None:
        return {"break_even": None, "break_even_low": None, "break_even_high": None, "remark": None}
    remark = "extrapolated" if found.extrapolated else found.reason
    if remark == BEYOND and axis != "depth":
        remark = "beyond the largest batch measured"
    return {
        "break_even": found.depth,
        "break_even_low": found.low,
        "break_even_high": found.high,
        "remark": remark,
    }
