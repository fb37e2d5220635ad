"""TPOT against depth: what a token costs at an empty cache, what each cached token adds to it.

From the decode steps of the longest generation of each version; the prefill and the steps past
block_size, where every version recomputes its window, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from kvbench.costs import forward
from kvbench.records import by, cost_inputs, measured
from kvbench.stats.lines import BreakEven, Line, break_even, fit_line

Record = dict[str, Any]
MOST = 64  # depths fitted: Theil and Sen's line takes the slope of every two of them
LEVEL = 0.95


def rows(cells: Sequence[Record], roofs: Record | None) -> list[Record]:
    """One row per batch size and version: slope and intercept with intervals, and break-even.

    `roofs` is the record of this machine's bandwidths, which the compulsory bytes are divided by.
    """
    found = []
    for batch, here in by(measured(cells), "batch_size").items():
        longest = {c["version"]: c for c in sorted(here, key=lambda c: c["T"])}
        names = [name for name in by(here, "version") if len(_depths(longest[name])) > 1]
        common = [{p["replicate"] for p in longest[name]["processes"]} for name in names]
        blocks = sorted(set.intersection(*common)) if common else []
        lines = {name: _fit(longest[name], blocks) for name in names} if blocks else {}
        for name, line in lines.items():
            about = {"batch_size": batch, "version": name, "T": longest[name]["T"]}
            crossing = None
            if "v1" in lines and name != "v1":
                context = longest[name]["model_config"]["block_size"]
                crossing = break_even(line, lines["v1"], context)
            found.append(about | _shown(line) | _modelled(longest[name], roofs) | _when(crossing))
    return found


def notes(roofs: Record | None) -> list[str]:
    """What must be read with the rows."""
    floor = "modelled: not given, as this study measured no bandwidth (benchmark `roofline`)."
    if roofs is not None:
        floor = (
            f"modelled: compulsory bytes at the {roofs['read_gb_s']:.3g} GB/s this machine reads, "
            "a floor; without a cache FLOP, not bytes, set the time, and none is given."
        )
    return [
        "tpot_ms = intercept_ms + slope_us / 1000 x depth, the tokens attended to; low, high: "
        f"{100 * LEVEL:.4g} % intervals over processes; one process has none.",
        floor,
        "break_even: the depth from which the version is faster than v1, up to block_size; "
        "low, high: what the data allow, an empty high end meaning beyond block_size.",
    ]


def _depths(cell: Record) -> list[int]:
    """Steps fitted, at most MOST, evenly spread; step i attends to prompt_length + i tokens."""
    last = min(cell["T"] - 1, cell["model_config"]["block_size"] - cell["prompt_length"])
    n = min(last, MOST)
    return [1 + round(k * (last - 1) / (n - 1)) for k in range(n)] if n > 1 else []


def _fit(cell: Record, blocks: Sequence[int]) -> Line:
    steps = _depths(cell)
    of = {process["replicate"]: process["runs"] for process in cell["processes"]}
    times = [[median(run["step_ms"][i] for run in of[r]) for i in steps] for r in blocks]
    return fit_line([cell["prompt_length"] + i for i in steps], times, LEVEL)


def _shown(line: Line) -> Record:
    def us(ms: float | None) -> float | None:
        return None if ms is None else 1000 * ms

    return {
        "depths": f"{line.depth_min:.0f}-{line.depth_max:.0f}",
        "replicates": line.replicates,
        "slope_us": us(line.slope),
        "slope_us_low": us(line.slope_low),
        "slope_us_high": us(line.slope_high),
        "intercept_ms": line.intercept,
        "intercept_ms_low": line.intercept_low,
        "intercept_ms_high": line.intercept_high,
    }


def _modelled(cell: Record, roofs: Record | None) -> Record:
    """The line that compulsory bytes draw, shared rows counted once."""
    told = cost_inputs(cell)
    if roofs is None or told["row_bytes"] is None:
        return {"modelled_slope_us": None, "modelled_intercept_ms": None}
    one, two = (forward(**told, depth=cached, T=1, reread=False).bytes for cached in (0, 1))
    slope, intercept = two - one, 2 * one - two  # a step that attends to one token cached none
    bytes_per_ms = 1e6 * roofs["read_gb_s"]
    return {
        "modelled_slope_us": 1000 * slope / bytes_per_ms,
        "modelled_intercept_ms": intercept / bytes_per_ms,
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
