"""Records of studies that nobody measured: known effects on machines of known drift.

log time of a run = log length + effect + pace of its slot + process (`sd`) + run (`noise`). A slot
is one run or one reading of the yardstick, in the order of `plan.queue.run_order`. A reading has
its slot's pace and noise alone. All noise is normal; with `outliers`, one run or reading in twenty
takes twice as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from kvbench.plan.queue import Blocks, run_order

Record = dict[str, Any]
SPELL, NEIGHBOUR = 12, 1.3  # slots that a neighbour stays or is away, and its cost
SLOT_S = 2.0
DAY_ONE = datetime(2026, 1, 5, tzinfo=UTC)
SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 1024, "vocab_size": 512}
ABOUT = {
    **{"device": "cpu", "device_name": "simulated", "pytorch_version": "2", "threads": 1},
    **{"weights": "random", "pretrained": "nano", "dtype": "float32", "kernel": "native"},
    **{"execution": "eager", "linear": "panels", "prompt_length": 16, "disturbed": 0},
    **{"model_config": SHAPE, "layer_owner": [0, 1], "cache_bytes_per_token": 2 * 2 * 64 * 4},
}


@dataclass(frozen=True)
class Machine:
    """How the pace of slots moves, and how processes and runs scatter (standard deviations)."""

    drift: str = "none"  # none, linear, walk, fastwalk or neighbour
    sd: float = 0.016
    noise: float = 0.0075
    outliers: bool = False
    yardstick: bool = True

    def pace(self, rng: np.random.Generator, slots: int) -> np.ndarray:
        """Log pace of each slot, shape (slots,)."""
        if self.drift == "linear":
            return np.linspace(0, 0.15, slots)
        if self.drift in ("walk", "fastwalk"):
            return {"walk": 0.01, "fastwalk": 0.03}[self.drift] * rng.normal(size=slots).cumsum()
        if self.drift == "neighbour":
            there = rng.random(slots // SPELL + 2) < 1 / 3
            shift = rng.integers(SPELL)
            return np.log(NEIGHBOUR) * np.repeat(there, SPELL)[shift : shift + slots]
        return np.zeros(slots)

    def scatter(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Log noise of `size` runs or readings."""
        late = np.log(2) * (rng.random(size) < 0.05) if self.outliers else 0.0
        return self.noise * rng.normal(size=size) + late


QUIET = Machine()


def study(
    rng: np.random.Generator,
    effects: Mapping[str, float],
    machine: Machine = QUIET,
    replicates: int = 5,
    lengths: Sequence[int] = (8,),
    runs: int = 2,
    day: int = 0,
) -> list[Record]:
    """Pooled latency cells of one study: version v takes exp(effects[v]) times its like."""
    blocks: Blocks = {
        "seed": int(rng.integers(1 << 31)),
        "replicates": replicates,
        "versions": list(effects),
        "batch_size": [1],
        "T_values": list(lengths),
    }
    order = run_order(blocks, ["nano"])
    slots = 2 * runs + 1
    pace = machine.pace(rng, slots * len(order))
    pace -= pace.mean()  # so that the study's mean pace is 1, and its lines are those put in
    cells: dict[tuple[str, int], Record] = {}
    for key, place in order.items():
        length, replicate, version = int(key[2]), int(key[3]), key[4]
        at = pace[slots * place : slots * (place + 1)]
        own = np.log(length) + effects[version] + machine.sd * rng.normal()
        readings = np.exp(at[::2] + machine.scatter(rng, runs + 1))
        times = np.exp(own + at[1::2] + machine.scatter(rng, runs))
        began = DAY_ONE + timedelta(days=day, seconds=SLOT_S * slots * place)
        process: Record = {
            "replicate": replicate,
            "place_in_line": place + 1,
            "runs": [{"time_total_ms": float(ms)} for ms in times],
            "machine_state": {
                "began_at": began.isoformat(timespec="seconds"),
                "device_id": "cpu",
                "disturbed": False,
                "disturbed_by": [],
            },
        }
        if machine.yardstick:
            process["yardstick_ms"] = readings.tolist()
        cell = cells.setdefault(
            (version, length),
            {
                **ABOUT,
                **{"benchmark_name": "latency_vs_T", "version": version, "batch_size": 1},
                **{"T": length, "replicates": replicates, "processes": []},
            },
        )
        cell["processes"].append(process)
    names = [(version, length) for length in lengths for version in effects]
    return [cells[name] for name in names]


def decode_cells(
    cells: Sequence[Record], depths: Mapping[int, Mapping[str, float]]
) -> list[Record]:
    """The same processes as decode steps: length T stands for a depth, `depths[T][v]` in ms."""
    made = []
    for cell in cells:
        depth, ms = cell["T"], depths[cell["T"]][cell["version"]]
        processes = [
            p | {"runs": [{"tpot_ms": run["time_total_ms"] / depth * ms} for run in p["runs"]]}
            for p in cell["processes"]
        ]
        about = {key: value for key, value in cell.items() if key != "T"}
        about |= {"benchmark_name": "decode", "depth": depth, "processes": processes}
        made.append(about)
    return made


def plain(machine: Machine) -> Machine:
    """The same machine without a yardstick."""
    return replace(machine, yardstick=False)
