"""A roofline cell from a profile: counted FLOP and bytes beside what the cost model says."""

from __future__ import annotations

from pathlib import Path

from kvbench.bench.roofline import cell_cost
from kvbench.bench.setup import cache_bytes
from kvbench.cell import Cell
from kvbench.files.foreign import FormatError, json_object
from kvbench.ncu import NcuError, implausible
from kvbench.records.record import Record

_RATES = {"copy_gb_s", "read_gb_s", "reads_gb_s", "gemm_gflop_s", "gemms_gflop_s", "caches"}
_OF_ROOFS = {"benchmark_name", "read_by", "gemm_by", "buffer_bytes", "gemm_n", "runs_s"}
_OF_ROOFS |= _RATES | {"machine_state"}
_OF_FILES = {"datasheet", "schema_version", "complete"}
_SEEDS = {"execution": "eager", "kernel": "torch"}  # how profiles from elsewhere were made


def run(
    cell: Cell,
    counted: Record,
    roofs: Record,
    source: str,
    ran: Record | None = None,
) -> Record:
    """The record of one cell whose counters are in `counted` (`kvbench.ncu.parse`).

    The device and its library are those of `roofs`, measured on the same machine; `ran` is what the
    profiled program said, where it was kept. Raises NcuError for a profile without kernel time or
    of other settings than the cell's.
    """
    if not counted["time_ns"]:
        raise NcuError("the profile has no kernel time (gpu__time_duration.sum): export it anew")
    for key, wanted in (("dtype", cell.dtype), ("batch_size", cell.batch_size)):
        if ran and ran[key] != wanted:
            raise NcuError(f"the profile ran with {key} {ran[key]}, the study asks for {wanted}")
    cost = cell_cost(cell)
    doubts = implausible(
        counted,
        bytes_per_s=roofs["read_gb_s"] * 1e9,
        flop_per_s=roofs["gemm_gflop_s"] * 1e9,
        weight_bytes=cost.weight_bytes if cell.phase == "decode" else None,
    )
    return {
        **cell.header(),
        **{key: roofs[key] for key in roofs if key not in _OF_ROOFS | _OF_FILES},
        "dtype": cell.dtype,
        **cache_bytes(cell),
        **{key: (ran or {}).get(key, seed) for key, seed in _SEEDS.items()},
        "sdpa_backend": (ran or {}).get("sdpa_backend"),
        **cell.axes(),
        "time_ms_median": counted["time_ns"] / 1e6,
        **({"wall_ms_median": ran["wall_ms_median"]} if ran else {}),
        **_profiler(ran or {}),
        "source": source,
        "bytes_are": "modelled in `bytes`, DRAM counters in `counted`",
        **cost.to_dict(),
        "counted": {**counted, "notes": [*counted["notes"], *doubts]},
    }


def read_run(path: str | Path) -> Record:
    """What the profiled program said, from its `run.json`. Raises FormatError, naming the file."""
    needs = {"dtype": str, "batch_size": int, "wall_ms_median": float}
    found = json_object(path, "run of a profiled program", needs, {"ncu": dict})
    clocks = (found.get("ncu") or {}).get("clocks_before")
    if clocks is not None and not isinstance(clocks, dict):
        raise FormatError(f"{path}: its ncu.clocks_before is no object")
    return found


def _profiler(ran: Record) -> Record:
    """What the profile ran with: ncu and its passes, the driver and the clocks."""
    if not (ncu := ran.get("ncu")):
        return {}
    clocks = ncu.get("clocks_before") or {}
    return {"ncu": ncu, "driver_version": clocks.get("driver_version")}
