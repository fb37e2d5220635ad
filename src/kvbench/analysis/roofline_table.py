"""The roofline's table: the row of a cell, in which order it is read, and the notes below."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.analysis.roofline import plausible, point, ratios
from kvbench.records.record import Row


def row(cell: Row) -> Row:
    """FLOP, bytes, time and the rates they make; where a profiler counted, the model's ratio.

    A ratio outside 0.9-1.3 is marked. Shares need the roofs, in `cell["roofs"]`.
    """
    at = point(cell, cell.get("roofs") or {"gemm_gflop_s": 1.0, "read_gb_s": 1.0})
    timed: Row = cell.get("time_ms_interval") or {}
    under: Row = {"roof_percent": 100 * at.share, "bound": at.bound} if cell.get("roofs") else {}
    if under:
        for end, of in (("low", "high"), ("high", "low")) if timed else ():
            ms = timed[of]
            under[f"roof_percent_{end}"] = ms and 100 * at.share * at.time_ms / ms
        under |= {"error": "above its roof"} if at.impossible else {}
        under |= {"bandwidth_percent": 100 * at.gb_s / at.roof_gb_s}
        under |= {"compute_percent": 100 * at.gflop_s / at.roof_gflop_s}
    found: Row = {
        "phase": cell["phase"],
        "P": cell["P"],
        "time_ms": at.time_ms,
        **({f"time_ms_{end}": timed[end] for end in ("low", "high")} if timed else {}),
        "gflop_per_s": at.gflop_s,
        "gb_per_s": at.gb_s,
        "flop_per_byte": at.intensity,
        **under,
        "gflop": at.flop / 1e9,
        "gflop_is": at.flop_is,
        "mb": at.bytes / 1e6,
        "mb_is": at.bytes_is,
        "wall_ms": at.wall_ms,
        "source": cell["source"],
        **{key: cell[key] for key in ("replicates", "disturbed") if key in cell},
    }
    for name, ratio in (ratios(cell) or {}).items():
        found[f"{name}_modelled"] = cell[name]
        found[f"{name}_ratio"] = ratio
        found[f"{name}_doubt"] = "" if plausible(ratio) else "outside 0.9-1.3"
    if at.tensor is not None:
        found["tensor_percent"] = 100 * at.tensor
        packed = cell["counted"].get("core_flop_by", {}).get("fp16")
        found["packed_fp16_gflop"] = None if packed is None else packed / 1e9
    if traffic := cell.get("dram_bytes_measured"):
        found |= {"dram_mb_measured": traffic / 1e6, "dram_ratio": traffic / cell["bytes"]}
    return found


def readable(cell: Row) -> Row:
    """The row with what has an interval first, and what holds the phase: there is room for it."""
    whole = row(cell)
    first = ("phase", "P", "time_ms", "roof_percent", "bound", "error")
    return {key: whole[key] for key in first if key in whole and "processes" in cell} | whole


def notes(cells: Sequence[Row]) -> list[str]:
    """What a reader must know beside the shares."""
    intervals = (cell.get("time_ms_interval") or {} for cell in cells)
    if any(one.get("low") is not None for one in intervals):
        return [
            "Times and shares are medians over processes in rounds of all versions, with 95 % "
            "intervals over processes, by the clock; the roofs are measured once, without an "
            "interval. Whether one version is faster than another is for the verdicts to say."
        ]
    return [
        "Each cell is the median of one process's runs, or one profile: nothing tells the spread "
        "between processes, so that no share has an interval. Whether one version is faster than "
        "another is for the verdicts to say."
    ]
