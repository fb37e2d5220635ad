"""The roofline's arithmetic: where a cell lies under the roofs and what holds it. Stdlib only.

Williams, Waterman and Patterson, CACM 52(4), 2009. FLOP and bytes are a profiler's where the record
has `counted`, and modelled (`kvbench.costs.forward`) otherwise. G is 1e9, never 2^30.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kvbench.cell import FLAGS
from kvbench.records.record import Record

COUNTED, MODELLED = "counted", "modelled"  # by the device; by the cost model
PLAUSIBLE = (0.9, 1.3)  # counted over modelled; outside, one of the two is wrong or worth a look
WAITING = 1.5  # wall over kernel time from which a phase waits for something else than its kernels
# Share of its roof above which a point is an error: of the roof, bytes or FLOP. Where its time has
# an interval over processes, all of that lies above.
SLACK = 1.05
IDLE = 0.1  # share of both roofs below which neither explains the time


@dataclass(frozen=True)
class Point:
    """One cell under the roofs: FLOP, bytes and ms, and what they make of each other."""

    flop: float
    bytes: float
    time_ms: float
    wall_ms: float
    counted: bool  # bytes and FLOP are counters of the device, not the cost model
    roof_gflop_s: float
    roof_gb_s: float
    tensor: float | None = None  # share of the FLOP that tensor cores did, where counted
    flop_is: str = MODELLED
    bytes_is: str = MODELLED
    longest_ms: float | None = None  # the upper end of the time's interval over processes

    @property
    def intensity(self) -> float:
        """Arithmetic intensity, FLOP per byte."""
        return self.flop / self.bytes

    @property
    def gflop_s(self) -> float:
        """GFLOP per second of kernel time."""
        return self.flop / self.time_ms / 1e6

    @property
    def gb_s(self) -> float:
        """GB per second of kernel time."""
        return self.bytes / self.time_ms / 1e6

    @property
    def attainable_gflop_s(self) -> float:
        """The roof above this intensity."""
        return min(self.roof_gflop_s, self.roof_gb_s * self.intensity)

    @property
    def share(self) -> float:
        """Share of the attainable rate."""
        return self.gflop_s / self.attainable_gflop_s

    @property
    def impossible(self) -> bool:
        """Whether the point lies above its roof, further than the noise of either."""
        return self.share * self.time_ms / (self.longest_ms or self.time_ms) > SLACK

    @property
    def bound(self) -> str:
        """`latency` where kernels leave gaps or neither roof is near, else by the ridge."""
        near = max(self.gflop_s / self.roof_gflop_s, self.gb_s / self.roof_gb_s)
        if self.wall_ms > WAITING * self.time_ms or near < IDLE:
            return "latency"
        return "memory" if self.intensity < self.roof_gflop_s / self.roof_gb_s else "compute"


def point(cell: Record, roofs: Record) -> Point:
    """The point of a roofline record under a roofs record.

    FLOP and bytes are each counted where the profile holds them, with kernel time, and modelled
    otherwise.
    """
    runs = sorted(run["wall_ms"] for run in cell.get("runs", []))
    wall = cell.get("wall_ms_median") or (runs[len(runs) // 2] if runs else cell["time_ms_median"])
    roof = (roofs["gemm_gflop_s"], roofs["read_gb_s"])
    seen = cell.get("counted") or {}
    flop, bytes_, tensor = cell["flop"], cell["bytes"], None
    flop_is = bytes_is = MODELLED
    if seen.get("time_ns"):
        if has_flop(cell):
            flop, flop_is = counted_flop(cell), COUNTED
            tensor = seen["tensor_flop"] / flop
        if seen.get("dram_bytes"):
            bytes_, bytes_is = seen["dram_bytes"], COUNTED
    counted, time_ms = flop_is == bytes_is == COUNTED, cell["time_ms_median"]
    if COUNTED in (flop_is, bytes_is):
        time_ms = seen["time_ns"] / 1e6
    longest = (cell.get("time_ms_interval") or {}).get("high")
    return Point(flop, bytes_, time_ms, wall, counted, *roof, tensor, flop_is, bytes_is, longest)


def companion(cell: Record, roofs: Record) -> Point:
    """Where the model puts a counted cell: its FLOP and bytes in the same kernel time."""
    seen = point(cell, roofs)
    model = {"flop": cell["flop"], "bytes": cell["bytes"], "flop_is": MODELLED}
    return replace(seen, **model, bytes_is=MODELLED, counted=False, tensor=None)


def counted_flop(cell: Record) -> float:
    """FLOP of tensor and CUDA cores; packed fp16 is left out where the model is bfloat16."""
    seen = cell["counted"]
    apart = seen.get("core_flop_by", {}).get("fp16", 0) if cell["dtype"] == "bfloat16" else 0
    flop: float = seen["core_flop"] + seen["tensor_flop"] - apart
    return flop


def is_counted(cell: Record) -> bool:
    """Whether a record's profile has all that a point needs."""
    seen = cell.get("counted") or {}
    return has_flop(cell) and bool(seen.get("dram_bytes") and seen.get("time_ns"))


def has_flop(cell: Record) -> bool:
    """Whether a profile tells FLOP, and some: log axes have no place for none."""
    seen = cell.get("counted") or {}
    stated = all(seen.get(key) is not None for key in ("core_flop", "tensor_flop"))
    return stated and counted_flop(cell) > 0


def ratios(cell: Record) -> dict[str, float] | None:
    """Counted over modelled, of FLOP and of bytes, where they are; None where neither is."""
    seen, found = cell.get("counted") or {}, dict[str, float]()
    if seen.get("time_ns") and has_flop(cell):
        found["flop"] = counted_flop(cell) / cell["flop"]
    if seen.get("time_ns") and seen.get("dram_bytes"):
        found["bytes"] = seen["dram_bytes"] / cell["bytes"]
    return found or None


def plausible(ratio: float) -> bool:
    """Whether counter and model agree as well as they should."""
    return PLAUSIBLE[0] <= ratio <= PLAUSIBLE[1]


def predecessors(cells: Sequence[Record]) -> dict[str, str]:
    """Each version and the one it adds to: the largest proper subset of its optimisations.

    So that an arrow is one optimisation where the study has the version for it: v4 adds sharing to
    v2. A version without optimisations has no predecessor.
    """
    on = {cell["version"]: {flag for flag in FLAGS if cell[flag]} for cell in cells}
    found = {}
    for version, flags in on.items():
        smaller = [other for other in sorted(on) if on[other] < flags]
        if smaller:
            found[version] = max(smaller, key=lambda other: len(on[other]))
    return found
